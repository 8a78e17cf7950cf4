import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from seg.infer import Predictor
from seg.predict import kinds, main, one
from seg.predict.inputs import images_in, remark
from tests.command import REPOSITORY
from tests.predict.conftest import photo


def found(*inputs: str, out: str = "out") -> dict[str, str]:
    return {name.as_posix(): path.as_posix() for name, path in images_in([Path(given) for given in inputs], Path(out))}


def test_patterns_keep_the_folders_that_wildcards_stand_for(workplace):
    for name in ("photos/a/x.jpg", "photos/b/x.jpg", "photos/b/y.png", "photos/z.jpg"):
        photo(Path(name))
    assert found("photos/*/x.jpg") == {"a/x": "photos/a/x.jpg", "b/x": "photos/b/x.jpg"}
    assert found("photos/**/*.jpg").keys() == {"a/x", "b/x", "z"}
    assert found("photos/b/*").keys() == {"x", "y"}
    with pytest.raises(FileNotFoundError, match=r"photos/\*\.gif: no file fits"):
        found("photos/*.gif")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(workplace):
    photo(Path("x[1].png"))
    assert found("x[1].png") == {"x[1]": "x[1].png"}


def test_folders_are_searched_through_links_and_what_is_hidden_is_left_out_unless_it_is_named(workplace):
    for name in (".photos/in/x.png", ".photos/._x.png", ".photos/.thumbs/x.png", ".photos/in/.y.7.tmp.png"):
        photo(Path(name))
    assert found(".photos") == {"in/x": ".photos/in/x.png"}
    photo(Path("disk/z.png"))
    Path(".photos/linked").symlink_to(Path("disk").resolve())
    Path(".photos/in/again").symlink_to(Path(".photos").resolve())  # in a circle
    assert found(".photos") == {"in/x": ".photos/in/x.png", "linked/z": ".photos/linked/z.png"}
    assert found(".photos/._x.png") == {"._x": ".photos/._x.png"}


def test_predictions_below_a_pattern_are_left_out(workplace):
    photo(Path("photos/x.png"))
    photo(Path("photos/out/x.png"))
    assert found("photos/**/*.png", out="photos/out") == {"x": "photos/x.png"}


def test_a_list_comes_on_standard_input_and_what_is_not_there_fails_alone(workplace, checkpoint, monkeypatch, capsys):
    for name in ("photos/a/x.png", "photos/b/x.png"):
        photo(Path(name))
    monkeypatch.setattr("sys.stdin", io.StringIO("photos/a/x.png\r\n\nphotos/b/x.png\nphotos/b/gone.png\n"))
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "-", "--out", "out", "--save", "masks"])
    assert ended.value.code == 1
    assert "gone.png" in capsys.readouterr().err
    assert sorted(path.as_posix() for path in Path("out").rglob("*.png")) == ["out/a/x.png", "out/b/x.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_names_that_are_no_utf_8_are_read_from_a_list_and_printed(workplace, checkpoint):
    name = b"photos/caf\xe9.webp"
    pixels = [Image.fromarray(np.full((40, 40, 3), value, np.uint8)) for value in (9, 90)]
    Path("photos").mkdir()
    pixels[0].save(os.fsdecode(name), save_all=True, append_images=pixels[1:])  # animated, of which a remark tells
    command = [sys.executable, "-m", "seg", "predict", str(checkpoint), "-", "--out", "out", "--save", "masks"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, input=name + b"\n", capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert rb"note: photos/caf\udce9.webp is animated" in done.stdout
    assert Path(os.fsdecode(b"out/caf\xe9.png")).is_file()


def test_an_empty_list_is_refused(workplace, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(ValueError, match="list on standard input is empty"):
        found("-")


def test_of_all_that_people_call_images_the_good_are_predicted_and_the_bad_are_named(workplace, checkpoint, capsys):
    folder = Path("photos")
    good = photo(folder / "good.png")
    photo(folder / "point.png", 1, 1)
    photo(folder / "thread.png", 20000, 10)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(pixels, "CMYK").save(folder / "cmyk.jpg")
    frames = [Image.fromarray(pixels[:, :, :3] // (1 + index)) for index in range(3)]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    (folder / "corrupt.png").write_bytes(good.read_bytes()[:600])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    cv2.imwrite(str(folder / "deep.png"), pixels[:, :, :3].astype(np.uint16) * 200)
    tifffile.imwrite(folder / "bands.tif", pixels.repeat(2, 2), photometric="minisblack", planarconfig="contig")
    (folder / "folder.png").mkdir()
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "photos", "--out", "out", "--save", "masks", "overlays", "areas"])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert "5 of 10 images" in captured.out
    assert "animated.webp is animated; the first of its 3 pictures was predicted" in captured.out
    failed = {line.split(".", 1)[0].rpartition("/")[2]: line for line in captured.err.splitlines() if "failed:" in line}
    assert failed.keys() == {"corrupt", "empty", "text", "deep", "bands"}
    for name, words in (("corrupt", "damaged"), ("empty", "is empty"), ("text", "not an image"), ("deep", "8 bits")):
        assert words in failed[name]
    sizes = {path.stem: Image.open(path).size for path in Path("out").glob("*.png")}
    expected = {"good": (70, 50), "point": (1, 1), "thread": (10, 20000), "cmyk": (60, 40), "animated": (60, 40)}
    assert sizes == expected
    assert {path.stem for path in Path("out/overlays").iterdir()} == expected.keys()


def test_an_animation_a_page_of_many_and_a_plain_tiff_are_told_apart(workplace, checkpoint, capsys):
    generator = np.random.default_rng(0)
    pages = generator.integers(0, 255, (3, 40, 50, 3), dtype=np.uint8)
    Path("photos").mkdir()
    tifffile.imwrite("photos/pages.tif", pages, photometric="rgb")
    tifffile.imwrite("photos/plain.tif", pages[0], photometric="rgb")
    with tifffile.TiffWriter("photos/pyramid.tif") as file:
        file.write(pages[0], photometric="rgb", subifds=0)
        file.write(pages[0, ::2, ::2], photometric="rgb", subfiletype=1)  # an overview is no page
    main([str(checkpoint), "photos", "--out", "out", "--save", "masks"])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == ["note: photos/pages.tif has 3 pages; the first picture was predicted"]
    np.testing.assert_array_equal(np.array(Image.open("out/pages.png")), np.array(Image.open("out/plain.png")))


def test_bands_that_lie_a_page_each_are_no_pages(workplace):
    tifffile.imwrite("bands.tif", np.zeros((4, 30, 40), np.uint16), photometric="minisblack")
    assert remark(Path("bands.tif"), "native") is None
    assert remark(Path("bands.tif"), "rgb") == "bands.tif has 4 pages; the first picture was predicted"


def test_nothing_is_written_outside_the_output_folder(workplace, checkpoint, monkeypatch):
    for name in ("photos/x.jpg", "run/y.jpg"):
        photo(Path(name))
    photo(Path("photos/x.png"))
    before = Path("photos/x.png").read_bytes()
    monkeypatch.chdir(workplace / "run")
    monkeypatch.setattr("sys.stdin", io.StringIO("../photos/x.jpg\ny.jpg\n./../run/../photos/./z.jpg\n"))
    with pytest.raises(SystemExit):  # there is no z
        main([str(checkpoint), "-", "--out", "../masks", "--save", "masks"])
    monkeypatch.chdir(workplace)
    assert sorted(path.as_posix() for path in Path("masks").rglob("*.png")) == ["masks/photos/x.png", "masks/run/y.png"]
    assert Path("photos/x.png").read_bytes() == before
    assert not Path("run/y.png").exists()


def test_a_pattern_that_leads_up_behind_its_wildcards_is_refused(workplace):
    photo(Path("photos/a/x.jpg"))
    photo(Path("y.jpg"))
    assert found("photos/*/../a/x.jpg") == {"a/x": "photos/a/../a/x.jpg"}
    with pytest.raises(ValueError, match=r"behind a wildcard leads out of photos"):
        found("photos/*/../../y.jpg")


@pytest.mark.parametrize(
    ("given", "out"),
    [(given, out) for given in ("photos", "photos/**/*.*") for out in ("photos", ".")] + [(".", "."), ("**/*.*", ".")],
)
def test_predictions_beside_the_images_are_not_predicted_again(workplace, given, out):
    photos = [photo(Path(f"photos/{name}")).as_posix() for name in ("x.jpg", "in/y.png", "labelme/z.jpg")]
    for kind in ("overlays", "cityscapes", "probabilities", "confidence", "entropy"):
        photo(Path(out, kind, "in/w.png"))
    assert sorted(found(given, out=out).values()) == sorted(photos)


def test_a_folder_of_predictions_that_is_asked_for_is_predicted(workplace):
    photo(Path("out/overlays/x.png"))
    assert found("out/overlays") == {"x": "out/overlays/x.png"}
    with pytest.raises(FileNotFoundError, match=r"no file fits this pattern but earlier predictions"):
        found("out/*/x.png")


def test_whatever_goes_wrong_with_one_image_is_listed_and_the_rest_goes_on(workplace, checkpoint, capsys, monkeypatch):
    names = ("exif", "read", "network", "write", "fine")
    for seed, name in enumerate(names):
        photo(Path(f"photos/{name}.png"), seed=seed)
    Image.open("photos/exif.png").save("photos/exif.png", exif=b"Exif\0\0II*\0")

    def failing(function, place, error):
        def replaced(*arguments):
            if any(place in str(getattr(argument, "path", argument)) for argument in arguments[:2]):
                raise error
            return function(*arguments)

        return replaced

    monkeypatch.setattr(Predictor, "read", failing(Predictor.read, "read.png", TypeError("not what was expected")))
    asked = one.predicted
    monkeypatch.setattr(one, "predicted", failing(asked, "network.png", KeyError("layer")))
    masks = kinds.KINDS["masks"]
    write = failing(masks.write, "write.png", struct.error("unpack requires a buffer"))
    monkeypatch.setitem(kinds.KINDS, "masks", masks._replace(write=write))
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "photos", "--out", "out", "--save", "masks", "areas"])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert "1 of 5 images" in captured.out
    failed = sorted(line for line in captured.err.splitlines() if line.startswith("failed: "))
    assert "photos/exif.png is damaged or incomplete" in failed[0]
    assert failed[1:] == [
        "failed: photos/network.png: KeyError: 'layer'",
        "failed: photos/read.png: TypeError: not what was expected",
        "failed: photos/write.png: error: unpack requires a buffer",
    ]
    assert [path.name for path in Path("out").glob("*.png")] == ["fine.png"]
