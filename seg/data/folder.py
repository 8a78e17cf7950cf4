"""Your own images and masks: two folders of any naming, or a table of pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from seg.data.base import SegmentationData
from seg.data.dataset import Pair
from seg.data.ignored import warn_of_ignored_objects
from seg.data.matching import match
from seg.data.pair_table import Row, read_table


class Folder(SegmentationData):
    """Read images and masks from folders, matched by name, or from a CSV table.

    Folders may be nested: an image's mask has the same place below `mask_dir` as the image below `image_dir`.

    Args:
        root: folder of the data set.
        classes: class names; a class's label is its position.
        image_dir: folder of the images, below root; {split} in it becomes the split's name, as in {split}/images.
        mask_dir: folder of the masks, below root, likewise.
        image_pattern: how images are named, * being what an image and its mask have in common; with a suffix, such as
            *.jpg, files of this one alone count.
        mask_pattern: how masks are named, such as *_mask or *_mask.png.
        unmatched: whether images without a mask are an error, or skipped with a warning.
        table: CSV file below root with the columns image and mask (paths below root), and split and group if wanted,
            instead of matching by name.
        train_split: name of the split to train on, in the folders' names or the table.
        val_split: name of the split to validate on.
        test_split: name of the split to test on; validation is tested where there is none.
        **kwargs: see `SegmentationData`.

    """

    tree = (
        "Expected:\n"
        "  {root}/images/…, {root}/masks/…   of the same names; other folders and names: see image_dir, mask_dir, "
        "image_pattern, mask_pattern\n"
        "  or a CSV file with the columns image,mask[,split][,group]: see table"
    )

    def __init__(
        self,
        root: str,
        classes: list[str] | None = None,
        image_dir: str = "images",
        mask_dir: str = "masks",
        image_pattern: str = "*",
        mask_pattern: str = "*",
        unmatched: Literal["error", "skip"] = "error",
        table: str | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, classes, **kwargs)
        self.image_dir, self.mask_dir = image_dir, mask_dir
        self.patterns, self.unmatched, self.table = (image_pattern, mask_pattern), unmatched, table
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self._rows: list[Row] | None = None

    def setup(self, stage: str) -> None:
        """List the files that a stage needs, and warn where 255 seems to mean more than "ignore"."""
        if self.split.divides and self.split.group is None and self.groups:
            self.split = replace(self.split, group=self.groups)
        super().setup(stage)
        if "train" in self.datasets:
            warn_of_ignored_objects(self.datasets["train"].pairs, self.labels, self.reader())

    def has_test(self) -> bool:
        """Tell whether there is a test split."""
        if self.table is not None:
            return any(row.split == self.splits["test"] for row in self._table())
        return self._tells_splits() and all(folder.is_dir() for folder in self._folders("test"))

    def pairs(self, split: str) -> list[Pair]:
        """Return the files of a split."""
        if self.table is not None:
            rows, name = self._table(), self.splits[split]
            found = [row.pair for row in rows if row.split == name]
            if rows and not found:
                named = ", ".join(sorted({row.split for row in rows if row.split}))
                there = f"it has {named}" if named else "it has no column split"
                raise ValueError(f"{self.root / self.table} has no row of the split {name}; {there}. {_CURE}")
            return found
        if not self._tells_splits():
            raise ValueError(f"nothing tells which files of {self.root} are for {split}. {_CURE}")
        one_for_all = "{split}" not in self.mask_dir
        return match(*self._folders(split), *self.patterns, self.unmatched, masks_of_others=one_for_all)

    def pool(self) -> list[Pair]:
        """Return the files that can be divided into training and validation: all that are not for testing."""
        if self.table is not None:
            return [row.pair for row in self._table() if row.split != self.splits["test"]]
        if not self._tells_splits():
            return match(*self._folders("train"), *self.patterns, self.unmatched)
        there = [split for split in ("train", "val") if self._folders(split)[0].is_dir()]
        return list(dict.fromkeys(pair for split in there for pair in self.pairs(split)))

    @property
    def groups(self) -> dict[str, str]:
        """The group of each image that the table gives one, by the image's name."""
        return {row.pair.id: row.group for row in (self._table() if self.table else []) if row.group}

    def _table(self) -> list[Row]:
        if self._rows is None:
            self._rows = read_table(self.root / str(self.table), self.root)
        return self._rows

    def _tells_splits(self) -> bool:
        return "{split}" in self.image_dir

    def _folders(self, split: str) -> tuple[Path, Path]:
        images, masks = (folder.replace("{split}", self.splits[split]) for folder in (self.image_dir, self.mask_dir))
        return self.root / images, self.root / masks


_CURE = (
    "Divide them with val_fraction: 0.2, put each split into folders of its own (image_dir: '{split}/images', "
    "mask_dir: '{split}/masks'), or list them in a table with a column split"
)
