from pathlib import Path

import pytest

from seg.data import Labelme
from seg.doctor.findings import Finding
from tests.convert.labelme_files import shape, square, write_image, write_json
from tests.doctor.conftest import odd, report_on


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(8):
        write_image(root / f"{'abcdefgh'[number]}.png", 80, 90, seed=number)
        write_json(root / f"{'abcdefgh'[number]}.json", objects(), (80, 90))
    (root / "labels.txt").write_text("_background_\nbanana\napple\n")
    return root


def objects(*more: object) -> list[object]:
    return [shape("banana", square(5, 5, 30)), shape("apple", square(45, 40, 30)), *more]


def found_in(folder: Path, **settings: object) -> dict[tuple[str, str], Finding]:
    return {(finding.check, finding.severity): finding for finding in odd(report_on(Labelme(str(folder), **settings)))}


def test_clean_annotations_pass(folder):
    assert found_in(folder) == {}


def test_unknown_labels_are_told_with_the_nearest_name_and_everything_else_is_still_measured(folder):
    write_json(folder / "a.json", objects(shape("bananna", square(60, 2, 20))), (80, 90))
    write_json(folder / "b.json", objects(shape("pear", square(60, 2, 20))), (80, 90))
    found = found_in(folder)
    assert set(found) == {("label names", "fail"), ("label names", "warn")}
    unknown = found["label names", "fail"]
    assert [place.where for place in unknown.places] == ["bananna", "pear"]
    assert "did you mean 'banana'?" in unknown.places[0].note
    assert found["label names", "warn"].places[0].where == "banana / bananna"


def test_nearly_equal_labels_are_told_where_the_class_list_is_found_in_the_data(folder):
    (folder / "labels.txt").unlink()
    write_json(folder / "a.json", objects(shape("Banana", square(60, 2, 20))), (80, 90))
    finding = found_in(folder)["label names", "warn"]
    assert [place.where for place in finding.places] == ["Banana / banana"]
    assert found_in(folder, aliases={"Banana": "banana"}) == {}
    assert not (folder / "labels.found.txt").exists(), "an examination decides nothing"


def test_labels_numbered_by_object_lead_to_aliases(folder):
    (folder / "labels.txt").write_text("_background_\nbanana\napple\nrat1\nrat2\n")
    for name in "abcdefgh":
        both = [shape("rat1", square(60, 2, 17)), shape("rat2", square(2, 60, 17))]
        write_json(folder / f"{name}.json", objects(*both), (80, 90))
    finding = found_in(folder)["label names", "warn"]
    assert "aliases: {rat1: rat, rat2: rat}" in finding.cure


def test_shapes_outside_of_their_image_are_told(folder):
    write_json(folder / "c.json", objects(shape("apple", square(75, 60, 40))), (80, 90))
    found = found_in(folder)
    assert set(found) == {("annotations", "warn")}
    (place,) = found["annotations", "warn"].places
    assert "shape 3 (apple, polygon) is 25 pixels outside of 80×90" in place.note
    assert place.outline == (75, 60, 115, 60, 115, 100, 75, 100)


def test_a_shape_far_outside_fails(folder):
    write_json(folder / "c.json", objects(shape("apple", square(900, 60, 40))), (80, 90))
    assert set(found_in(folder)) == {("annotations", "warn"), ("annotations", "fail")}


def test_json_that_names_another_image_is_told(folder):
    write_json(folder / "d.json", objects(), (80, 90), imagePath="a.png")
    found = found_in(folder)
    assert set(found) == {("annotations", "fail")}
    assert "imagePath names a.png, but d.png" in found["annotations", "fail"].places[0].note


def test_a_name_that_leads_nowhere_is_a_warning_where_the_image_lies_beside(folder):
    write_json(folder / "d.json", objects(), (80, 90), imagePath="old/place.png")
    assert "'old/place.png' is not there" in found_in(folder)["annotations", "warn"].places[0].note


def test_damaged_files_of_all_kinds_are_collected(folder):
    (folder / "a.json").write_text('{"shapes": [')
    data = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(data[: len(data) // 2])
    write_json(folder / "c.json", [shape("apple", [[1, 1], [2, 2]])], (80, 90))
    (folder / "d.png").unlink()
    found = found_in(folder)
    assert set(found) == {("files", "fail"), ("annotations", "fail")}
    assert [Path(place.where).name for place in found["files", "fail"].places] == ["a.json", "b.json", "c.json"]
    assert [Path(place.where).name for place in found["annotations", "fail"].places] == ["d.json"]


def test_sizes_that_lie_are_told(folder):
    write_json(folder / "e.json", objects(), (80, 91))
    assert "says 80×91" in found_in(folder)["annotations", "warn"].places[0].note


def test_points_on_the_rim_are_inside(folder):
    write_json(folder / "f.json", objects(shape("apple", [[60, 0], [90.5, 0], [90.5, 30], [60, 30]])), (80, 90))
    assert found_in(folder) == {}
