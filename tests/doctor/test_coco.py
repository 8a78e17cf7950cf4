import json
from pathlib import Path

import pytest

from seg.data import COCO
from tests.data.test_coco import CATEGORIES, write
from tests.doctor.conftest import odd, report_on

pytest.importorskip("pycocotools")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "train", 5, [*CATEGORIES, {"id": 31, "name": "Cars"}])
    write(tmp_path, "val", 3, [*CATEGORIES, {"id": 31, "name": "Cars"}])
    return tmp_path


def found_in(root: Path) -> dict[str, list[str]]:
    data = COCO(str(root), ["background", "cat", "car"])
    return {finding.check: [place.where for place in finding.places] for finding in odd(report_on(data))}


def test_a_category_that_is_left_out_for_its_spelling_is_told(root):
    assert found_in(root)["label names"] == ["Cars / car"]


def test_annotations_that_cannot_be_drawn_and_missing_images_are_collected(root):
    path = root / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["images"][0]["height"] = 77
    document["images"][1]["file_name"] = "gone.jpg"
    path.write_text(json.dumps(document))
    (root / "val2017" / "000.jpg").write_bytes(b"")
    found = odd(report_on(COCO(str(root), ["background", "cat", "car"])))
    places = {finding.text: finding.places for finding in found if finding.check == "files"}
    assert list(places) == ["1 image or mask is not there", "1 image cannot be read", "1 mask cannot be read"]
    gone, empty, other = (of[0] for of in places.values())
    assert gone.where == str(root / "train2017" / "gone.jpg")
    assert empty.where == str(root / "val2017" / "000.jpg")
    assert other.note.startswith("000: ")
    assert "77" in other.note
