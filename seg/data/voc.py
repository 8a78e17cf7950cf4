"""Pascal VOC 2012 segmentation, and any data in its layout.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge", 2012; http://host.robots.ox.ac.uk/pascal/VOC/.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg.convert.palette import voc_colors
from seg.convert.palettes import VOC_CLASSES
from seg.data.base import SegmentationData
from seg.data.dataset import Pair
from seg.data.ignored import warn_of_ignored_objects
from seg.data.images import IMAGE_SUFFIXES
from seg.files import read_lines

logger = logging.getLogger(__name__)

VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"


class VOC(SegmentationData):
    """Read Pascal VOC 2012, or your own images and masks in its layout.

    Images that have no mask are left out, which is said. Images and masks belong together by name, whatever the suffix.
    A folder without lists is divided by `val_fraction`. SBD's additional masks, written by `seg convert sbd`, are
    trained on with train_split: trainaug and mask_dir: SegmentationClassAug.

    Args:
        root: the folder that holds JPEGImages, SegmentationClass and ImageSets.
        classes: class names; the official 21 where not given.
        image_dir: folder of the images, below root.
        mask_dir: folder of the masks, below root.
        split_dir: folder of the lists, below root; a line of a list is a file's name, best without suffix.
        train_split: name of the list to train on, without .txt.
        val_split: name of the list to validate on, without .txt.
        test_split: name of the list to test on; validation is tested where there is no such list, or no masks for it.
        download: fetch the official training and validation images (2 GB) if root is not there.
        url: where from.
        md5: checksum of what is fetched.
        **kwargs: see `SegmentationData`.

    """

    tree = (
        "Expected:\n"
        "  {root}/JPEGImages/*.jpg\n"
        "  {root}/SegmentationClass/*.png   indexed masks, 255 = ignore\n"
        "  {root}/ImageSets/Segmentation/train.txt, val.txt   a name a line, without suffix\n"
        "Get VOC 2012 with --data.download true. Your own data may have other names: see image_dir, mask_dir, "
        "split_dir, train_split, val_split."
    )

    def __init__(
        self,
        root: str = "data/VOCdevkit/VOC2012",
        classes: list[str] | None = None,
        image_dir: str = "JPEGImages",
        mask_dir: str = "SegmentationClass",
        split_dir: str = "ImageSets/Segmentation",
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        download: bool = False,
        url: str = VOC_URL,
        md5: str = VOC_MD5,
        **kwargs: Any,
    ) -> None:
        names = list(VOC_CLASSES) if classes is None else classes
        kwargs["colors"] = kwargs.get("colors") or [list(color) for color in voc_colors(len(names))]
        super().__init__(root, names, **kwargs)
        self.image_dir, self.mask_dir, self.split_dir = image_dir, mask_dir, split_dir
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.download, self.url, self.md5 = download, url, md5
        self._stems: dict[Path, dict[str, str]] = {}

    def prepare_data(self) -> None:
        """Download and unpack the data set where asked for; called by one process of a machine."""
        if self.download and not self.root.is_dir():
            from seg.data.download import fetch_archive  # torchvision, which it uses, is slow to import

            fetch_archive(self.url, self.md5, self.root, marker=self.split_dir)

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, and warn where 255 seems to mean more than "ignore"."""
        super().setup(stage)
        if "train" in self.datasets:
            warn_of_ignored_objects(self.datasets["train"].pairs, self.labels, self.reader())

    def has_test(self) -> bool:
        """Tell whether there is a test list with at least one mask."""
        path = self._list("test")
        if not path.is_file():
            return False
        masks = self._files(self.root / self.mask_dir)
        return any(_known(line, masks) for line in _lines(path))

    def pairs(self, split: str) -> list[Pair]:
        """Return the files that a split's list names, those with a mask."""
        path = self._list(split)
        if not path.is_file():
            others = sorted(other.stem for other in path.parent.glob("*.txt"))
            there = f"; the lists that are there: {', '.join(others)} (see {split}_split)" if others else ""
            if deeper := next((folder.parent for folder in sorted(self.root.glob("*/ImageSets"))), None):
                there = f"; such a tree is {deeper}: give it as root"
            raise FileNotFoundError(
                f"there is no list {path} of the {split} split{there}. val_fraction: 0.2 divides what is there into "
                f"training and validation.\n{self._tree()}"
            )
        return self._paired(_lines(path), path)

    def pool(self) -> list[Pair]:
        """Return the files that can be divided into training and validation: those listed, else all with a mask."""
        lists = [split for split in ("train", "val") if self._list(split).is_file()]
        if lists:
            return list(dict.fromkeys(pair for split in lists for pair in self.pairs(split)))
        tested = {pair.id for pair in self.pairs("test")} if self._list("test").is_file() else set()
        images = self.root / self.image_dir
        return [pair for pair in self._paired(list(self._files(images)), images) if pair.id not in tested]

    def _paired(self, names: Sequence[str], source: Path) -> list[Pair]:
        """Return the files of images by name; `source` is where the names are from."""
        images, masks = self.root / self.image_dir, self.root / self.mask_dir
        for setting, folder in (("image_dir", images), ("mask_dir", masks)):
            if not folder.is_dir():
                raise FileNotFoundError(f"{setting}: there is no folder {folder}.\n{self._tree()}")
        image_files, mask_files = self._files(images), self._files(masks)
        pairs, without = [], []
        for line in names:
            if name := _known(line, mask_files):
                image = image_files.get(name, f"{name}.jpg")
                pairs.append(Pair(name, str(images / image), str(masks / mask_files[name])))
            else:
                without.append(line)
        if without:
            shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
            logger.warning("%s: %d images have no mask in %s and are left out: %s", source, len(without), masks, shown)
        return pairs

    def _list(self, split: str) -> Path:
        return self.root / self.split_dir / f"{self.splits[split]}.txt"

    def _files(self, folder: Path) -> dict[str, str]:
        """Return the image files of a folder by their name without suffix."""
        if folder not in self._stems:
            found: dict[str, str] = {}
            if folder.is_dir():
                files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
                for path in sorted(files, key=lambda path: IMAGE_SUFFIXES.index(path.suffix.lower())):
                    found.setdefault(path.stem, path.name)
            self._stems[folder] = found
        return self._stems[folder]


def _lines(path: Path) -> list[str]:
    """Return the lines of a list that are not blank; a byte order mark and CRLF do not matter."""
    return [text for line in read_lines(path) if (text := line.strip())]


def _known(line: str, files: dict[str, str]) -> str | None:
    """Return the name that a line means: all of it, or its first word (VOC's lists of one class have a second)."""
    for name in (line, line.split()[0]):
        stem, dot, suffix = name.rpartition(".")
        for candidate in (name, stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name):
            if candidate in files:
                return candidate
    return None
