import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from seg.predict import main
from seg.predict.inputs import images_in
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
