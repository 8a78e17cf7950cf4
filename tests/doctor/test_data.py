import numpy as np
import pytest
from PIL import Image

from seg.data import VOC, Folder
from seg.doctor.data import CHECKS
from seg.doctor.labels import suggested
from tests.doctor.conftest import HEIGHT, NAMES, WIDTH, mask, odd, photo, report_on


def test_a_clean_data_set_passes_every_check(tree):
    report = tree.examined()
    assert odd(report) == []
    assert report.verdict == "pass"
    assert {finding.check for finding in report.findings} == set(CHECKS) - {"annotations"}


def test_every_file_that_cannot_be_read_is_named_and_not_only_the_first(tree, only):
    whole = tree.image("a_photo").read_bytes()
    tree.image("a_photo").write_bytes(whole[: len(whole) // 2])
    tree.image("b_photo").write_bytes(b"")
    tree.image("h_photo").write_text("<html>404</html>")
    finding = only("files", "fail")
    assert {place.where for place in finding.places} == {
        str(tree.image(name)) for name in ("a_photo", "b_photo", "h_photo")
    }
    assert finding.text == "3 images cannot be read"
    assert "damaged or incomplete" in finding.places[0].note


def test_damaged_masks_and_colour_masks_are_named(tree, only):
    tree.mask("a_photo").write_bytes(tree.mask("a_photo").read_bytes()[:80])
    Image.fromarray(photo(1)).save(tree.mask("g_photo"))
    finding = only("files", "fail")
    assert finding.text == "2 masks cannot be read"
    assert "colour picture" in finding.places[1].note


def test_an_image_that_is_not_there_is_missing_rather_than_damaged(tree, only):
    tree.image("b_photo").unlink()
    finding = only("files", "fail")
    assert finding.text == "1 image or mask is not there"
    assert [place.where for place in finding.places] == [str(tree.image("b_photo"))]


def test_a_mask_of_another_size_fails(tree, only):
    tree.write("c_photo", mask(2, HEIGHT + 8, WIDTH))
    finding = only("sizes", "fail")
    assert finding.places[0].where == str(tree.mask("c_photo"))
    assert "image 96×120, mask 104×120" in finding.places[0].note


@pytest.mark.parametrize(("orientation", "severity"), [(6, "fail"), (3, "warn")])
def test_an_exif_orientation_that_the_mask_does_not_share_is_told_apart_from_another_size(
    tree, only, orientation, severity
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(0)).save(tree.image("a_photo"), exif=exif, quality=95)
    finding = only("sizes", severity)
    assert "EXIF" in finding.text
    assert len(finding.places) == 1


def test_a_mask_that_follows_the_exif_orientation_passes(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(0)).save(tree.image("a_photo"), exif=exif, quality=95)
    tree.write("a_photo", mask(0, WIDTH, HEIGHT))
    assert odd(tree.examined()) == []


def test_images_of_one_pixel_are_examined_and_told(tree):
    Image.fromarray(photo(0, 1, 1)).save(tree.image("a_photo"))
    tree.write("a_photo", np.zeros((1, 1), np.uint8))
    found = {finding.check: finding for finding in odd(tree.examined())}
    assert set(found) == {"sizes", "empty masks"}
    assert found["sizes"].places[0].note == "1×1"


def test_values_that_are_no_class_are_named_with_a_label_map(tree, only):
    labels = mask(0)
    labels[30:40, 30:40] = 7
    tree.write("a_photo", labels)
    finding = only("label values", "fail")
    assert finding.places[0].note == "7 (100 pixels)"
    assert "label_map: {7: 255}" in finding.cure
    assert odd(tree.examined(label_map={7: 255})) == []


@pytest.mark.parametrize(
    ("seen", "classes", "expected"),
    [
        ({1, 2, 3}, 3, {1: 0, 2: 1, 3: 2}),
        ({0, 128, 255}, 3, {128: 1, 255: 2}),
        ({0, 128, 255}, 2, {128: 1}),
        ({0, 1, 9, 255}, 2, {9: 255}),
        ({0, 1, 2, 5, 255}, 4, {5: 3}),
    ],
)
def test_the_suggested_label_map_follows_how_the_values_lie(seen, classes, expected):
    assert suggested(seen, classes) == expected


def test_the_suggested_label_map_is_a_cure(tree):
    for names in tree.splits.values():
        for number, name in enumerate(names):
            labels = mask(number)
            tree.write(name, np.where(labels == 255, 255, labels + 1).astype(np.uint8))
    found = odd(tree.examined())
    assert found[0].check == "label values"
    assert "label_map: {1: 0, 2: 1, 3: 2}" in found[0].cure
    assert odd(tree.examined(label_map={1: 0, 2: 1, 3: 2})) == []


def test_masks_of_0_and_255_fail_for_that_alone(tree, only):
    for names in tree.splits.values():
        for name in names:
            tree.write(name, np.where(mask(0) == 1, 255, 0).astype(np.uint8))
    finding = only("label values", "fail", classes=["background", "cell"])
    assert "label_map: {255: 1}" in finding.cure
    assert odd(tree.examined(classes=["background", "cell"], label_map={255: 1})) == []


@pytest.mark.parametrize(("value", "text"), [(255, "ignored throughout"), (0, "nothing but background")])
def test_empty_masks_are_a_warning(tree, only, value, text):
    tree.write("a_photo", np.full((HEIGHT, WIDTH), value, np.uint8))
    finding = only("empty masks", "warn")
    assert text in finding.text
    assert [place.where for place in finding.places] == [str(tree.mask("a_photo"))]


def test_a_first_class_that_is_no_background_makes_no_empty_masks(tree):
    tree.write("a_photo", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert odd(tree.examined(classes=["road", "cat", "dog"])) == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_classes_missing_in_a_split_are_named(tree, only, split):
    for name in tree.splits[split]:
        labels = mask(0)
        labels[labels == 2] = 0
        tree.write(name, labels)
    finding = only("classes", "warn")
    assert f"missing in {split}" in finding.text
    assert [place.where for place in finding.places] == ["dog"]


def test_training_on_one_class_fails(tree):
    for name in tree.splits["train"]:
        tree.write(name, np.ones((HEIGHT, WIDTH), np.uint8))
    found = odd(tree.examined())
    assert [(finding.check, finding.severity) for finding in found] == [("classes", "fail")]
    assert "nothing but cat" in found[0].text


def test_frequencies_are_those_of_the_masks(tree):
    report = tree.examined()
    for split, names in tree.splits.items():
        masks = np.stack([np.array(Image.open(tree.mask(name))) for name in names])
        rows = report.plain()["classes"][split]
        assert [row["name"] for row in rows] == [*NAMES, None]
        for row, value in zip(rows, (0, 1, 2, 255), strict=True):
            assert row["pixels"] == int((masks == value).sum())
            assert row["images"] == int((masks == value).any((1, 2)).sum())


def test_rare_classes_are_told(tree, only):
    for names in tree.splits.values():
        for name in names:
            labels = mask(0)
            labels[labels == 2] = 0
            if name == "a_photo" or name in tree.splits["val"]:
                labels[60:63, 20:37] = 2
            tree.write(name, labels)
    finding = only("classes", "warn")
    assert "rare in train" in finding.text
    assert finding.places[0].where == "dog"


def test_tiny_objects_are_measured_against_the_stride_and_the_resize(tree, only):
    for names in tree.splits.values():
        for name in names:
            labels = mask(0)
            labels[labels == 2] = 0
            labels[50:62, 20:110:15] = labels[50:62, 21:110:15] = 2  # 12 high, 2 wide
            tree.write(name, labels)
    finding = only("object sizes", "warn", stride=16)
    assert finding.places[0].where == "dog"
    assert "54 of 54 objects, 100 %" in finding.places[0].note
    left, top, right, bottom = finding.places[0].box
    assert (right - left, bottom - top) == (2, 12)
    assert odd(tree.examined(stride=8)) == []
    assert odd(tree.examined(stride=16, resize=(2 * HEIGHT, 2 * WIDTH))) == []


def test_objects_beyond_the_receptive_field_are_told(tree, only):
    finding = only("object sizes", "warn", receptive_field=40)
    assert {place.where for place in finding.places} == {"cat", "dog"}
    assert odd(tree.examined(receptive_field=64)) == []


def test_an_empty_list_and_a_missing_list_fail(tree):
    lists = tree.root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("")
    (lists / "val.txt").unlink()
    found = odd(tree.examined())
    assert {finding.check for finding in found} == {"lists"}
    assert any("train split is empty" in finding.text for finding in found)
    assert any("val.txt" in finding.text for finding in found)


def test_images_without_mask_are_a_warning(tree, only):
    tree.mask("f_photo").unlink()
    assert "f_photo" in only("lists", "warn").text


def test_a_bad_mask_does_not_hide_the_rest_where_the_images_are_to_be_divided(tree):
    tree.mask("a_photo").write_bytes(b"")
    tree.write("b_photo", mask(0, 64, 64))
    report = tree.examined(val_fraction=0.3)
    assert {finding.check for finding in odd(report)} == {"lists", "files", "sizes"}
    assert sum(len(part) for part in report.survey.splits.values()) == 9


def test_a_folder_with_unmatched_images_is_examined_without_them(tree):
    tree.mask("a_photo").unlink()
    tree.write("b_photo", mask(0, 64, 64))
    data = Folder(str(tree.root), NAMES, image_dir="JPEGImages", mask_dir="SegmentationClass", val_fraction=0.3)
    found = odd(report_on(data))
    assert [finding.check for finding in found] == ["lists", "sizes"]
    assert "1 of 9 images" in found[0].text


def test_a_folder_that_is_not_there_is_all_that_is_said(tmp_path):
    report = report_on(VOC(str(tmp_path / "nowhere")))
    assert [(finding.check, finding.severity) for finding in report.findings] == [("lists", "fail")]


def test_names_that_differ_in_case_alone_are_told(tree, only):
    assert only("label names", "warn", classes=["background", "cat", "Cats"]).places[0].where == "Cats / cat"
