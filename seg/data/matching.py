"""Which mask belongs to which image: by the place in the tree and the name, whatever the naming."""

import difflib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from seg.convert.tree import files_below
from seg.data.dataset import Pair
from seg.data.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

_SHOWN = 3


def match(
    images: Path,
    masks: Path,
    image_pattern: str = "*",
    mask_pattern: str = "*",
    unmatched: Literal["error", "skip"] = "error",
    masks_of_others: bool = False,
) -> list[Pair]:
    """Return the images of a folder and all below it, each with the mask at the same place whose name is alike.

    Args:
        images: folder of the images.
        masks: folder of the masks; it may be the same one, or one inside the other.
        image_pattern: how images are named, * being what an image and its mask have in common; with a suffix (*.jpg)
            files of this one alone count, without (*, *_image) those of any.
        mask_pattern: how masks are named, such as *_mask or *_mask.png.
        unmatched: what to do about images without a mask. Masks without an image are a warning.
        masks_of_others: masks may be those of other images, which is nothing to warn of.

    Returns:
        the pairs by name, which is the place in the tree with what * stands for.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: a pattern that cannot be, two files of one name, or images without a mask.

    """
    mask_files = _named(masks, "mask", mask_pattern)
    are_masks = set(mask_files.values())
    image_files = _named(images, "image", image_pattern, are_masks)
    if not image_files and are_masks and masks.resolve() == images.resolve():
        raise ValueError(
            f"image_dir and mask_dir are one folder, {images}, in which all files look like masks; tell them apart, "
            "such as with image_pattern: '*.jpg' and mask_pattern: '*.png'"
        )
    without = [name for name in image_files if name not in mask_files]
    if without and unmatched == "error":
        raise ValueError(_explained(without, image_files, mask_files, images, masks))
    if without:
        logger.warning("%s: %d images have no mask and are left out: %s", images, len(without), _some(without))
    over = [name for name in mask_files if name not in image_files]
    if over and not masks_of_others:
        logger.warning("%s: %d masks have no image: %s", masks, len(over), _some(over))
    return [Pair(name, str(path), str(mask_files[name])) for name, path in image_files.items() if name in mask_files]


def _named(folder: Path, what: str, pattern: str, but: Collection[Path] = ()) -> dict[str, Path]:
    """Return the files of a pattern by name, sorted."""
    if pattern.count("*") != 1 or "/" in pattern or "\\" in pattern:
        raise ValueError(
            f"{what}_pattern: '{pattern}' must hold one *, for what an image and its mask have in common, and no folder"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{what}_dir: there is no folder {folder}")
    before, after = pattern.split("*")
    end = Path(f"x{after}")  # a name of its own, so that ".png" is a suffix
    suffix = end.suffix.lower() if end.suffix.lower() in IMAGE_SUFFIXES else ""
    after = end.stem[1:] if suffix else after
    found: dict[str, Path] = {}
    for path in files_below(folder, (suffix,) if suffix else IMAGE_SUFFIXES):
        text = path.stem
        fits = len(text) > len(before) + len(after) and text.startswith(before) and text.endswith(after)
        if path in but or not fits:
            continue
        common = text[len(before) : len(text) - len(after)]
        name = (path.relative_to(folder).parent / common).as_posix()
        if (other := found.setdefault(name, path)) != path:
            raise ValueError(
                f"{other} and {path} are both {what} '{name}'; take one away, or name the suffix that counts: "
                f"{what}_pattern: '{before}*{after}{other.suffix}'"
            )
    return found


def _explained(
    without: list[str], images: dict[str, Path], masks: dict[str, Path], image_dir: Path, mask_dir: Path
) -> str:
    lines = []
    for name in without[:_SHOWN]:
        close = difflib.get_close_matches(name, list(masks)[:5000], n=1, cutoff=0.5)
        hint = f"nearest is {masks[close[0]].relative_to(mask_dir)}" if close else "no mask has a name like it"
        lines.append(f"  {images[name].relative_to(image_dir)}: looked for a mask '{name}'; {hint}")
    of_any_name = masks.values() or files_below(mask_dir, IMAGE_SUFFIXES)
    examples = ", ".join(str(path.relative_to(mask_dir)) for path in list(of_any_name)[:_SHOWN]) or "none at all"
    there = f"Masks there: {examples}" if masks else f"Files there, none of the pattern of masks: {examples}"
    return (
        f"{len(without)} of {len(images)} images in {image_dir} have no mask in {mask_dir}:\n"
        + "\n".join(lines)
        + ("\n  …\n" if len(without) > _SHOWN else "\n")
        + there
        + "\nSay how files are named with image_pattern and mask_pattern, such as '*_mask.png', * being what both have "
        "in common; or leave such images out with unmatched: skip"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
