import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seg.data.images import read_image, read_mask, read_size
from seg.data.rasters import read_raster, upright
from tests.data.conftest import picture
from tests.data.test_images import STORED

CHUNKY, PLANAR = 1, 2


def values(dtype, *shape):
    generator = np.random.default_rng(3)
    if np.dtype(dtype).kind == "f":
        return generator.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def assert_reads(path, expected):
    image = read_raster(path)
    assert image.dtype == expected.dtype
    assert image.flags.writeable
    np.testing.assert_array_equal(image, expected)
    assert read_size(path) == expected.shape[:2]


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["chunky", "planar", "pages", "tiles", "deflate"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_tiff_of_any_bands_is_read_as_it_is(tmp_path, bands, dtype, layout, byteorder):
    image = values(dtype, 33, 47, bands)
    options = {"photometric": "minisblack", "byteorder": byteorder}
    planes = np.moveaxis(image, -1, 0)
    if bands == 1:
        tifffile.imwrite(tmp_path / "a.tif", image[..., 0], **options)
    elif layout == "planar":
        tifffile.imwrite(tmp_path / "a.tif", planes, planarconfig=PLANAR, **options)
    elif layout == "pages":
        tifffile.imwrite(tmp_path / "a.tif", planes, metadata=None, **options)
    else:
        more = {"tiles": {"tile": (16, 16)}, "deflate": {"compression": "zlib", "predictor": dtype != np.float32}}
        tifffile.imwrite(tmp_path / "a.tif", image, planarconfig=CHUNKY, **options, **more.get(layout, {}))
    assert_reads(tmp_path / "a.tif", image)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float64, np.float16])
def test_other_numbers_become_float32(tmp_path, dtype):
    image = (values(np.int8, 9, 11, 5)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", planarconfig=CHUNKY)
    np.save(tmp_path / "a.npy", image)
    for name in ("a.tif", "a.npy"):
        assert_reads(tmp_path / name, image.astype(np.float32))


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_its_depth_and_bands(tmp_path, bands, dtype):
    image = values(dtype, 12, 17, bands)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[bands]
    cv2.imwrite(str(tmp_path / "a.png"), image[..., order])
    assert_reads(tmp_path / "a.png", image)


def test_a_truncated_sixteen_bit_png_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), values(np.uint16, 90, 90, 3))
    data = (tmp_path / "a.png").read_bytes()
    for damaged in (data[:-30], data[:500] + b"\0\0\0" + data[503:]):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.png is damaged"):
            read_raster(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "bands"), [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4)])
def test_ways_to_write_colours_become_rgb_and_bands_stay_bands(tmp_path, mode, bands):
    image = Image.fromarray(picture(0, 20, 30)).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode))).reshape(20, 30, bands)
    assert_reads(tmp_path / "a.png", expected)
    grey = read_image(tmp_path / "a.png", "grey")
    assert grey.shape == (20, 30, 1)
    luma = image.convert("RGB").convert("L")
    assert np.abs(grey[..., 0].astype(int) - np.asarray(luma)).max() <= 1


def test_cmyk_becomes_the_same_rgb_as_ever(tmp_path):
    for suffix in ("jpg", "tif"):
        Image.fromarray(picture(0, 20, 30)).convert("CMYK").save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_raster(tmp_path / f"a.{suffix}"), read_image(tmp_path / f"a.{suffix}"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_bands_and_sizes(tmp_path, orientation):
    image = values(np.uint16, 20, 33, 5)
    stored = np.ascontiguousarray(STORED[orientation](image))
    np.testing.assert_array_equal(upright(stored, orientation), image)
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=CHUNKY, extratags=[tag])
    assert_reads(tmp_path / "a.tif", image)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((6, 7), (6, 7, 1)),
        ((6, 7, 3), (6, 7, 3)),
        ((3, 6, 7), (6, 7, 3)),
        ((6, 7, 6), (6, 7, 6)),  # a tie: the last axis
        ((5, 4, 9), (4, 9, 5)),
    ],
)
def test_the_bands_of_an_array_are_the_shorter_of_its_first_and_last_axis(tmp_path, stored, expected):
    array = values(np.uint16, *stored)
    np.save(tmp_path / "a.npy", array)
    last = array[..., None] if len(stored) == 2 else array if array.shape == expected else np.moveaxis(array, 0, -1)
    assert_reads(tmp_path / "a.npy", last)
    np.save(tmp_path / "f.npy", np.asfortranarray(array).astype(">u2"))
    assert_reads(tmp_path / "f.npy", last)


def test_an_array_of_eight_bits_is_an_rgb_image_too(tmp_path):
    image = picture(0, 20, 30)
    np.save(tmp_path / "a.npy", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), image)
    np.save(tmp_path / "a.npy", values(np.uint8, 20, 30, 5))
    with pytest.raises(ValueError, match=r"a\.npy has 5 bands of uint8, which is not 8-bit RGB.*channels to native"):
        read_image(tmp_path / "a.npy")


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[Harmful()]], dtype=object), "damaged.*object"),
        (np.zeros((2, 3), complex), "complex128"),
        (np.zeros((2, 3), "U4"), "type <U4"),
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
    ],
)
def test_an_array_that_is_no_image_is_refused_and_nothing_in_it_is_executed(tmp_path, capsys, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy .*{message}"):
        read_raster(tmp_path / "a.npy")
    assert "executed" not in capsys.readouterr().out


def test_what_gdal_calls_no_data_is_nan_in_floats_and_a_value_in_small_integers(tmp_path):
    for dtype, nodata in ((np.float32, "-9999"), (np.int16, "-9999"), (np.float32, "-3.4028234663852886e+38")):
        image = np.full((4, 5, 2), 7, dtype)
        image[1, 2, 0] = np.float32(nodata) if dtype == np.float32 else int(nodata)
        tag = (42113, "s", 0, nodata, True)
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", planarconfig=CHUNKY, extratags=[tag])
        expected = np.full((4, 5, 2), 7, np.float32)
        expected[1, 2, 0] = np.nan
        assert_reads(tmp_path / "a.tif", expected)
    tag = (42113, "s", 0, "0", True)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint16), extratags=[tag])
    assert_reads(tmp_path / "a.tif", np.zeros((4, 5, 1), np.uint16))


def test_more_than_one_image_of_bands_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 5, 6, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"a\.tif has axes .* save one image of \(bands, height, width\)"):
        read_raster(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_compressed_tiffs_that_pillow_knows_need_no_further_package(tmp_path, dtype):
    image = values(dtype, 20, 30, 1)
    Image.fromarray(image[..., 0]).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert_reads(tmp_path / "a.tif", image)


def test_a_fourth_band_is_left_out_of_rgb_and_never_of_native(tmp_path):
    image = values(np.uint8, 20, 30, 4)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image[..., :3])
    assert_reads(tmp_path / "a.tif", image)
    Image.frombytes("RGBX", (30, 20), image.tobytes()).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image[..., :3])
    try:
        assert_reads(tmp_path / "a.tif", image)  # where imagecodecs is installed
    except ValueError as error:
        assert "pip install imagecodecs" in str(error)  # noqa: PT017


def test_a_tiff_with_fewer_strips_than_it_needs_is_not_filled_in(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values(np.uint16, 40, 30, 5), photometric="minisblack", planarconfig=1, rowsperstrip=10)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("StripOffsets", "StripByteCounts"):
            tag = file.pages[0].tags[name]
            assert data[tag.offset + 4] == 4
            data[tag.offset + 4] = 3
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tif is damaged or incomplete \(3 of 4 strips or tiles\)"):
        read_raster(path)


def test_bands_that_pillow_would_drop_are_not_read_as_rgb(tmp_path):
    for options in ({"photometric": "rgb", "planarconfig": CHUNKY}, {"photometric": "minisblack", "planarconfig": 1}):
        tifffile.imwrite(tmp_path / "a.tif", values(np.uint8, 20, 30, 5), **options)
        with pytest.raises(ValueError, match=r"a\.tif .*bands.*channels to native"):
            read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif has 5 bands, which have no brightness"):
        read_image(tmp_path / "a.tif", "grey")


@pytest.mark.parametrize("kept", [0, 3, 60, 0.3, 0.9])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_a_truncated_raster_is_refused_and_named(tmp_path, kept, suffix):
    path = tmp_path / f"cut.{suffix}"
    image = values(np.float32, 90, 80, 5)
    if suffix == "npy":
        np.save(path, image)
    else:
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig=CHUNKY, compression="zlib")
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(ValueError, match=rf"cut\.{suffix} (is damaged|is empty|is not an image)"):
        read_raster(path)


def test_a_picture_under_another_name_is_read_by_its_content_or_refused(tmp_path):
    Image.fromarray(picture(0, 20, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(read_raster(tmp_path / "a.tif"), picture(0, 20, 30))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.png").read_bytes())
    with pytest.raises(ValueError, match=r"a\.npy is damaged"):
        read_raster(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", picture(0, 20, 30))
    (tmp_path / "b.npy").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is not an image"):
        read_image(tmp_path / "b.png")


def _samples(folder):
    image = values(np.uint16, 24, 30, 3)
    cv2.imwrite(str(folder / "deep.png"), image)
    cv2.imwrite(str(folder / "grey.png"), picture(0, 24, 30)[..., 0])
    Image.fromarray(picture(0, 24, 30)).save(folder / "a.jpg")
    Image.fromarray(picture(0, 24, 30)).convert("P").save(folder / "palette.png")
    tifffile.imwrite(folder / "plain.tif", values(np.float32, 24, 30, 5), photometric="minisblack", planarconfig=1)
    tifffile.imwrite(folder / "zip.tif", image, photometric="rgb", compression="zlib", tile=(16, 16))
    np.save(folder / "a.npy", image)
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_read_or_refused_by_name(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "samples"
    if not folder.is_dir():
        folder.mkdir()
        _samples(folder)
    source = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # headers are where it hurts; they are at the beginning, and in TIFFs at the end too
        near = data.draw(st.sampled_from([120, 400, len(content)]))
        place = data.draw(st.integers(0, max(min(near, len(content)) - 1, 0)))
        change = data.draw(st.sampled_from(["replace", "insert", "cut", "delete"]))
        if change == "replace" and content:
            content[place] = data.draw(st.integers(0, 255))
        elif change == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        elif change == "cut":
            del content[max(place, 8) :]
        else:
            del content[place : place + 4]
    path = tmp_path_factory.getbasetemp() / f"mutated{source.suffix}"
    path.write_bytes(content)
    for read in (read_image, lambda path: read_image(path, "native"), lambda path: read_image(path, "grey"), read_mask):
        try:
            image = read(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 (either outcome is right)
        else:
            assert image.dtype in (np.uint8, np.uint16, np.float32)
            assert image.ndim == (2 if read is read_mask else 3)
    try:
        assert min(read_size(path)) > 0
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
