import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seg
from seg.predict import main
from seg.predict.state import Made
from tests.predict.conftest import photo


def images_of(table: str) -> list[str]:
    with open(table, newline="", encoding="utf-8") as file:
        return sorted({row["image"] for row in csv.DictReader(file)})


@pytest.mark.parametrize(
    ("kind", "file", "words"),
    [("masks", "x.png", []), ("labelme", "labelme/x.json", []), ("overlays", "overlays/x.png", ["--tta", "flips"])],
)
def test_the_files_of_another_image_are_neither_taken_for_done_nor_replaced(
    workplace, checkpoint, kind, file, words, capsys
):
    photo(Path("a/x.jpg"), seed=1)
    photo(Path("b/x.jpg"), seed=2)
    command = ["--out", "out", "--save", kind, "areas", "ranking"]
    main([str(checkpoint), "a", *command])
    before = Path("out", file).read_bytes()
    with pytest.raises(SystemExit) as refused:
        main([str(checkpoint), "b", *command, *words])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"out/{file} was made of {workplace / 'a/x.jpg'}, not of b/x.jpg; give another --out folder" in error
    assert Path("out", file).read_bytes() == before
    assert images_of("out/areas.csv") == images_of("out/ranking.csv") == ["a/x.jpg"]
    main([str(checkpoint), "b", *command, *words, "--overwrite"])
    assert Path("out", file).read_bytes() != before


def test_an_image_that_has_moved_is_predicted_again_and_one_reached_by_another_path_is_not(
    workplace, checkpoint, capsys
):
    photo(Path("a/x.jpg"), seed=1)
    command = ["--out", "out", "--save", "masks"]
    main([str(checkpoint), "a", *command])
    capsys.readouterr()
    for path in (str(workplace / "a"), "./a/../a/x.jpg"):
        main([str(checkpoint), path, *command])
        assert "1 of 1 images predicted, 1 of them before" in capsys.readouterr().out
    shutil.move("a", "b")
    photo(Path("b/x.jpg"), seed=2)
    main([str(checkpoint), "b", *command])
    expected = seg.load(checkpoint, "cpu").labels("b/x.jpg")
    np.testing.assert_array_equal(np.array(Image.open("out/x.png")), expected)


def test_what_an_interrupted_run_was_to_replace_is_not_done_and_what_it_had_written_is(workplace):
    target = Path("out/x.png")
    photo(Path("a/x.jpg"))

    def begin(image: Path) -> bool:
        """Start a run, which is then killed, and tell whether it took the file for done."""
        made = Made(Path("out"), {"masks": [1]})
        done = made.is_done("masks", target, image)
        if not done:
            made.claim("masks", target, image)
        made.start()
        return done

    def write() -> None:
        target.touch()
        os.utime(target, ns=(later := target.stat().st_mtime_ns + 10**9, later))  # coarse clocks tell no two apart

    assert not begin(Path("a/x.jpg"))
    write()
    assert begin(Path("a/x.jpg"))
    shutil.move("a", "b")
    assert not begin(Path("b/x.jpg"))
    assert not begin(Path("b/x.jpg"))
    write()
    assert begin(Path("b/x.jpg"))


def test_an_annotation_of_another_image_leaves_none_out_of_the_ranking(workplace, checkpoint):
    photo(Path("a/x.jpg"), seed=1)
    photo(Path("b/x.jpg"), seed=2)
    main([str(checkpoint), "a", "--out", "out", "--save", "labelme"])
    annotation = Path("out/labelme/x.json")
    annotation.write_text(json.dumps(json.loads(annotation.read_text())))  # as a person saves it
    for folder, expected in (("a", []), ("b", ["b/x.jpg"])):
        main([str(checkpoint), folder, "--out", "out", "--save", "ranking"])
        assert images_of("out/ranking.csv") == expected


def test_an_image_has_its_rows_once_by_whatever_path_it_is_reached_and_wherever_the_command_is_run(
    workplace, checkpoint, monkeypatch, capsys
):
    photo(Path("a/x.jpg"), seed=1)
    photo(Path("a/y.jpg"), seed=2)
    out = workplace / "out"

    def listed(*words: str) -> list[str]:
        main([str(checkpoint), *words, "--out", str(out), "--save", "areas", "ranking"])
        assert images_of("out/areas.csv") == images_of("out/ranking.csv")
        with open("out/ranking.csv", newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(images_of("out/ranking.csv"))
        return images_of("out/ranking.csv")

    assert listed("a") == ["a/x.jpg", "a/y.jpg"]
    assert listed(str(workplace / "a")) == ["a/x.jpg", "a/y.jpg"]
    assert "2 of 2 images predicted, 2 of them before" in capsys.readouterr().out
    os.utime("a/x.jpg", (1, 1))
    assert listed(str(workplace / "a")) == [str(workplace / "a/x.jpg"), "a/y.jpg"]
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    (workplace / "elsewhere/out").symlink_to(out)
    photo(Path("a/y.jpg"), seed=3)
    assert listed("../a/x.jpg") == [str(workplace / "a/x.jpg"), "a/y.jpg"]
    assert "1 of 1 images predicted, 1 of them before" in capsys.readouterr().out
    before = Path("out/ranking.csv").read_text()
    assert listed("a/y.jpg") == [
        str(workplace / "a/x.jpg"),
        "a/y.jpg",
    ]  # by its words the other's row, which it replaces
    assert Path("out/ranking.csv").read_text() != before
    twice = photo(Path("b/in/z.jpg")).absolute()  # as in/z, and as z
    assert [Path(image).name for image in listed("b", str(twice))] == ["x.jpg", "z.jpg", "y.jpg"]


@pytest.mark.parametrize("given", ["photos", "photos/*.*"])
def test_masks_beside_their_images_are_not_taken_for_images(workplace, checkpoint, given, capsys):
    photo(Path("photos/x.jpg"))
    for before in ("", ", 1 of them before"):
        main([str(checkpoint), given, "--out", "photos"])
        assert f"1 of 1 images predicted{before}: masks in photos" in capsys.readouterr().out
    main([str(checkpoint), given, "--out", "other"])
    assert sorted(path.as_posix() for path in Path("other").glob("*.png")) == ["other/x.png"]
    mask = Path("photos/x.png")
    photo(mask)
    os.utime(mask, (1, 1))  # an image that took the name, and is older than what was written here
    with pytest.raises(SystemExit):
        main([str(checkpoint), given, "--out", "other"])
    assert "photos/x.jpg and photos/x.png would both be written as other/x" in capsys.readouterr().err


def test_masks_that_lie_among_the_images_of_a_folder_below_are_not_taken_for_images(workplace, checkpoint, capsys):
    photo(Path("photos/in/x.jpg"))
    for given in (".", "photos"):
        main([str(checkpoint), given, "--out", ".", "--save", "masks"])
        assert "1 of 1 images predicted: masks" in capsys.readouterr().out
    assert sorted(path.as_posix() for path in Path().rglob("*.png")) == ["in/x.png", "photos/in/x.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_a_name_that_is_no_utf_8_is_a_row_like_others(workplace, checkpoint, capsys):
    name = os.fsdecode(b"photos/caf\xe9.png")
    photo(Path(name))
    for before in ("", ", 1 of them before"):
        main([str(checkpoint), "photos", "--out", "out", "--save", "areas", "ranking"])
        assert f"1 of 1 images predicted{before}: areas" in capsys.readouterr().out
    with open("out/ranking.csv", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [name]


def test_a_table_that_a_spreadsheet_has_saved_in_its_own_way_is_made_anew(workplace, checkpoint, capsys):
    for name in "xy":
        photo(Path(f"photos/{name}.png"))
    words = [str(checkpoint), "photos", "--out", "out", "--save", "ranking"]
    main(words)
    before = Path("out/ranking.csv").read_text()
    Path("out/ranking.csv").write_text(re.sub(r",0\.(\d+),", r',"0,\1",', before, flags=re.MULTILINE))
    photo(Path("photos/y.png"))  # of another time
    main(words)
    assert Path("out/ranking.csv").read_text() == before
