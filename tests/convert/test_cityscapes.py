"""Cityscapes' polygons to masks, through the command, on drawn trees and, where they are, on official frames."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg.convert.cityscapes import KINDS, frame_of, ids_of, read_annotation, read_polygons
from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
from seg.convert.command import main
from tests.cityscapes_tree import FRAMES, box, scene, write_tree

SHARED = Path(os.environ.get("SEG_SHARED_DATA", "nowhere")) / "cityscapes"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="SEG_SHARED_DATA names no folder with cityscapes/")
PNG = "gtFine/train/jena/jena_000000_000019_gtFine_{}.png"


def annotation(folder: Path, *objects: object, height: object = 20, width: object = 30) -> Path:
    path = folder / "x_polygons.json"
    path.write_text(json.dumps({"imgHeight": height, "imgWidth": width, "objects": list(objects)}))
    return path


def run(*words: str | Path) -> None:
    main(["cityscapes", *map(str, words)])


@needs_shared
@pytest.mark.parametrize("path", sorted(SHARED.glob("gt*/*/*/*_polygons.json")), ids=lambda path: path.name)
def test_no_pixel_differs_from_the_official_masks(path):
    official = np.array(Image.open(str(path).replace("_polygons.json", "_labelIds.png")))
    np.testing.assert_array_equal(read_polygons(path, "labelIds"), official)
    table = np.full(256, 255, np.uint8)
    for label in LABELS:
        if label.id >= 0:
            table[label.id] = label.train_id
    np.testing.assert_array_equal(read_polygons(path, "labelTrainIds"), table[official])


def test_the_label_table_is_the_official_one():
    assert [label.id for label in LABELS] == [*range(34), -1]
    trained = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [label.id for label in TRAIN_LABELS] == trained
    assert [label.train_id for label in TRAIN_LABELS] == list(range(19))
    assert len({label.color for label in TRAIN_LABELS}) == 19


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_command_keeps_the_tree_and_the_names_and_converts_every_split(tmp_path, capsys, kind):
    root = write_tree(tmp_path / "data")
    write_tree(root, fine="gtCoarse")
    run(root, "--out", tmp_path / "out", "--ids", kind, "--workers", "1")
    expected = {
        f"{gt}/{split}/{frame.partition('_')[0]}/{frame}_{gt}_{kind}.png"
        for gt in ("gtFine", "gtCoarse")
        for split, frames in FRAMES.items()
        for frame in frames
    }
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert found == expected
    assert capsys.readouterr().out == f"14 {kind} masks written\n"
    image = Image.open(tmp_path / "out" / PNG.format(kind))
    assert image.mode == "L"
    assert image.size == (60, 40)
    assert np.array(image)[39, 59] == (0 if kind == "labelIds" else 255)  # no polygon lies there
    assert np.array(image)[:, :2].max() == np.array(image)[:, :2].min()


def test_both_kinds_lie_beside_the_polygons_and_a_second_run_finds_them_done(tmp_path, capsys):
    root = write_tree(tmp_path)
    for kind in KINDS:
        run(root, "--out", root, "--ids", kind, "--workers", "1")
    before = (root / PNG.format("labelIds")).stat().st_mtime_ns
    capsys.readouterr()
    run(root, "--out", root, "--ids", "labelIds")
    assert capsys.readouterr().out == "0 labelIds masks written, 7 found done\n"
    run(root, "--out", root, "--ids", "labelIds", "--workers", "2", "--overwrite")
    assert capsys.readouterr().out == "7 labelIds masks written\n"
    assert (root / PNG.format("labelIds")).stat().st_mtime_ns > before


def test_one_process_or_several_write_the_same_bytes(tmp_path):
    root = write_tree(tmp_path / "data")
    for workers in ("1", "2"):
        run(root, "--out", tmp_path / workers, "--ids", "labelIds", "--workers", workers)
    for path in (tmp_path / "1").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_a_bad_file_is_named_and_the_others_are_written(tmp_path, capsys):
    root = write_tree(tmp_path / "data")
    bad = root / "gtFine/train/jena/jena_000000_000019_gtFine_polygons.json"
    bad.write_text(json.dumps(scene(40, 60, 0) | {"objects": [box("skyy", 0, 0, 5, 5)]}))
    with pytest.raises(SystemExit) as ended:
        run(root, "--out", tmp_path / "out", "--ids", "labelIds", "--workers", "1")
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "6 labelIds masks written, 1 failed" in told
    assert f"failed: {bad}: object 0: unknown label 'skyy'; did they mean 'sky'?" in told
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6


def test_a_folder_without_polygons_is_answered_with_the_tree(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "--out", tmp_path / "out", "--ids", "labelIds")
    assert ended.value.code == 2
    assert "gtFine_polygons.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(SystemExit):
            run(write_tree(tmp_path), "--out", out, "--ids", "labelIds")
        assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_labels_are_drawn_as_the_official_script_draws_them(tmp_path):
    path = annotation(
        tmp_path,
        box("road", 0, 0, 30, 20),
        box("cargroup", 1, 1, 4, 4),
        box("polegroup", 6, 1, 9, 4),
        box("license plate", 11, 1, 14, 4),
        box("license plategroup", 11, 6, 14, 9),
        box("person", 16, 1, 19, 4, deleted=1),
        box("rider", 21, 1, 24, 4, deleted=0),
        box("sky", 1, 10, 9, 14),
        box("train", 5, 12, 9, 14),
    )
    ids, train = read_polygons(path, "labelIds"), read_polygons(path, "labelTrainIds")
    expected = {(2, 2): (26, 13), (2, 7): (18, 255), (2, 12): (7, 0), (7, 12): (7, 0), (2, 17): (7, 0)}
    expected |= {(2, 22): (25, 12), (11, 3): (23, 10), (13, 7): (31, 16)}
    assert {place: (ids[place], train[place]) for place in expected} == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an annotation of Cityscapes"),
        (b"[1, 2]", "not an annotation of Cityscapes"),
        (b"\xff\xfe\x00", "not an annotation of Cityscapes"),
        (b"[" * 100_000, "not an annotation of Cityscapes"),
        (b'{"imgHeight": 2, "imgWidth": 2}', "there is no 'objects'"),
        (b'{"imgHeight": 2, "imgWidth": 2, "objects": {}}', "objects must be a list, not dict"),
        (b'{"imgHeight": ' + b"9" * 5000 + b', "imgWidth": 2, "objects": []}', "not an annotation of Cityscapes"),
    ],
)
def test_a_file_that_is_no_annotation_is_named(tmp_path, content, message):
    path = tmp_path / "x_polygons.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        read_polygons(path, "labelIds")
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("height", "width"),
    [(0, 5), (-1, 5), (True, 5), (2.0, 5), ("2", 5), (None, 5), ([2], 5), (50_000, 20_000), (5, 10**18)],
)
def test_sizes_that_are_none_or_enormous_are_refused(tmp_path, height, width):
    path = annotation(tmp_path, height=height, width=width)
    with pytest.raises(ValueError, match=r"x_polygons\.json: imgHeight .* must be whole numbers above 0"):
        read_polygons(path, "labelIds")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"label": "no such thing", "polygon": []}, "unknown label 'no such thing'"),
        ({"label": "group", "polygon": []}, "unknown label 'group'"),
        ({"label": 7, "polygon": []}, "needs a label"),
        ({"label": ["car"], "polygon": []}, "needs a label"),
        ({"label": "car"}, "needs a label"),
        ({"polygon": []}, "needs a label"),
        ("car", "needs a label"),
        (None, "needs a label"),
        ({"label": "car", "polygon": "abab"}, "needs a label"),
        ({"label": "car", "polygon": [["1", "2"]]}, "needs a label"),
        ({"label": "car", "polygon": ["12"]}, "needs a label"),
        ({"label": "car", "polygon": [{"x": 1, "y": 2}]}, "needs a label"),
        ({"label": "car", "polygon": [[1, 2, 3]]}, "needs a label"),
        ({"label": "car", "polygon": [[1, None]]}, "needs a label"),
        ({"label": "car", "polygon": [[1, True]]}, "needs a label"),
        ({"label": "car", "polygon": [1, 2, 3, 4]}, "needs a label"),
        ({"label": "car", "polygon": {"1": 2}}, "needs a label"),
    ],
)
def test_objects_that_cannot_be_drawn_are_told_with_their_place(tmp_path, item, message):
    path = annotation(tmp_path, box("road", 0, 0, 5, 5), item)
    with pytest.raises(ValueError, match=f"object 1: .*{message}") as refused:
        read_polygons(path, "labelIds")
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, 10**400, -(2**63)])
def test_coordinates_that_are_no_pixels_are_refused_by_file(tmp_path, value):
    path = annotation(tmp_path, {"label": "car", "polygon": [[0, 0], [9, 0], [9, value]]})
    with pytest.raises(ValueError, match=r"x_polygons\.json: .*coordinate"):
        read_polygons(path, "labelIds")


def test_polygons_of_few_corners_or_outside_the_image_are_no_error(tmp_path):
    outside = box("car", -900, -900, -800, -800)
    path = annotation(tmp_path, *({"label": "car", "polygon": [[3, 3]] * number} for number in range(3)), outside)
    assert not read_polygons(path, "labelIds").any()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["car", "sky", "x", "carsgroup", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["label", "polygon", "objects", "imgHeight", "imgWidth", "deleted"]), inner)
    ),
    max_leaves=12,
)


def places(part: object) -> list[tuple[dict | list, object]]:
    """Return (container, key) of every value in nested dicts and lists."""
    found: list = []
    if isinstance(part, dict | list):
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            found += [(part, key), *places(part[key])]
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_annotation_with_any_part_replaced_is_drawn_or_refused_by_name(tmp_path_factory, data):
    held = scene(20, 30, 0)
    container, key = data.draw(st.sampled_from(places(held)))
    container[key] = data.draw(json_values)
    path = tmp_path_factory.getbasetemp() / "replaced_polygons.json"
    path.write_text(json.dumps(held))
    drawn_or_refused(path)


def test_a_damaged_annotation_is_drawn_or_refused_by_name(tmp_path):
    whole = json.dumps(scene(20, 30, 0)).encode()
    rng = random.Random(0)
    path = tmp_path / "x_polygons.json"
    outcomes = []
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice(b'0123456789-.eE,:[]{}" \x00\xff')
        path.write_bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.3 else damaged)
        outcomes.append(drawn_or_refused(path))
    assert 0 < sum(outcomes) < 400


def drawn_or_refused(path: Path) -> bool:
    try:
        mask = read_polygons(path, "labelTrainIds")
    except ValueError as error:
        if str(path) not in str(error):
            raise
        return False
    held = read_annotation(path)
    assert mask.shape == (held.height, held.width)
    assert set(np.unique(mask)) <= {*range(19), 255}
    return True


def test_frames_are_known_by_the_beginning_of_their_names():
    for name in ("berlin_000000_000019_leftImg8bit.png", "berlin_000000_000019", "x/berlin_000000_000019_leftImg8bit"):
        assert frame_of(name) == "berlin_000000_000019"
    for name in ("photo.jpg", "berlin_000000.png", "berlin_000000_0000190_leftImg8bit.png", "_000000_000019.png"):
        with pytest.raises(ValueError, match="<city>_<sequence>_<frame>"):
            frame_of(name)


def test_predictions_become_the_ids_that_are_scored():
    ids = ids_of(np.arange(19, dtype=np.uint8)[None])
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]]
