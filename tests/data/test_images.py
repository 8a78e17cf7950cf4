from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from seg.data.dataset import Pair, Reader
from seg.data.images import Labels, read_image, read_mask, read_size, resize_image, resize_mask
from tests.data.conftest import labels, picture, write_grey_png

# Where pixel (row, column) of the upright picture lies in the stored one, by the EXIF standard's definitions.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_every_exif_orientation_is_applied_once(tmp_path, orientation, suffix):
    upright = picture(3, 20, 33)
    upright[:6, :6] = (255, 0, 0)
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif, **options)
    image = read_image(path)
    assert image.shape == (20, 33, 3)
    assert read_size(path) == (20, 33)
    assert np.abs(image.astype(int) - upright).max() <= (60 if suffix == "jpg" else 0)
    assert np.abs(image.astype(int) - upright).mean() < 3


def test_masks_are_turned_with_their_exif_orientation(tmp_path):
    mask = labels(0, 20, 30, 5)
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("L", "P"):
        image = Image.fromarray(np.ascontiguousarray(np.rot90(mask)))
        if mode == "P":
            image = image.convert("L")
            image.putpalette(list(range(256)) * 3)
        image.save(tmp_path / "m.png", exif=exif)
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_every_mode_becomes_the_rgb_that_pillow_gives(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    try:
        Image.fromarray(picture(1, 24, 31)).convert(mode).save(path)
    except (OSError, KeyError):
        pytest.skip(f"{suffix} cannot hold {mode}")
    with Image.open(path) as file:
        expected = np.asarray(file.convert("RGB"))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_grey_palette_and_interlaced_pngs_with_a_transparent_colour_are_exact(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(1, 24, 31)).save(path, transparency=(1, 2, 3))
    np.testing.assert_array_equal(read_image(path), picture(1, 24, 31))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bands", [1, 3])
def test_sixteen_bits_do_not_become_rgb_and_the_setting_that_reads_them_is_named(tmp_path, suffix, bands):
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), np.full((4, 4, bands), 40000, np.uint16))
    with pytest.raises(ValueError, match=r"deep.*more than 8 bits.*channels to native"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png16", "tif16", "tif-int32", "npy16", "npy-int64", "npy-float"])
def test_masks_of_more_bits_are_read_where_their_values_are_labels(tmp_path, kind):
    def write(mask):
        path = tmp_path / f"m.{kind[:3]}"
        if kind == "png16":
            cv2.imwrite(str(path), mask.astype(np.uint16))
        elif kind.startswith("tif"):
            tifffile.imwrite(path, mask.astype(np.uint16 if kind == "tif16" else np.int32))
        else:
            np.save(path, mask.astype({"npy16": np.uint16, "npy-int64": np.int64, "npy-float": np.float64}[kind]))
        return path

    mask = np.random.default_rng(0).integers(0, 256, (17, 23))
    mask[0, 0] = 255
    read = read_mask(write(mask))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, mask)
    mask[3, 4] = 256
    with pytest.raises(
        ValueError, match=r"mask .*m\.... holds 256 \(1 such pixels\); labels are whole numbers 0\.\.255"
    ):
        read_mask(write(mask))


def test_masks_of_several_bands_and_of_fractions_are_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.full((4, 5), 0.5, np.float32))
    with pytest.raises(ValueError, match=r"holds 0\.5"):
        read_mask(tmp_path / "m.npy")
    np.save(tmp_path / "m.npy", np.zeros((4, 5, 2), np.uint8))
    with pytest.raises(ValueError, match="has 2 bands"):
        read_mask(tmp_path / "m.npy")
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((3, 4, 5), np.uint8), photometric="minisblack", planarconfig=2)
    with pytest.raises(ValueError, match="has 3 bands"):
        read_mask(tmp_path / "m.tif")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_and_grey_masks_of_every_depth_keep_their_values(tmp_path, bits):
    mask = np.random.default_rng(0).integers(0, 2**bits, (17, 23)).astype(np.uint8)
    image = Image.fromarray(mask)
    image.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    image.save(tmp_path / "p.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), mask)
    write_grey_png(tmp_path / "g.png", mask, bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "g.png"), mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_colour_mask_is_refused_and_the_cure_is_named(tmp_path, mode):
    Image.fromarray(picture(0, 10, 10)).convert(mode).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png is a colour picture.*indexed mask is expected.*palette"):
        read_mask(tmp_path / "m.png")


def test_a_jpeg_mask_is_refused(tmp_path):
    Image.fromarray(labels(0, 10, 10, 3)).save(tmp_path / "m.jpg")
    with pytest.raises(ValueError, match=r"m\.jpg is a JPEG file"):
        read_mask(tmp_path / "m.jpg")


def test_label_37_among_11_classes_names_file_value_count_and_cure():
    mask = np.zeros((5, 6), np.uint8)
    mask[0, :3] = 37
    mask[1, 0] = 11
    mask[2] = 255
    with pytest.raises(
        ValueError, match=r"a\.png holds label 11 \(1 pixels\), 37 \(3 pixels\).* 11 classes.*label_map"
    ):
        Labels(11).apply(mask, "a.png")


def test_a_label_map_is_applied_and_what_it_leaves_is_still_checked():
    mask = np.array([[0, 255, 7, 3]], np.uint8)
    np.testing.assert_array_equal(Labels(4, {255: 1, 7: 255}).apply(mask, "a"), [[0, 1, 255, 3]])
    with pytest.raises(ValueError, match=r"label 3 \(1 pixels\)"):
        Labels(3, {255: 1, 7: 255}).apply(mask, "a")
    with pytest.raises(ValueError, match="7 -> 4 leads nowhere"):
        Labels(4, {7: 4})


@pytest.mark.parametrize("classes", [2, 11, 254, 255])
def test_the_label_check_agrees_with_a_plain_one_for_every_value(classes):
    checker = Labels(classes)
    for value in range(256):
        mask = np.full((3, 3), value, np.uint8)
        if value < classes or value == 255:
            np.testing.assert_array_equal(checker.apply(mask, "a"), mask)
        else:
            with pytest.raises(ValueError, match=f"label {value} "):
                checker.apply(mask, "a")


def test_a_mask_of_other_size_is_refused_and_both_files_are_named(tmp_path):
    Image.fromarray(picture(0, 20, 30)).save(tmp_path / "a.jpg")
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg is 20×30 .*a\.png is 30×20"):
        Reader().both(Pair("a", str(tmp_path / "a.jpg"), str(tmp_path / "a.png")), Labels(2))


def test_resizing_a_mask_invents_no_label_and_keeps_places():
    mask = labels(4, 60, 80, 6)
    small = resize_mask(mask, (30, 40))
    assert set(np.unique(small)) <= set(np.unique(mask))
    rows, columns = (np.arange(30) * 2 + 1), (np.arange(40) * 2 + 1)
    np.testing.assert_array_equal(small, mask[np.ix_(rows, columns)])
    assert resize_image(picture(0, 60, 80), (30, 40)).shape == (30, 40, 3)


def test_shrinking_an_image_averages():
    image = picture(2, 40, 60)
    mean = image.reshape(20, 2, 30, 2, 3).astype(float).mean((1, 3))
    assert np.abs(resize_image(image, (20, 30)) - mean).max() <= 0.5


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(20, 31), (70, 90), (20, 90)])
def test_bands_are_resized_each_by_itself(bands, dtype, size):
    image = (np.random.default_rng(0).random((41, 53, bands)) * 200).astype(dtype)
    resized = resize_image(image, size)
    assert resized.dtype == dtype
    for band in range(bands):
        alone = resize_image(image[..., band : band + 1], size)[..., 0]
        np.testing.assert_allclose(resized[..., band], alone, atol=1e-3 if dtype == np.float32 else 1)
    assert abs(resized.mean() - image.mean()) < 5


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_odd_entries_of_exif_do_not_keep_an_image_from_being_turned(tmp_path, suffix):
    head = b"Exif\0\0II*\0\x08\0\0\0\x02\0"
    orientation = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    offset_in_words = b"\x20\x01\x02\0\x06\0\0\0\x26\0\0\0"
    stored = np.random.default_rng(0).integers(0, 4, (20, 33), dtype=np.uint8)
    picture = Image.fromarray(stored).convert("P" if suffix == "png" else "RGB")
    path = tmp_path / f"a.{suffix}"
    picture.save(path, exif=head + orientation + offset_in_words + b"\0\0\0\0maker\0", quality=95)
    turned = np.rot90(np.array(Image.open(path).convert("RGB")), -1)
    np.testing.assert_array_equal(read_image(path), turned)
    assert read_image(path, "grey").shape == (33, 20, 1)
    assert read_size(path) == (33, 20)
    if suffix == "png":
        np.testing.assert_array_equal(read_mask(path), np.rot90(stored, -1))


def test_exif_that_cannot_be_read_is_told_with_the_file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("P", (20, 30)).save(path, exif=b"Exif\0\0II*\0")
    for read in (read_image, read_size, read_mask, partial(read_image, channels="native")):
        with pytest.raises(ValueError, match=r"a\.png is damaged or incomplete \(unpack requires"):
            read(path)
