import os

import numpy as np
import pytest
from PIL import Image

from seg.data import VOC
from seg.doctor import quick
from seg.doctor.quick import check
from tests.command import run, write_config
from tests.doctor.conftest import HEIGHT, NAMES, WIDTH, mask, photo


def ready(tree, **settings) -> VOC:
    data = VOC(str(tree.root), NAMES, **settings)
    data.setup("fit")
    return data


def test_good_files_are_looked_at_once_and_changed_ones_again(tree, capsys):
    assert check(ready(tree)) == 9
    assert "looked at 9 images" in capsys.readouterr().out
    assert check(ready(tree)) == 0
    assert capsys.readouterr().out == ""
    tree.write("b_photo", mask(5))
    os.utime(tree.mask("b_photo"), ns=(1, 1))
    assert check(ready(tree)) == 1


def test_other_classes_are_another_question(tree):
    check(ready(tree))
    data = VOC(str(tree.root), NAMES[:2])
    data.setup("fit")
    with pytest.raises(ValueError, match="9 of 9 images"):
        check(data)


def test_all_that_is_wrong_is_told_at_once_and_remembered_as_good_only_what_is(tree):
    tree.write("a_photo", np.full((HEIGHT, WIDTH), 9, np.uint8))
    tree.write("b_photo", mask(0, 50, 50))
    whole = tree.image("c_photo").read_bytes()
    tree.image("c_photo").write_bytes(whole[:-300])
    tree.mask("h_photo").write_bytes(b"no mask")
    for _ in range(2):
        with pytest.raises(ValueError, match="images with masks cannot be used") as refused:
            check(ready(tree))
        message = str(refused.value)
        for part in ("label 9", "50×50", "c_photo.jpg is damaged", "h_photo.png", "seg doctor data"):
            assert part in message
    assert "4 of 4" in message


def test_of_many_files_some_are_looked_at_evenly_chosen(tree, monkeypatch, capsys):
    monkeypatch.setattr(quick, "MOST", 3)
    assert check(ready(tree)) == 6
    assert "6 images with masks (of 9" in capsys.readouterr().out


def test_a_turned_image_with_its_upright_mask_is_good(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(0)).save(tree.image("a_photo"), exif=exif)
    tree.write("a_photo", mask(0, WIDTH, HEIGHT))
    assert check(ready(tree)) == 9


def test_fit_looks_before_the_first_step_and_can_be_told_not_to(tree, workplace, capsys):
    tree.write("i_photo", np.full((HEIGHT, WIDTH), 9, np.uint8))
    settings = {"classes": NAMES, "colors": None}
    config = write_config(workplace / "tiny.yaml", tree.root, data=settings, max_epochs=1, limit_val_batches=0)
    with pytest.raises(SystemExit) as ended:
        run("--config", config)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "1 of 9 images with masks cannot be used" in captured.err
    assert "i_photo.png holds label 9" in captured.err
    assert not list((workplace / "runs").glob("*/*"))
    with pytest.raises(SystemExit):
        run("--config", config, "--data.check", "false", "--trainer.limit_val_batches", "1.0")
    error = capsys.readouterr().err
    assert "i_photo.png holds label 9" in error
    assert "of 9 images" not in error, "it comes out when the mask is read"
