from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seg.convert.cityscapes_labels import TRAIN_LABELS
from seg.predict import main, outputs_of
from tests.cityscapes_tree import FRAMES, write_tree
from tests.command import SMALL, run, write_config
from tests.predict.conftest import photo


def test_masks_and_overlays_have_the_size_of_the_image_and_the_palette(workplace, checkpoint, shapes, capsys):
    photo(workplace / "photo.jpg")
    photo(workplace / "folder/inner/other.png", 33, 97)
    main([str(checkpoint), "photo.jpg", "folder", "--out", "masks"])
    for name, size in (("photo", (70, 50)), ("inner/other", (97, 33))):
        mask = Image.open(workplace / "masks" / f"{name}.png")
        assert mask.mode == "P"
        assert mask.size == size
        truth = Image.open(next((shapes / "SegmentationClass").glob("*.png")))
        assert mask.getpalette()[:24] == truth.getpalette()[:24]
        assert Image.open(workplace / "masks/overlays" / f"{name}.png").size == size
    assert "2 of 2 images" in capsys.readouterr().out


def test_exif_orientation_is_applied(workplace, checkpoint):
    photo(workplace / "phone.jpg", 50, 70, orientation=6)
    main([str(checkpoint), "phone.jpg", "--out", "masks"])
    assert Image.open("masks/phone.png").size == (50, 70)


def test_a_bad_file_does_not_stop_the_rest_and_is_listed_at_the_end(workplace, checkpoint, capsys):
    photo(workplace / "photos/good.jpg")
    (workplace / "photos/bad.jpg").write_bytes((workplace / "photos/good.jpg").read_bytes()[:300])
    (workplace / "photos/text.jpg").write_text("not an image")
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "photos", "--out", "masks"])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert "1 of 3 images" in captured.out
    assert "bad.jpg" in captured.err
    assert "text.jpg" in captured.err
    assert sorted(path.name for path in Path("masks").glob("*.png")) == ["good.png"]


@pytest.mark.parametrize(
    ("inputs", "message"), [(["missing.jpg"], "missing.jpg"), (["empty"], "no image in"), (["a", "b"], "two --out")]
)
def test_impossible_inputs_are_refused_before_anything_is_written(workplace, inputs, message):
    Path("empty").mkdir()
    photo(Path("a/x.jpg"))
    photo(Path("b/x.png"))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        outputs_of([Path(given) for given in inputs], Path("masks"))


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_file_that_is_no_checkpoint_is_named(workplace, capsys, content):
    Path("bad.ckpt").write_bytes(content)
    photo(Path("x.jpg"))
    with pytest.raises(SystemExit) as refused:
        main(["bad.ckpt", "x.jpg", "--out", "masks"])
    assert refused.value.code == 2
    assert "bad.ckpt is not a checkpoint of seg" in capsys.readouterr().err


def test_a_checkpoint_of_another_project_is_refused(workplace, checkpoint, capsys):
    held = torch.load(checkpoint, weights_only=True)
    del held["seg"]
    torch.save(held, "other.ckpt")
    photo(Path("x.jpg"))
    with pytest.raises(SystemExit):
        main(["other.ckpt", "x.jpg", "--out", "masks"])
    assert "was not written by seg" in capsys.readouterr().err


def test_a_pickle_with_code_in_it_is_not_run(workplace, capsys):
    class Harmful:
        def __reduce__(self):
            return (Path("harm").write_text, ("done",))

    torch.save({"state_dict": Harmful()}, "harmful.ckpt")
    photo(Path("x.jpg"))
    with pytest.raises(SystemExit):
        main(["harmful.ckpt", "x.jpg", "--out", "masks"])
    assert not Path("harm").exists()


def test_an_input_is_never_replaced_by_what_is_predicted_from_it(workplace, checkpoint, capsys):
    image = photo(workplace / "photos/x.png")
    before = image.read_bytes()
    with pytest.raises(SystemExit) as refused:
        main([str(checkpoint), "photos", "--out", "photos"])
    assert refused.value.code == 2
    assert "would replace an input image" in capsys.readouterr().err
    assert image.read_bytes() == before


@pytest.mark.parametrize("save", ["masks", "areas"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_predicted(workplace, checkpoint, save, capsys):
    photo(Path("x.jpg"))
    Path("file.txt").write_text("x")
    with pytest.raises(SystemExit) as refused:
        main([str(checkpoint), "x.jpg", "--out", "file.txt/out", "--save", save])
    assert refused.value.code == 2
    assert capsys.readouterr().err == "error: --out file.txt/out: cannot be written there (Not a directory)\n"


def test_predictions_below_the_input_folder_are_not_predicted_again(workplace, checkpoint, capsys):
    photo(workplace / "photos/x.jpg")
    for _ in range(2):
        main([str(checkpoint), "photos", "--out", "photos/masks"])
        assert "1 of 1 images" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (31, 200)])
def test_pictures_smaller_than_the_network_takes_are_predicted_all_the_same(workplace, checkpoint, size):
    photo(workplace / "small.png", *size)
    main([str(checkpoint), "small.png", "--out", "masks"])
    assert Image.open("masks/small.png").size == size[::-1]


def test_a_checkpoint_trained_on_resized_images_predicts_at_the_size_of_the_image(workplace, shapes):
    data = {"resize": [64, 80]}
    run("--config", write_config(workplace / "small.yaml", shapes, data=data, max_epochs=1))
    photo(workplace / "large.jpg", 90, 120)
    main(["runs/small/version_0/checkpoints/best.ckpt", "large.jpg", "--out", "masks"])
    assert Image.open("masks/large.png").size == (120, 90)


def test_a_device_that_is_not_there_is_refused(workplace, checkpoint, capsys):
    photo(workplace / "x.jpg")
    with pytest.raises(SystemExit) as refused:
        main([str(checkpoint), "x.jpg", "--out", "masks", "--device", "banana"])
    assert refused.value.code == 2
    assert "--device banana" in capsys.readouterr().err


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    """Train on a drawn Cityscapes tree, and return the folder that holds the tree and the run."""
    folder = tmp_path_factory.mktemp("street")
    root = write_tree(folder / "cityscapes")
    data = {"class_path": "seg.data.Cityscapes", "init_args": {"root": str(root), "crop": [32, 32], "num_workers": 0}}
    trainer = {**SMALL["trainer"], "max_epochs": 1, "default_root_dir": str(folder / "runs")}
    (folder / "street.yaml").write_text(yaml.safe_dump({"model": SMALL["model"], "data": data, "trainer": trainer}))
    run("--config", folder / "street.yaml")
    return folder


def test_cityscapes_are_saved_as_ids_under_names_that_its_evaluation_finds(workplace, street, capsys):
    checkpoint = street / "runs/street/version_0/checkpoints/best.ckpt"
    images = street / "cityscapes/leftImg8bit/val"
    main([str(checkpoint), str(images), "--out", "out", "--save", "masks", "cityscapes"])
    assert "2 of 2 images predicted: masks in out, cityscapes in out/cityscapes" in capsys.readouterr().out
    for frame in FRAMES["val"]:
        (found,) = Path("out/cityscapes").rglob(f"{frame}*.png")
        assert "gt" not in found.name
        ids = Image.open(found)
        assert ids.mode == "L"
        mask = Image.open(next(Path("out").rglob(f"{frame}_leftImg8bit.png")))
        expected = np.vectorize({label.train_id: label.id for label in TRAIN_LABELS}.get)(np.array(mask))
        np.testing.assert_array_equal(np.array(ids), expected)
    assert not Path("out/overlays").exists()


@pytest.mark.parametrize(("kind", "expected"), [("masks", "x.png"), ("overlays", "overlays/x.png")])
def test_only_what_is_asked_for_is_saved(workplace, checkpoint, kind, expected):
    photo(workplace / "x.jpg")
    main([str(checkpoint), "x.jpg", "--out", "out", "--save", kind])
    assert [path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")] == [expected]


def test_cityscapes_ids_are_refused_for_other_classes_and_other_names(workplace, checkpoint, street, capsys):
    photo(workplace / "x.jpg")
    photo(workplace / "berlin_000000_000019_leftImg8bit.png")
    trained = street / "runs/street/version_0/checkpoints/best.ckpt"
    for words, message in (
        ((checkpoint, "berlin_000000_000019_leftImg8bit.png"), "this needs the 19 of data.classes: train"),
        ((trained, "x.jpg"), "names that begin with <city>_<sequence>_<frame>"),
    ):
        with pytest.raises(SystemExit) as refused:
            main([*map(str, words), "--out", "out", "--save", "cityscapes"])
        assert refused.value.code == 2
        assert message in capsys.readouterr().err
        assert not Path("out").exists()


def test_two_pictures_of_one_cityscapes_frame_are_refused(workplace):
    for folder in "ab":
        photo(Path(folder) / f"berlin_000000_000019_{folder}.png")
    with pytest.raises(ValueError, match=r"would both be written as .*berlin_000000_000019_pred_labelIds\.png"):
        outputs_of([Path("a"), Path("b")], Path("out"), ["cityscapes"])


def test_a_mask_never_replaces_an_overlay(workplace):
    photo(Path("photos/x.jpg"))
    photo(Path("photos/overlays/x.jpg"))
    with pytest.raises(ValueError, match=r"would both be written as .*overlays/x\.png"):
        outputs_of([Path("photos")], Path("out"))
    assert len(outputs_of([Path("photos")], Path("out"), ["masks"])) == 2
