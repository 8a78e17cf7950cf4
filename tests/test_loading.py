"""Files that are no checkpoints, and checkpoints whose network is not to be had: told, whatever they hold."""

import io
import pydoc
import sys
from pathlib import Path

import pytest
import torch

import seg
from seg.finetuning import start_from
from seg.loading import load_task
from seg.models import UNet
from seg.predict import main as predict
from tests.command import run, write_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, shapes) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("--config", write_config(folder / "tiny.yaml", shapes, max_epochs=1, default_root_dir=str(folder / "runs")))
    return folder / "runs/tiny/version_0/checkpoints/best.ckpt"


def saved(value: object) -> bytes:
    held = io.BytesIO()
    torch.save(value, held)
    return held.getvalue()


GARBAGE = [bytes([value]) for value in range(0, 256, 11)]
GARBAGE += [bytes([value]) + b"ext of something" for value in range(0, 128, 11)]
GARBAGE += [saved(torch.zeros(3)), saved([1, 2]), saved({"a": 1}), saved({"seg": 3}), saved({"seg": {"format": "x"}})]
GARBAGE += [saved({"seg": {"format": 1}, "state_dict": []}), saved({"seg": {"format": 1}, "state_dict": {}})]
GARBAGE += [b"\x80\x02" + b"(" * 5000, b"PK\x03\x04" + bytes(100)]


def test_whatever_a_file_holds_that_is_no_checkpoint_is_told_by_its_name(tmp_path, checkpoint):
    path, whole = tmp_path / "bad.ckpt", checkpoint.read_bytes()
    truncated = [whole[:length] for length in (10, 1000, len(whole) // 2, len(whole) - 10)]
    for content in GARBAGE + truncated:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.ckpt(:| is not a checkpoint of seg)"):
            load_task(path, "cpu")
        with pytest.raises(ValueError, match=r"model\.init_from: .*bad\.ckpt(:| is not a checkpoint of seg)"):
            start_from(UNet(3, width=4, depth=2), str(path), 3)


@pytest.mark.parametrize("given", ["runs/x", "runs/x/version_0", "runs/x/version_0/checkpoints"])
def test_a_run_given_for_its_checkpoint_is_answered_with_that(workplace, capsys, given):
    checkpoint = Path("runs/x/version_0/checkpoints/best.ckpt")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with pytest.raises(FileNotFoundError, match=f"there is {checkpoint}"):
        seg.load(given)
    for words in (["test", "--ckpt_path", given], ["validate", f"--ckpt_path={given}"]):
        with pytest.raises(SystemExit) as refused:
            run(*words)
        assert refused.value.code == 2
        assert f"there is {checkpoint}" in capsys.readouterr().err


def test_a_network_whose_class_is_not_to_be_had_is_named_with_the_cure(workplace, checkpoint, capsys):
    held = torch.load(checkpoint, weights_only=True)
    held["hyper_parameters"]["net"] = {"class_path": "mynets.Net", "init_args": {}}
    torch.save(held, "own.ckpt")
    Path("x.jpg").touch()
    with pytest.raises(SystemExit) as refused:
        predict(["own.ckpt", "x.jpg", "--out", "masks"])
    assert refused.value.code == 2
    message = capsys.readouterr().err
    assert "own.ckpt needs mynets.Net, which cannot be imported here; make it importable" in message


def test_a_network_of_ones_own_is_loaded_where_it_can_be_imported(workplace, checkpoint, monkeypatch):
    held = torch.load(checkpoint, weights_only=True)
    settings = held["hyper_parameters"]["net"]
    assert pydoc.locate(settings["class_path"]) is UNet
    settings["class_path"] = "mynets.Net"
    torch.save(held, "own.ckpt")
    Path("mynets.py").write_text("from seg.models import UNet\n\n\nclass Net(UNet):\n    pass\n")
    monkeypatch.syspath_prepend(str(workplace))
    assert type(load_task(Path("own.ckpt"), "cpu").net).__name__ == "Net"
    monkeypatch.delitem(sys.modules, "mynets")
    Path("mynets.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ValueError, match=r"own\.ckpt needs mynets\.Net"):
        load_task(Path("own.ckpt"), "cpu")
    monkeypatch.delitem(sys.modules, "mynets", raising=False)


def test_weights_that_do_not_fit_the_network_are_told(tmp_path, checkpoint):
    held = torch.load(checkpoint, weights_only=True)
    held["state_dict"].pop(next(name for name in held["state_dict"] if name.startswith("net.")))
    torch.save(held, tmp_path / "less.ckpt")
    with pytest.raises(ValueError, match=r"less\.ckpt cannot be built by this version of seg, or is damaged: Error"):
        seg.load(tmp_path / "less.ckpt", "cpu")
