"""Colour masks to indexed masks: exactly, or with the pixel that does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
from seg.convert.colors import indices
from seg.convert.palettes import PALETTES, make_palette, palette_of
from seg.data import VOC, CamVid

SMALL = "sky 10 20 30\nroad 0 0 0\nvoid 9 9 9\n"


def painted(mask: np.ndarray, palette: str) -> np.ndarray:
    """Return a mask in a palette's colours, by the loop that needs no thought."""
    colors = {value: color for color, value in reversed(palette_of(palette).colors)}
    return np.array([[colors[value] for value in row] for row in mask.tolist()], dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PALETTES)), st.integers(0, 2**32 - 1))
def test_every_palette_takes_its_colours_back_to_the_values(palette, seed):
    rng = np.random.default_rng(seed)
    values = sorted({value for _, value in palette_of(palette).colors})
    mask = rng.choice(values, rng.integers(1, 30, 2)).astype(np.uint8)
    found, unknown = indices(painted(mask, palette), palette_of(palette))
    np.testing.assert_array_equal(found, mask)
    assert (found.dtype, unknown) == (np.uint8, 0)


def test_palettes_by_name_have_the_values_of_the_data_sets():
    assert list(PALETTES["voc"].names) == VOC(root="x").class_names
    assert list(PALETTES["camvid"].names) == CamVid(root="x").class_names
    cityscapes = dict(PALETTES["cityscapes"].colors)
    assert all(cityscapes[label.color] == label.train_id for label in TRAIN_LABELS)
    assert cityscapes[0, 0, 0] == cityscapes[250, 170, 160] == 255
    assert set(cityscapes) == {label.color for label in LABELS}
    assert dict(PALETTES["voc"].colors)[224, 224, 192] == 255


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_nearest_colour_is_that_of_a_brute_force_search(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    palette = PALETTES["camvid"]
    distance = ((pixels[:, :, None].astype(float) - np.array([color for color, _ in palette.colors])) ** 2).sum(axis=3)
    wanted = np.array([value for _, value in palette.colors])[distance.argmin(axis=2)]
    np.testing.assert_array_equal(indices(pixels, palette, nearest=True)[0], wanted)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Write three colour masks of different kinds of files, a palette, and the masks that they mean."""
    rng = np.random.default_rng(0)
    (tmp_path / "palette.txt").write_text(SMALL)
    for index, name in enumerate(["rgb.png", "sub/clear.png", "sub/indexed.png"]):
        mask = rng.choice([0, 1, 255], (20, 30)).astype(np.uint8)
        image = Image.fromarray(painted(mask, str(tmp_path / "palette.txt")))
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        (image, image.convert("RGBA"), image.quantize(8))[index].save(tmp_path / "masks" / name)
        np.save(tmp_path / f"{index}.npy", mask)
    return tmp_path


def test_the_command_writes_indexed_masks_of_the_same_tree_and_the_class_list(tree, convert):
    words = ("colors", tree / "masks", "--palette", tree / "palette.txt", "--out", tree / "out")
    assert convert(*words) == (0, "3 masks written\n")
    for index, name in enumerate(["rgb.png", "sub/clear.png", "sub/indexed.png"]):
        image = Image.open(tree / "out" / name)
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), np.load(tree / f"{index}.npy"))
        assert image.getpalette()[:6] == [10, 20, 30, 0, 0, 0]
    assert (tree / "out" / "labels.txt").read_text() == "__ignore__\nsky\nroad\n"
    assert convert(*words) == (0, "0 masks written, 3 found done\n")
    (tree / "palette.txt").write_text("road 0 0 0\nsky 10 20 30\nvoid 9 9 9\n")
    assert convert(*words)[1] == "3 masks written\n"


def test_an_unknown_colour_is_named_with_its_place_and_the_nearest_of_the_palette(tree, convert):
    pixels = np.array(Image.open(tree / "masks" / "rgb.png"))
    pixels[4, 7:9] = (11, 20, 30)
    Image.fromarray(pixels).save(tree / "masks" / "rgb.png")
    words = ("colors", tree / "masks", "--palette", tree / "palette.txt", "--out", tree / "out")
    status, text = convert(*words)
    assert status == 1
    assert text.startswith("2 masks written, 1 failed")
    assert "rgb.png: colour (11, 20, 30) at x=7, y=4 is not in the palette (2 such pixels, 1 such colours)" in text
    assert "nearest is (10, 20, 30), sky" in text
    assert not (tree / "out" / "rgb.png").exists()

    status, text = convert(*words, "--nearest")
    assert status == 0
    assert "rgb.png: 2 of 600 pixels took the nearest colour" in text
    expected = np.load(tree / "0.npy")
    expected[4, 7:9] = 0
    np.testing.assert_array_equal(np.array(Image.open(tree / "out" / "rgb.png")), expected)


def test_a_jpeg_is_refused_unless_the_nearest_is_asked_for(tree, convert):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = (10, 20, 30)
    Image.fromarray(pixels).save(tree / "masks" / "photo.jpg", quality=100)
    words = ("colors", tree / "masks", "--palette", tree / "palette.txt", "--out", tree / "out")
    status, text = convert(*words)
    assert status == 1
    assert "photo.jpg is a JPEG file, which stores colours inexactly" in text
    assert convert(*words, "--nearest")[0] == 0
    assert (np.array(Image.open(tree / "out" / "photo.png"))[:, :16] == 0).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", SMALL),
        ("p.txt", "# classes\n10 20 30\tsky\n0 0 0\troad\n9, 9, 9, Void\n"),
        ("p.csv", "name,r,g,b\nsky,10,20,30\nroad,0,0,0\nvoid,9,9,9\n"),
        ("p.csv", "\ufeffclass;red;green;blue\r\n'sky';10;20;30\r\nroad;0;0;0\r\n__ignore__;9;9;9\r\n"),
        ("p.json", json.dumps({"sky": [10, 20, 30], "road": [0, 0, 0], "ignore": [9, 9, 9]})),
        ("p.json", json.dumps([{"name": n, "color": [*c]} for n, c in zip(["sky", "road", "void"], [(10, 20, 30), (0, 0, 0), (9, 9, 9)], strict=True)])),  # noqa: E501
        ("p.yaml", "sky: [10, 20, 30]\nroad: [0, 0, 0]\nvoid: [9, 9, 9]\n"),
    ],
)  # fmt: skip
def test_palette_files_of_every_kind_say_the_same(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    palette = palette_of(str(path))
    assert palette.names == ("sky", "road")
    assert palette.colors == (((10, 20, 30), 0), ((0, 0, 0), 1), ((9, 9, 9), 255))


def test_a_name_that_comes_again_gives_its_class_another_colour_and_names_may_have_blanks(tmp_path):
    (tmp_path / "p.txt").write_text("traffic light 1 2 3\nroad 0 0 0\ntraffic light 4 5 6\n")
    palette = palette_of(str(tmp_path / "p.txt"))
    assert palette.names == ("traffic light", "road")
    assert palette.colors == (((1, 2, 3), 0), ((0, 0, 0), 1), ((4, 5, 6), 0))
    assert palette.shown == [(1, 2, 3), (0, 0, 0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"sky 1 2\n", "line 1, 'sky 1 2', is not a name and a colour"),
        ("p.txt", b"name r g b\n\nroad\n", "line 3, 'road', is not a name and a colour"),
        ("p.txt", b"sky 1 2 300\n", r"\[1, 2, 300\], is not red, green, blue of 0\.\.255"),
        ("p.txt", b"sky 1 2 3\nroad 1 2 3\n", r"'sky' and 'road' have one colour, \(1, 2, 3\)"),
        ("p.txt", b"", "0 classes are named"),
        ("p.txt", b"\xff\xfe\x00", "no text in UTF-8"),
        ("p.json", b"{", "this is no JSON"),
        ("p.json", b"[" * 100000, "this is no JSON"),
        ("p.json", b'{"a": [1.5, 2, 3]}', "is not red, green, blue"),
        ("p.json", b'{"a": 3}', r"is not a name and its \[r, g, b\]"),
        ("p.yaml", b"a: [1, 2", "this is no YAML"),
        ("p.yaml", b"a: [[1], 2, 3]", "is not red, green, blue"),
        ("p.yaml", b"7", "0 classes are named"),
    ],
)
def test_a_palette_that_cannot_be_names_the_file_and_the_reason(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"--palette .*{name}.*{message}"):
        palette_of(str(path))


def test_mistyped_names_and_too_many_classes_are_errors(tree, convert):
    status, text = convert("colors", tree / "masks", "--palette", "camvit", "--out", tree / "out")
    assert status == 2
    assert "neither a palette (voc, camvid, cityscapes) nor a file; did you mean camvid?" in text
    with pytest.raises(ValueError, match="256 classes"):
        make_palette((str(index), (0, index // 200, index % 200)) for index in range(256))


def test_damaged_files_are_named_and_the_others_written(tree, convert):
    (tree / "masks" / "cut.png").write_bytes((tree / "masks" / "rgb.png").read_bytes()[:60])
    (tree / "masks" / "text.png").write_text("no picture")
    status, text = convert("colors", tree / "masks", "--palette", tree / "palette.txt", "--out", tree / "out")
    assert status == 1
    assert text.startswith("3 masks written, 2 failed")
    assert "cut.png" in text
    assert "text.png" in text


def test_writing_over_what_is_read_is_refused_and_a_folder_inside_is_not_read_again(tree, convert):
    words = ("colors", tree / "masks", "--palette", tree / "palette.txt", "--out")
    status, text = convert(*words, tree / "masks")
    assert status == 2
    assert "would replace a file that is read" in text
    assert convert(*words, tree / "masks" / "out")[1] == "3 masks written\n"
    assert convert(*words, tree / "masks" / "out")[1] == "0 masks written, 3 found done\n"
