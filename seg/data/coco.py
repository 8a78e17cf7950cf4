"""COCO and data in its format: objects' polygons and run lengths, read as classes.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
"""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from seg.convert.coco import size_of
from seg.convert.coco_drawing import draw
from seg.convert.coco_file import Frame, Instances, category_values, class_names, read_instances, without_background
from seg.data.base import SegmentationData
from seg.data.dataset import Pair, Reader


class InstanceReader(Reader):
    """Draw masks from instances files.

    Args:
        frames: for each instances file its images by name.
        values: for each instances file the value of each category.
        crowd: what crowd regions become.
        origin: what `values` come from beside the files.

    """

    def __init__(
        self, frames: dict[str, dict[str, Frame]], values: dict[str, dict[int, int]], crowd: str, origin: Any = None
    ) -> None:
        self.frames, self.values, self.crowd, self.origin = frames, values, crowd, origin

    def mask(self, pair: Pair) -> np.ndarray:
        """Return the mask of an image, uint8 (H, W)."""
        frame = self.frames[pair.mask][pair.id]
        try:
            return draw(frame, *size_of(frame, pair.image), self.values[pair.mask], self.crowd)
        except ValueError as error:
            raise ValueError(f"{pair.mask}: {error}") from None

    def settings(self) -> Any:
        """Return what masks depend on beside the files."""
        return [self.crowd, self.origin]


class COCO(SegmentationData):
    """Read COCO's instances as classes: the background, and a class a category in the order of their ids.

    Nothing is converted: masks are drawn as they are needed (`cache` keeps them). Smaller objects lie on top of larger
    ones. Images without annotations are background throughout.

    Args:
        root: folder of the data set.
        classes: names of the categories that are wanted, in the order that they shall have, merged ones too; the
            background is class 0 whether it is named or not. All, in the order of their ids, where not given.
        train_annotations: instances file to train on, below root.
        val_annotations: instances file to validate on, below root.
        test_annotations: instances file to test on, below root; validation is tested where not given.
        train_images: folder of the images that are trained on, below root.
        val_images: folder of the images that are validated on, below root.
        test_images: folder of the images that are tested, below root.
        merge: name of a class -> the categories that it is made of, such as {pet: [cat, dog]}.
        others: what the categories are that `classes` leaves out.
        crowd: what regions are whose objects were not told apart: ignored, objects like any other, or background.
        **kwargs: see `SegmentationData`.

    """

    tree = (
        "Expected:\n"
        "  {root}/annotations/instances_train2017.json, instances_val2017.json\n"
        "  {root}/train2017/*.jpg, {root}/val2017/*.jpg   the folders that file_name in the JSON is below\n"
        "Get COCO from https://cocodataset.org/#download. Your own data may have other names: see train_annotations, "
        "val_annotations, train_images, val_images."
    )

    def __init__(
        self,
        root: str = "data/coco",
        classes: list[str] | None = None,
        train_annotations: str = "annotations/instances_train2017.json",
        val_annotations: str = "annotations/instances_val2017.json",
        test_annotations: str | None = None,
        train_images: str = "train2017",
        val_images: str = "val2017",
        test_images: str = "test2017",
        merge: dict[str, list[str]] | None = None,
        others: Literal["background", "ignore"] = "background",
        crowd: Literal["ignore", "object", "background"] = "ignore",
        **kwargs: Any,
    ) -> None:
        self.root = Path(root).expanduser()
        self.annotations = {"train": train_annotations, "val": val_annotations, "test": test_annotations}
        self.images = {"train": train_images, "val": val_images, "test": test_images}
        self.wanted, self.merge, self.others, self.crowd = classes, merge, others, crowd
        self._instances: dict[Path, Instances] = {}
        if classes is None:
            names = class_names(self._read("train").categories, None, merge)
        else:
            names = ["background", *without_background(classes)]
        super().__init__(root, names, **kwargs)
        self._frames: dict[str, dict[str, Frame]] = {}
        self._values: dict[str, dict[int, int]] = {}

    def has_test(self) -> bool:
        """Tell whether there are annotations to test on."""
        return self.annotations["test"] is not None

    def pairs(self, split: str) -> list[Pair]:
        """Return the images that a split's annotations list, and the annotations' file beside each."""
        instances, path = self._read(split), str(self._path(split))
        if split == "train":
            class_names(instances.categories, self.wanted, self.merge)  # sees that all that are named are there
        elif self.wanted is None:
            known = self._read("train").categories.values()
            if new := [name for name in instances.categories.values() if name not in known]:
                raise ValueError(
                    f"{path} has categories that {self._path('train')} has not: {', '.join(new[:8])}; give both the "
                    "same categories, or name in `classes` those that are wanted"
                )
        frames = {str(PurePosixPath(frame.path).with_suffix("")): frame for frame in instances.frames}
        if twice := len(instances.frames) - len(frames):
            raise ValueError(f"{path}: {twice} images differ from another one's name in the suffix only; rename them")
        self._frames[path] = frames
        self._values[path] = category_values(instances.categories, self.class_names, self.merge, self.others)
        folder = self.root / self.images[split]
        return [Pair(name, str(folder / frame.path), path) for name, frame in frames.items()]

    def reader(self) -> InstanceReader:
        """Return a reader that draws the annotations."""
        return InstanceReader(self._frames, self._values, self.crowd, (self.class_names, self.merge, self.others))

    def _path(self, split: str) -> Path:
        return self.root / str(self.annotations[split])

    def _read(self, split: str) -> Instances:
        """Return a split's annotations; files are large, and so are read once."""
        path = self._path(split)
        if path not in self._instances:
            if not path.is_file():
                raise FileNotFoundError(f"{split}_annotations: there is no file {path}.\n{self._tree()}")
            self._instances[path] = read_instances(path)
        return self._instances[path]
