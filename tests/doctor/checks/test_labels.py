import shutil

import numpy as np
from PIL import Image

from seg import losses
from seg.convert.palette import write_indexed
from seg.data import VOC
from tests.doctor.setups import CLASSES, NUMBER, data_of


def renumbered(shapes, root, table) -> VOC:
    """Return the small tree with other values in its masks."""
    shutil.copytree(shapes, root, ignore=shutil.ignore_patterns(".cache"))
    for path in (root / "SegmentationClass").glob("*.png"):
        labels = np.array(Image.open(path))
        write_indexed(path, table[labels].astype(np.uint8), np.zeros((256, 3), np.uint8))
    return data_of(root)


def test_labels_that_are_off_by_one_are_found_and_named(doctor, shapes, tmp_path):
    data = renumbered(shapes, tmp_path / "shifted", np.minimum(np.arange(256) + 1, 255))
    found = doctor.findings("labels", "shapes", data=data)
    assert [(f.check, f.severity) for f in found] == [("labels", "fail"), ("shapes", "fail")]
    assert "off by one" in found[0].text
    assert "label_map" in found[0].cure


def test_labels_that_are_off_by_one_are_found_where_the_loss_counts_them_before_the_first_step(
    doctor, shapes, tmp_path
):
    data = renumbered(shapes, tmp_path / "shifted", np.minimum(np.arange(256) + 1, 255))
    found = doctor.findings("labels", "shapes", data=data, loss=losses.CrossEntropy(class_weights="auto"))
    assert [(f.check, f.severity) for f in found] == [("labels", "fail"), ("start", "fail")]
    assert "off by one" in found[0].text


def test_a_shift_that_only_leaves_class_0_empty_is_warned_of(doctor, shapes, tmp_path):
    table = np.arange(256)
    table[: NUMBER - 1] += 1
    finding = doctor.only("labels", data=renumbered(shapes, tmp_path / "shifted", table))
    assert finding.severity == "warn"
    assert CLASSES[0] in finding.text
