"""Finding the image of an annotation: by path, by name, embedded; never a guess, never outside of the root."""

import os
from pathlib import Path

import numpy as np
import pytest

from seg.convert.labelme_file import read_annotation
from seg.convert.labelme_images import Tree, find_image, frame_of
from seg.convert.labelme_shapes import Drawing
from seg.convert.labelme_sources import draw_mask, read_sources
from seg.data.images import read_image
from tests.convert.labelme_files import official_mask, photo, png, shape, square, write_image, write_json, write_pair

SHAPES = [shape("a", square(5, 5, 20))]
VALUES = {"a": 1}


def find(path: Path, root: Path) -> tuple[Path | None, list[str]]:
    image, _, notes = find_image(read_annotation(path), Tree(root))
    return image, notes


def mask_of(path: Path, root: Path) -> np.ndarray:
    annotation = read_annotation(path)
    image, frame, _ = find_image(annotation, Tree(root))
    assert frame == frame_of(annotation, image)[0]
    return draw_mask(annotation, frame, VALUES, Drawing())


@pytest.mark.parametrize("written", ["../images/one.png", "..\\images\\one.png", "..\\..\\data\\images\\one.png"])
def test_image_path_is_relative_to_the_annotation_with_either_slash(tmp_path, written):
    image = write_image(tmp_path / "data/images/one.png")
    path = write_json(tmp_path / "data/labels/one.json", SHAPES, imagePath=written)
    assert find(path, tmp_path / "data") == (image, [])


@pytest.mark.parametrize(
    "written", ["../../secret.png", "..\\..\\secret.png", "{root}/secret.png", "link/../../secret.png"]
)
def test_what_lies_outside_of_the_root_is_never_opened(tmp_path, written):
    write_image(tmp_path / "secret.png")
    (tmp_path / "data/labels/deep").mkdir(parents=True)
    (tmp_path / "data/labels/link").symlink_to(tmp_path / "data/labels/deep")
    path = write_json(tmp_path / "data/labels/one.json", SHAPES, imagePath=written.format(root=tmp_path))
    with pytest.raises(ValueError, match=r"one\.json: there is no image"):
        find(path, tmp_path / "data")
    # with a root that holds it, the same path is as good as any other
    found = find(path, tmp_path)[0] if not written.startswith("link") else tmp_path / "secret.png"
    assert found == tmp_path / "secret.png"


@pytest.mark.parametrize(
    "written", [None, "C:\\photos\\DSC1.JPG", "/home/x/gone.png", "one.json", "", "x\0y", "n" * 5000]
)
def test_without_the_named_file_the_image_of_the_annotations_name_counts(tmp_path, written):
    path = write_pair(tmp_path / "one.json", SHAPES, imagePath=written)
    image, notes = find(path, tmp_path)
    assert image == tmp_path / "one.png"
    assert len(notes) == (0 if not written else 1)


def test_the_likeliest_suffix_counts_where_a_mask_of_the_same_name_lies_beside(tmp_path):
    path = write_pair(tmp_path / "one.json", SHAPES, imagePath=None)
    image = write_image(tmp_path / "one.JPG")
    assert find(path, tmp_path)[0] == image


def test_the_name_of_the_annotation_may_hold_the_images_suffix(tmp_path):
    image = write_image(tmp_path / "one.jpg")
    path = write_json(tmp_path / "one.jpg.json", SHAPES, imagePath="gone.png")
    assert find(path, tmp_path)[0] == image


def test_names_match_whatever_case_and_composition_they_are_written_in(tmp_path):
    image = write_image(tmp_path / "Stra\N{LATIN SMALL LETTER SHARP S}e Cafe\N{COMBINING ACUTE ACCENT}.PNG")
    path = write_json(
        tmp_path / "1.json",
        SHAPES,
        imagePath="stra\N{LATIN SMALL LETTER SHARP S}e caf\N{LATIN SMALL LETTER E WITH ACUTE}.png",
    )
    assert find(path, tmp_path) == (image, [])


def test_an_embedded_image_is_used_where_no_file_is_there(tmp_path):
    path = write_json(tmp_path / "one.json", SHAPES, imageData=png(photo(40, 60)))
    assert find(path, tmp_path) == (None, [])
    write_image(tmp_path / "one.png")
    assert find(path, tmp_path)[0] == tmp_path / "one.png"


def test_an_embedded_picture_of_an_image_that_may_have_more_bands_is_told(tmp_path):
    for name, told in (("one.jpg", 0), ("one.tif", 1), ("one.npy", 1)):
        data = png(photo(40, 60))
        path = write_json(tmp_path / "one.json", SHAPES, imagePath=f"../elsewhere/{name}", imageData=data)
        image, notes = find(path, tmp_path)
        assert image is None
        assert len(notes) == told
        assert all("the embedded image is used" in note and name in note for note in notes)


def test_an_image_of_that_name_anywhere_counts_if_it_is_the_only_one(tmp_path):
    path = write_json(tmp_path / "labels/one.json", SHAPES)
    image = write_image(tmp_path / "images/one.png")
    assert find(path, tmp_path)[0] == image
    write_image(tmp_path / "other/one.png")
    with pytest.raises(
        ValueError, match=r"one\.json: imagePath 'one\.png' is not there, and could mean .*images.*other"
    ):
        find(path, tmp_path)


def test_an_image_of_that_name_elsewhere_must_have_the_size(tmp_path):
    path = write_json(tmp_path / "labels/one.json", SHAPES)
    write_image(tmp_path / "images/one.png", 50, 60)
    with pytest.raises(ValueError, match=r"one\.png is 50×60 .* the JSON file says 40×60; it is another image"):
        find(path, tmp_path)


def test_an_image_path_to_another_existing_file_of_another_size_is_not_followed(tmp_path):
    path = write_pair(tmp_path / "one.json", SHAPES, imagePath="two.png")
    write_image(tmp_path / "two.png", 80, 100)
    image, notes = find(path, tmp_path)
    assert image == tmp_path / "one.png"
    assert "imagePath names two.png, whose size is another" in notes[0]
    (tmp_path / "one.png").unlink()
    with pytest.raises(ValueError, match=r"two\.png is 80×100 .* says 40×60; it is another image"):
        find(path, tmp_path)


@pytest.mark.parametrize(("one", "two"), [((40, 60), (40, 60)), ((50, 60), (80, 90))])
def test_two_images_that_could_be_meant_are_refused_unless_one_is_embedded(tmp_path, one, two):
    path = write_json(tmp_path / "one.json", SHAPES, imagePath="two.png")
    write_image(tmp_path / "one.png", *one)
    write_image(tmp_path / "two.png", *two)
    with pytest.raises(ValueError, match=r"one\.json: imagePath names two\.png, but one\.png .*(both|neither)"):
        find(path, tmp_path)
    write_json(path, SHAPES, imagePath="two.png", imageData=png(photo(40, 60)))
    image, notes = find(path, tmp_path)
    assert image is None
    assert "the embedded image is used" in notes[0]


def test_a_size_that_lies_is_reported_and_the_images_own_is_used_where_the_shapes_fit(tmp_path):
    for number, stated in enumerate([(10, 10), (80, 120), (41, 60), (4000, 3000)]):
        path = write_json(tmp_path / f"{number}.json", SHAPES, stated)
        write_image(path.with_suffix(".png"))
        image, notes = find(path, tmp_path)
        assert image == path.with_suffix(".png")
        assert f"the JSON file says {stated[0]}×{stated[1]}, the image is 40×60" in notes[0]
        np.testing.assert_array_equal(mask_of(path, tmp_path), official_mask((40, 60), SHAPES, VALUES))


def test_a_size_that_disagrees_is_refused_where_the_shapes_lie_outside(tmp_path):
    path = write_json(tmp_path / "one.json", [shape("a", square(50, 10, 30))], (80, 120))
    write_image(tmp_path / "one.png")
    with pytest.raises(
        ValueError, match=r"one\.json: image .*one\.png is 40×60 .* says 80×120, and shapes lie outside"
    ):
        find(path, tmp_path)


def test_the_embedded_image_tells_whether_the_size_lies_or_the_file_was_resized(tmp_path):
    path = write_pair(tmp_path / "one.json", SHAPES, imageHeight=400, imageWidth=600, imageData=png(photo(40, 60)))
    image, notes = find(path, tmp_path)
    assert image == tmp_path / "one.png"
    assert notes == ["the JSON file says 400×600, its image is 40×60"]
    write_image(tmp_path / "one.png", 50, 50)  # all shapes would fit
    write_json(path, SHAPES, imageData=png(photo(40, 60)))
    image, notes = find(path, tmp_path)
    assert image is None
    assert "the embedded image is used" in notes[0]
    write_json(path, SHAPES, None, imageData=png(photo(40, 60)))
    assert find(path, tmp_path)[0] is None


def test_an_image_that_two_files_annotate_is_remarked_on(tmp_path):
    write_pair(tmp_path / "one.json", SHAPES)
    write_json(tmp_path / "copy.json", SHAPES, imagePath="one.png")
    notes = {source.annotation.path.name: source.notes for source in read_sources(tmp_path).good}
    assert notes["one.json"] == [f"one.png is annotated in {tmp_path / 'copy.json'} too"]
    assert notes["copy.json"] == [f"one.png is annotated in {tmp_path / 'one.json'} too"]


def test_an_image_that_was_enlarged_after_annotation_is_refused(tmp_path):
    path = write_json(tmp_path / "one.json", SHAPES)
    write_image(tmp_path / "one.png", 81, 120)
    with pytest.raises(ValueError, match="was it enlarged since"):
        find(path, tmp_path)


@pytest.mark.parametrize("size", [None, (0, 0), ("40", "60"), (40.5, 60), (True, 60)])
def test_an_annotation_without_a_usable_size_takes_the_images_if_the_shapes_fit(tmp_path, size):
    more = {} if size is None else {"imageHeight": size[0], "imageWidth": size[1]}
    path = write_json(tmp_path / "one.json", SHAPES, None, version=None, **more)
    write_image(tmp_path / "one.png")
    assert find(path, tmp_path) == (tmp_path / "one.png", [])
    np.testing.assert_array_equal(mask_of(path, tmp_path), official_mask((40, 60), SHAPES, VALUES))
    write_json(path, [shape("a", square(30, 30, 20))], None)
    with pytest.raises(ValueError, match="shapes lie outside of it"):
        find(path, tmp_path)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_shapes_drawn_on_the_upright_image_lie_on_it_as_the_one_reader_gives_it(tmp_path, orientation):
    path = write_json(tmp_path / "one.json", SHAPES, (60, 40), imagePath="one.jpg")
    image = write_image(tmp_path / "one.jpg", 60, 40, orientation)
    assert read_image(image).shape == (60, 40, 3)
    assert abs(read_image(image).astype(int) - photo(60, 40)).mean() < 8
    np.testing.assert_array_equal(mask_of(path, tmp_path), official_mask((60, 40), SHAPES, VALUES))


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("stated", [(40, 60), None])
def test_shapes_drawn_on_the_image_as_stored_are_turned_with_it(tmp_path, orientation, stated):
    wide = [shape("a", square(35, 5, 24))]  # fits the stored 40×60 alone
    path = write_json(tmp_path / "one.json", wide, stated, imagePath="one.jpg")
    write_image(tmp_path / "one.jpg", 60, 40, orientation)
    _, notes = find(path, tmp_path)
    assert "drawn on one.jpg as stored" in notes[0]
    stored = official_mask((40, 60), wide, VALUES)
    expected = np.rot90(stored, -1 if orientation == 6 else 1)
    np.testing.assert_array_equal(mask_of(path, tmp_path), expected)


def test_shapes_that_fit_both_ways_are_refused_where_the_size_is_that_of_the_stored_image(tmp_path):
    path = write_json(tmp_path / "one.json", SHAPES, (40, 60), imagePath="one.jpg")
    write_image(tmp_path / "one.jpg", 60, 40, 6)
    with pytest.raises(ValueError, match="without its EXIF orientation"):
        find(path, tmp_path)
    tall = [shape("a", square(5, 30, 29))]  # fits the upright 60×40 alone: the size lies
    write_json(path, tall, (40, 60), imagePath="one.jpg")
    np.testing.assert_array_equal(mask_of(path, tmp_path), official_mask((60, 40), tall, VALUES))


def test_cycles_of_links_and_hidden_folders_do_not_matter(tmp_path):
    path = write_pair(tmp_path / "a/one.json", SHAPES)
    write_pair(tmp_path / ".cache/two.json", SHAPES)
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert Tree(tmp_path).files == [path]
    outside = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    write_pair(outside / "three.json", SHAPES)
    (tmp_path / "linked").symlink_to(outside)
    assert Tree(tmp_path).files == [path, tmp_path / "linked/three.json"]


def test_an_image_that_ends_too_early_is_found_before_it_is_used(tmp_path):
    rng = np.random.default_rng(0)
    from PIL import Image

    for name in ("whole.jpg", "cut.jpg", "cut.png", "trailer.jpg"):
        path = tmp_path / name
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
        if name.startswith("cut"):
            os.truncate(path, path.stat().st_size // 2)
        if name.startswith("trailer"):
            path.write_bytes(path.read_bytes() + b"maker's own data")
        write_json(path.with_name(f"{name[:-4]}_{name[-3:]}.json"), SHAPES, imagePath=name)
    write_json(tmp_path / "inside.json", SHAPES, imageData=png(photo(40, 60))[:900])
    sources = read_sources(tmp_path)
    assert sorted(path.name for path in sources.bad) == ["cut_jpg.json", "cut_png.json", "inside.json"]
    assert all("damaged or incomplete" in reason for reason in sources.bad.values())


def test_a_header_of_a_thousand_million_pixels_is_refused_without_decoding(tmp_path):
    path = write_pair(tmp_path / "one.json", SHAPES)
    data = bytearray((tmp_path / "one.png").read_bytes())
    data[16:24] = (40000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "one.png").write_bytes(data)
    assert "too large" in read_sources(tmp_path).bad[path]
