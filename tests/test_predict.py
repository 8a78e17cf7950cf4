from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg.predict import main, outputs_of
from tests.command import run, write_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, shapes) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config, "--trainer.default_root_dir", folder / "runs")
    return folder / "runs/tiny/version_0/checkpoints/best.ckpt"


def photo(path: Path, height: int = 50, width: int = 70, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


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
