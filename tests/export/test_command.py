import json
import os
import pickle
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seg
from seg.export import gate
from seg.export.command import check_settings, data_of, judged, main
from seg.export.runtime import ExportedNetwork


def failing(capsys, status: int, *arguments: object) -> str:
    """Run `seg export` and return its message."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert ended.value.code == status, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


def photos(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_onnx_is_written_with_a_description_beside_it_and_compared_on_the_run_s_images(workplace, trained, capsys):
    main([str(trained), "--out", "deploy/model.onnx"])
    assert sorted(path.name for path in Path("deploy").iterdir()) == ["model.onnx", "model.onnx.json"]
    printed = capsys.readouterr().out
    assert "generated" not in printed
    assert len(re.findall(r"of labels the same", printed)) == 3
    held = json.loads(Path("deploy/model.onnx.json").read_text(encoding="utf-8"))
    network = ExportedNetwork("deploy/model.onnx")
    assert held["class_names"] == network.class_names
    assert held["precision"] == "fp32"
    assert tuple(held["measured"]["parity"][0]["size"]) == (1, 160, 128)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing(workplace, trained, name, capsys):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # bytes of a file
    try:
        error = failing(capsys, 2, trained, "--out", f"deploy/{name}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "error: cannot write" in error
    assert "File too large" in error
    assert "--trainer" not in error
    assert nothing_in(Path("deploy"))


def test_an_export_that_is_stopped_leaves_nothing(workplace, trained, capsys, monkeypatch):
    from seg.export import parity

    def stopped(*args):
        assert list(Path().iterdir())  # what is compared
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(parity, "compare", stopped)
    assert "stopped" in failing(capsys, 130, trained, "--out", "model.pt2")
    assert nothing_in(workplace)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_int8_is_calibrated_gated_and_compared(workplace, trained, capsys):
    main([str(trained), "--out", "model.onnx", "--int8", "--max-drop", "50"])
    printed = capsys.readouterr().out
    for word in ("mIoU", "MiB", "ms", "checkpoint fp32", "export int8", "the same label at", "drop"):
        assert word in printed
    assert ExportedNetwork("model.onnx").card.precision == "int8"
    assert sorted(path.name for path in workplace.iterdir()) == ["model.onnx", "model.onnx.json"]


@pytest.mark.slow
def test_a_drop_beyond_the_limit_writes_nothing_and_keeps_what_was_there(workplace, trained, capsys):
    Path("model.onnx").write_text("the former one")
    message = failing(capsys, 1, trained, "--out", "model.onnx", "--int8", "--max-drop", "-100")
    assert "--max-drop allows -100" in message
    assert Path("model.onnx").read_text() == "the former one"
    assert [path.name for path in workplace.iterdir()] == ["model.onnx"]


def test_a_network_that_came_out_differently_is_not_written(workplace, trained, capsys, monkeypatch):
    from seg.export import program

    honest = program.exportable

    def broken(task, card):
        module = honest(task, card)
        module.pixels.mean += 30  # as if the normalisation were another
        return module

    monkeypatch.setattr(program, "exportable", broken)
    message = failing(capsys, 1, trained, "--out", "model.pt2")
    assert "not what was trained" in message
    assert nothing_in(workplace)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "name"), [("fp16", "model.onnx"), ("fp16", "model.pt2"), ("bf16", "model.pt2")])
def test_half_precisions_are_gated_and_smaller(workplace, trained, capsys, precision, name):
    main([str(trained), "--out", name, f"--{precision}", "--max-drop", "20"])
    assert f"export {precision}" in capsys.readouterr().out
    logits = ExportedNetwork(name, "cpu")(torch.zeros(1, 3, 40, 50, dtype=torch.uint8))
    assert logits.dtype == torch.float32


@pytest.fixture
def alone(workplace, trained) -> Path:
    """Return the checkpoint outside its run folder."""
    return Path(shutil.copy(trained, workplace / "alone.ckpt"))


def test_a_checkpoint_without_its_run_is_compared_on_generated_images_and_says_so(alone, capsys):
    main([str(alone), "--out", "model.pt2"])
    assert "generated images" in capsys.readouterr().out
    assert Path("model.pt2").exists()


@pytest.mark.slow
def test_int8_can_be_calibrated_on_a_folder_without_the_run_s_data(alone, capsys):
    photos(Path("photos"))
    main([str(alone), "--out", "model.onnx", "--int8", "--calibrate", "photos", "--ungated"])
    assert ExportedNetwork("model.onnx").card.precision == "int8"


def test_data_that_are_gone_are_named_where_they_are_needed(workplace, trained, alone, capsys):
    message = failing(capsys, 2, alone, "--out", "model.onnx", "--int8")
    assert "config.yaml" in message
    assert "--root" in message
    shutil.copytree(trained.parent.parent, "run")
    config = Path("run/config.yaml")
    moved = re.sub(r"root: .*", "root: /there/is/no/such/folder", config.read_text(encoding="utf-8"), count=1)
    config.write_text(moved, encoding="utf-8")
    message = failing(capsys, 2, "run/checkpoints/best.ckpt", "--out", "model.onnx", "--max-drop", "1")
    assert "/there/is/no/such/folder" in message
    assert "--root" in message
    assert not Path("model.onnx").exists()


def test_a_data_set_of_other_classes_is_not_measured_on(workplace, trained, capsys):
    shutil.copytree(trained.parent.parent, "run")
    config = Path("run/config.yaml")
    config.write_text(config.read_text(encoding="utf-8").replace("- star", "- comet"), encoding="utf-8")
    message = failing(capsys, 2, "run/checkpoints/best.ckpt", "--out", "model.onnx", "--max-drop", "1")
    assert "other classes" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "model.tflite"], r"\.onnx or, for torch\.export, in \.pt2"),
        (["--out", "model.pt2", "--int8"], "--int8 is written as ONNX"),
        (["--out", "model.onnx", "--bf16"], "bfloat16"),
        (["--out", "model.onnx", "--calibrate", "photos"], "only --int8 is calibrated"),
        (["--out", "model.onnx", "--int8", "--max-drop", "1", "--ungated"], "--ungated"),
        (["--out", "model.onnx", "--int8", "--max-drop", "nan"], "--max-drop nan"),
        (["--out", "model.onnx", "--int8", "--calibration-images", "0"], "--calibration-images 0"),
        (["--out", "file/model.onnx"], "cannot be written there"),
        (["--out", "folder.onnx"], "this is a folder"),
        (["--out", "model.onnx", "--int8", "--ungated", "--calibrate", "nowhere"], "--calibrate nowhere"),
        (["--out", "model.onnx", "--int8", "--ungated", "--calibrate", "folder.onnx"], "there is no image"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(workplace, trained, capsys, arguments, expected):
    Path("file").write_text("in the way")
    Path("folder.onnx").mkdir()
    assert re.search(expected, failing(capsys, 2, trained, *arguments))
    assert sorted(path.name for path in workplace.iterdir()) == ["file", "folder.onnx"]


class Bomb:
    """Write a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("bomb"),)


def test_checkpoints_of_others_are_refused_and_no_code_in_them_runs(workplace, capsys):
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.0.0", "hyper_parameters": {}}, "other.ckpt")
    torch.save({"state_dict": {}, "seg": Bomb()}, "code.ckpt")
    Path("pickle.ckpt").write_bytes(pickle.dumps(Bomb()))
    Path("text.ckpt").write_text("nothing")
    for name in ("other.ckpt", "code.ckpt", "pickle.ckpt", "text.ckpt", "gone.ckpt"):
        assert name in failing(capsys, 2, name, "--out", "model.onnx")
    assert not Path("bomb").exists()
    assert not list(workplace.glob("*.onnx*"))


def test_a_missing_package_names_the_extra(workplace, trained, capsys, monkeypatch):
    from importlib import util

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else found(name, *rest))
    message = failing(capsys, 2, trained, "--out", "model.onnx", "--int8")
    assert 'onnxruntime is not installed; get it with pip install "lightning-seg[export]"' in message


def test_help_does_not_import_torch(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "seg.export.program", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--max-drop" in capsys.readouterr().out
    assert "seg.export.program" not in sys.modules


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_file_that_its_runtime_runs_on_the_cpu_alone_is_judged_there_beside_a_gpu(
    trained, onnx_file, monkeypatch, capsys, kind
):
    card, asked = ExportedNetwork(onnx_file, "cpu").card, []
    data = data_of(trained, card, None, required=True)
    loader = data.val_dataloader()
    monkeypatch.setattr(data, "val_dataloader", lambda: loader)
    monkeypatch.setattr({"cuda": torch.cuda, "mps": torch.backends.mps}[kind], "is_available", lambda: True)
    monkeypatch.setattr(gate, "memory", lambda path, shape, device: asked.append(device) or 1)
    verdict = judged(trained, onnx_file, data, card, "auto", 1.0)
    assert verdict.agreement > 0.9999
    assert asked == ["cpu", "cpu"]
    assert "validation split, cpu" in capsys.readouterr().out


def test_suffixes_in_capitals_are_taken_as_others_are(workplace, trained, onnx_file, capsys):
    shutil.copy(onnx_file, "M.ONNX")
    image = np.zeros((40, 50, 3), np.uint8)
    np.testing.assert_array_equal(seg.load("M.ONNX", "cpu").labels(image), seg.load(onnx_file, "cpu").labels(image))
    check_settings(Path("N.ONNX"), "int8", None, True, None, 1)
    main([str(trained), "--out", "M.PT2"])
    np.testing.assert_array_equal(seg.load("M.PT2", "cpu").labels(image), seg.load(onnx_file, "cpu").labels(image))
