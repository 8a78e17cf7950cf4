"""labelme's own example masks, and two users' data sets: equal but for the pixels in which Pillow's versions differ."""

import os
from pathlib import Path

import numpy as np
import pytest

from seg.convert.labelme_labels import class_list, label_values, read_labels
from seg.convert.labelme_shapes import Drawing
from seg.convert.labelme_sources import draw_mask, read_sources
from seg.data.images import read_mask

SHARED = Path(os.environ.get("SEG_SHARED_DATA", "nowhere")) / "labelme"
EXAMPLES = SHARED / "official_examples"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="SEG_SHARED_DATA names no folder with labelme samples")


OFFICIAL = "data_dataset_voc/SegmentationClass"


@pytest.mark.parametrize(
    ("root", "labels", "masks", "files"),
    [
        ("official_examples/semantic_segmentation/data_annotated", "../labels.txt", f"../{OFFICIAL}", 3),
        ("official_examples/instance_segmentation/data_annotated", "../labels.txt", f"../{OFFICIAL}", 3),
        ("official_examples/video_annotation/data_annotated", "../labels.txt", f"../{OFFICIAL}PNG", 5),
        ("dishes/img", "../labels.txt", "../img_voc/SegmentationClassPNG", 19),
        ("plants", None, ".", 10),
    ],
)
def test_masks_equal_the_references_but_for_a_handful_of_pixels(root, labels, masks, files):
    folder = SHARED / root
    sources = read_sources(folder)
    assert not sources.bad
    assert not any(source.notes for source in sources.good)
    values = label_values(read_labels(folder / labels) if labels else class_list(["leaf", "stem", "pot"]))
    compared = 0
    for source in sources.good:
        reference = folder / masks / f"{source.annotation.path.stem}.png"
        mask = draw_mask(source.annotation, source.frame, values, Drawing())
        assert np.count_nonzero(mask != read_mask(reference)) <= 12, reference
        compared += 1
    assert compared == files


def test_the_tutorials_embedded_image_and_its_path_to_itself_are_understood():
    (source,) = read_sources(EXAMPLES / "tutorial").good
    assert source.image == EXAMPLES / "tutorial/apc2016_obj3.jpg"
    values = label_values(read_labels(EXAMPLES / "tutorial/apc2016_obj3/label_names.txt"))
    mask = draw_mask(source.annotation, source.frame, values, Drawing())
    assert np.count_nonzero(mask != read_mask(EXAMPLES / "tutorial/apc2016_obj3/label.png")) <= 12
