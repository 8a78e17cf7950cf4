"""`seg convert labelme`: the real command on drawn data, its tree, its lists, what it leaves out and why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seg.convert.command import main
from seg.convert.labelme import flat_name
from seg.convert.palette import voc_colors
from seg.data.images import read_image, read_mask
from tests.convert.labelme_files import official_mask, photo, png, shape, square, write_image, write_json, write_pair

CAT = [shape("cat", square(5, 5, 20)), shape("__ignore__", [[30, 5], [50, 30]], "rectangle")]
DOG = [shape("dog", [[20, 20], [30, 20]], "circle")]
VALUES = {"cat": 1, "dog": 2, "__ignore__": -1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write five annotated images in three folders, and a list of labels."""
    root = tmp_path / "photos"
    write_pair(root / "one.json", CAT, seed=1)
    write_pair(root / "a/one.json", DOG, seed=2)
    write_pair(root / "a/b/one.json", CAT + DOG, seed=3)
    write_pair(root / "ein Bär.json", DOG, seed=4)
    write_json(root / "embedded.json", CAT, imagePath="gone.png", imageData=png(photo(40, 60, 5)))
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    return root


def convert(source: Path, out: Path, *options: object) -> int:
    """Run the command and return its exit status."""
    try:
        main(["labelme", str(source), "--out", str(out), *map(str, options)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def names(out: Path, split: str) -> list[str]:
    return (out / "ImageSets/Segmentation" / f"{split}.txt").read_text().split()


def test_the_tree_has_the_same_images_masks_as_labelme_draws_them_and_lists(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert convert(source, out) == 0
    assert capsys.readouterr().out.splitlines()[0] == "5 images with masks written"
    stems = {"one": CAT, "a__one": DOG, "a__b__one": CAT + DOG, flat_name(source / "ein Bär.json", source): DOG}
    assert sorted(names(out, "train") + names(out, "val")) == sorted([*stems, "embedded"])
    assert len(names(out, "val")) == 1
    for stem, shapes in stems.items():
        mask = out / "SegmentationClass" / f"{stem}.png"
        np.testing.assert_array_equal(read_mask(mask), official_mask((40, 60), shapes, VALUES))
        assert Image.open(mask).getpalette()[3:6] == list(voc_colors(2)[1])
    assert (out / "JPEGImages/a__one.png").read_bytes() == (source / "a/one.png").read_bytes()
    np.testing.assert_array_equal(read_image(out / "JPEGImages/embedded.png"), photo(40, 60, 5))
    assert (out / "labels.txt").read_text() == "__ignore__\n_background_\ncat\ndog\n"


def test_the_result_is_the_same_byte_for_byte_whatever_the_number_of_workers(source, tmp_path):
    assert convert(source, tmp_path / "one", "--workers", 1) == 0
    assert convert(source, tmp_path / "two", "--workers", 2) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_second_run_converts_only_what_changed(source, tmp_path, capsys):
    out = tmp_path / "out"
    for path in source.rglob("*"):
        os.utime(path, (1e9, 1e9))
    convert(source, out)
    before = tree(out)
    write_json(source / "one.json", DOG)
    capsys.readouterr()
    assert convert(source, out) == 0
    assert capsys.readouterr().out.startswith("1 images with masks written, 4 found done")
    changed = {name for name, data in tree(out).items() if before[name] != data}
    assert changed == {"SegmentationClass/one.png"}
    assert convert(source, out, "--line-width", 3) == 0
    assert capsys.readouterr().out.startswith("5 images")


def test_bad_files_are_named_and_do_not_stop_the_others(source, tmp_path, capsys):
    (source / "cut.json").write_text('{"shapes": [')
    (source / "annotations.json").write_text('{"images": []}')
    write_json(source / "alone.json", CAT)
    write_pair(source / "far.json", [shape("cat", square(5000, 5, 9))])
    out = tmp_path / "out"
    assert convert(source, out) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "5 images with masks written, 1 left out, 3 failed"
    assert [line.split(":")[0] for line in lines[1:]] == ["left out", "failed", "failed", "failed"]
    assert [Path(line.split(": ")[1]).name for line in lines[2:]] == ["alone.json", "cut.json", "far.json"]
    listed = names(out, "train") + names(out, "val")
    assert len(listed) == 5
    assert len(list((out / "SegmentationClass").iterdir())) == len(list((out / "JPEGImages").iterdir())) == 5


def test_unknown_labels_stop_the_command_before_anything_is_written(source, tmp_path, capsys):
    (source / "labels.txt").write_text("cat\nfrog\n")
    assert convert(source, tmp_path / "out") == 2
    assert "'dog': 3 shapes in 3 files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "out", "--alias", "dog=frog") == 0
    assert convert(source, tmp_path / "out", "--alias", "dog") == 2


def test_labels_are_found_in_the_data_and_written_down_beside_it(source, tmp_path):
    (source / "labels.txt").unlink()
    assert convert(source, tmp_path / "out") == 0
    assert (source / "labels.found.txt").read_text() == "__ignore__\n_background_\ncat\ndog\n"
    write_pair(source / "new.json", [shape("ape", square(1, 1, 9))])
    assert convert(source, tmp_path / "out") == 0
    assert (tmp_path / "out/labels.txt").read_text() == "__ignore__\n_background_\ncat\ndog\nape\n"


def test_widths_holes_and_order_are_options(source, tmp_path):
    shapes = [
        shape("cat", square(5, 5, 30)),
        shape("dog", [[10, 10], [20, 20]], "line"),
        shape("cut", square(8, 25, 6)),
    ]
    write_pair(source / "one.json", shapes)
    options = ["--line-width", 3, "--hole-label", "cut", "--order", "dog", "cat", "--point-radius", 2]
    assert convert(source, tmp_path / "out", *options) == 0
    expected = official_mask((40, 60), [shapes[1], shapes[0]], VALUES, width=3)
    expected[official_mask((40, 60), [shape("cat", square(8, 25, 6))], VALUES) == 1] = 0
    np.testing.assert_array_equal(read_mask(tmp_path / "out/SegmentationClass/one.png"), expected)
    assert convert(source, tmp_path / "out", "--order", "smaller_on_top", "--hole-label", "cut") == 0
    assert convert(source, tmp_path / "out", "--order", "smallest", "--hole-label", "cut") == 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_turned_photo_is_saved_upright_as_its_mask_is(tmp_path, suffix, capsys):
    write_image(tmp_path / "in" / f"one{suffix}", 60, 40, 6)
    write_json(tmp_path / "in/one.json", CAT, (60, 40), imagePath=f"one{suffix}")
    write_pair(tmp_path / "in/two.json", DOG)
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    assert "saved upright" in capsys.readouterr().out
    with Image.open(tmp_path / f"out/JPEGImages/one{suffix}") as image:
        assert image.size == (40, 60)
        assert image.getexif().get(0x112, 1) == 1
        assert abs(np.array(image).astype(int) - photo(60, 40)).mean() < 8
    assert read_mask(tmp_path / "out/SegmentationClass/one.png").shape == (60, 40)


def test_formats_that_voc_does_not_look_for_become_png(tmp_path):
    write_image(tmp_path / "in/one.gif")
    write_json(tmp_path / "in/one.json", CAT, imagePath="one.gif")
    write_pair(tmp_path / "in/two.json", DOG)
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    expected = np.array(Image.open(tmp_path / "in/one.gif").convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "out/JPEGImages/one.png"), expected)


def test_folders_and_lists_of_the_source_decide_the_split(source, tmp_path):
    (source / "train.txt").write_text("one.png\na/one\n\n")
    (source / "val.txt").write_text("\ufeffa\\b\\one.json\r\nembedded\r\n")
    convert(source, tmp_path / "out")
    assert names(tmp_path / "out", "train") == ["one", "a__one"]
    assert names(tmp_path / "out", "val") == ["a__b__one", "embedded"]
    (source / "val.txt").write_text("nothing\n")
    assert convert(source, tmp_path / "out") == 2
    for split, part in (("train", "a"), ("val", "a/b")):
        shutil.copytree(source / part, source / split)
    convert(source, tmp_path / "out")
    assert names(tmp_path / "out", "train") == ["train__one", "train__b__one"]
    assert names(tmp_path / "out", "val") == ["val__one"]


def test_the_output_may_lie_in_the_source_and_is_not_read_as_such(source, capsys):
    write_image(source / "images/two.png")
    write_json(source / "two.json", CAT)
    assert convert(source, source / "voc") == 0
    assert convert(source, source / "voc") == 0, "or there would be another two.png"
    assert capsys.readouterr().out.splitlines()[-1] == "0 images with masks written, 6 found done"
    assert convert(source, source) == 2
    assert "--out" in capsys.readouterr().err


def test_a_folder_without_annotations_is_an_error(tmp_path, capsys):
    assert convert(tmp_path / "none", tmp_path / "out") == 2
    (tmp_path / "empty").mkdir()
    assert convert(tmp_path / "empty", tmp_path / "out") == 2
    assert "no labelme annotation" in capsys.readouterr().err


def test_one_file_is_converted_alone_and_nothing_but_bad_files_is_an_error(source, tmp_path, capsys):
    assert convert(source / "a/one.json", tmp_path / "out", "--labels", source / "labels.txt") == 0
    assert (names(tmp_path / "out", "train"), names(tmp_path / "out", "val")) == (["one"], [])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/cut.json").write_text('{"shapes": [')
    assert convert(tmp_path / "bad", tmp_path / "none") == 2
    assert "cut.json: not JSON" in capsys.readouterr().err


part = st.text(st.sampled_from("ab_ \u3000-."), min_size=1, max_size=5).filter(lambda text: text.strip(". "))


@given(st.lists(st.lists(part, min_size=1, max_size=3).map(tuple), unique=True, min_size=2, max_size=6))
def test_flattened_names_never_collide_and_have_no_blanks(paths):
    root = Path("/data")
    flat = [flat_name(root.joinpath(*parts).with_name(f"{parts[-1]}.json"), root) for parts in paths]
    assert len(set(flat)) == len(set(paths))
    assert not any(len(name.split()) != 1 or "/" in name for name in flat)


def test_converting_needs_neither_torch_nor_lightning():
    program = "import sys, seg.convert.labelme; sys.exit(bool({'torch', 'pytorch_lightning'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_voc_trains_on_the_result_as_it_is(source, tmp_path, workplace):
    from tests.command import run

    assert convert(source, tmp_path / "out") == 0
    small = ["--model.net.width", "2", "--data.crop", "[32, 32]", "--data.num_workers", "0", "--data.batch_size", "2"]
    data = ["--config", tmp_path / "out/data.yaml", "--data.root", tmp_path / "out"]
    run("--config", "voc_unet", *data, *small, "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1")
    folder = workplace / "runs/voc_unet/version_0"
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert "val/iou/cat" in (folder / "metrics.csv").read_text()
