import numpy as np
import pytest
from PIL import Image

from seg.convert.palette import VOID_COLOR, full_palette, save_image, voc_colors, write_indexed


def test_the_first_voc_colours_are_those_of_the_devkit():
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert voc_colors(7) == known
    assert voc_colors(21)[15] == (192, 128, 128)  # person
    assert len(set(voc_colors(255))) == 255


def test_a_palette_has_the_classes_first_and_void_last():
    palette = full_palette([(1, 2, 3), (4, 5, 6)])
    assert palette[:6] == [1, 2, 3, 4, 5, 6]
    assert tuple(palette[765:]) == VOID_COLOR
    assert len(palette) == 768


def test_an_indexed_png_reads_back_with_its_labels_and_colours(tmp_path):
    mask = np.array([[0, 1, 255], [2, 254, 0]], dtype=np.uint8)
    write_indexed(tmp_path / "new" / "mask.png", mask, [(9, 9, 9), (1, 2, 3), (7, 0, 7)])
    image = Image.open(tmp_path / "new" / "mask.png")
    assert image.mode == "P"
    assert np.array_equal(np.array(image), mask)
    assert image.convert("RGB").getpixel((1, 0)) == (1, 2, 3)
    assert image.convert("RGB").getpixel((2, 0)) == VOID_COLOR


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.png"
    save_image(path, Image.new("L", (2, 2), 7))

    class Broken(Image.Image):
        def save(self, *args, **options):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_image(path, Broken())
    assert Image.open(path).getpixel((0, 0)) == 7
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
