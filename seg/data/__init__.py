"""Files -> batches: data modules, one file a data set, on one base."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seg.data.classes import IGNORE, Classes

if TYPE_CHECKING:
    from seg.data.base import SegmentationData
    from seg.data.camvid import CamVid
    from seg.data.cityscapes import Cityscapes
    from seg.data.coco import COCO
    from seg.data.folder import Folder
    from seg.data.labelme import Labelme
    from seg.data.shapes import Shapes
    from seg.data.voc import VOC

__all__ = [
    "COCO",
    "IGNORE",
    "VOC",
    "CamVid",
    "Cityscapes",
    "Classes",
    "Folder",
    "Labelme",
    "SegmentationData",
    "Shapes",
]

_HOMES = {
    "COCO": "coco",
    "CamVid": "camvid",
    "Cityscapes": "cityscapes",
    "Folder": "folder",
    "Labelme": "labelme",
    "SegmentationData": "base",
    "Shapes": "shapes",
    "VOC": "voc",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Data modules bring Lightning and albumentations with them; whoever needs class names only does not wait for those.
    if name in _HOMES:
        return getattr(import_module(f"seg.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'seg.data' has no attribute '{name}'")
