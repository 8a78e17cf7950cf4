from pathlib import Path

import pytest
import torch

from seg.replay import main, replay
from tests.command import run, write_config
from tests.test_guard import NET, poison

MIXED = {**NET, "mixing": {"class_path": "seg.mixing.CutMix", "init_args": {"p": 0.5}}}


@pytest.fixture
def failed(workplace, shapes):
    """Fail the second step of a run by its image, the fourth by its weights."""

    def fail(what: str, **trainer) -> Path:
        config = write_config(workplace / "tiny.yaml", shapes, model=MIXED, data={"batch_size": 2}, **trainer)
        guard = "{class_path: seg.guard.Guard, init_args: {action: stop}}"
        with pytest.raises(SystemExit):
            run("--config", config, "--trainer.callbacks", f"[{poison([4], what=what)}, {guard}]")
        return Path("runs/tiny/version_0/failures/step_4.pt")

    return fail


def test_an_image_of_huge_values_is_found_at_the_layer_that_it_breaks(failed, capsys):
    path = failed("image")
    main([str(path)])
    printed = capsys.readouterr().out
    assert "inputs:              all finite; the largest: image, 2×3×64×64: finite, up to 3e+38" in printed
    assert "before it: net.down.0.0 (Conv2d)" in printed
    assert "it begins at the activation of net.down.0.1" in printed
    assert "train/loss" in printed
    trace = replay(path)
    assert trace.first("activation").name.startswith("net.")
    assert trace.first("loss") is not None
    assert trace.first("parameter gradient") is not None


def test_bad_weights_are_found_by_their_name(failed):
    trace = replay(failed("weight"))
    first = next(place for place in trace.places if place.wrong)
    assert (first.kind, first.wrong) == ("weight", 1)
    assert first.name.startswith("net.")
    assert "finite" in trace.text()


def test_an_infinite_value_within_the_network_is_found_at_its_layer(failed, workplace):
    path = failed("image", accumulate_grad_batches=2)
    held = torch.load(path, weights_only=True)
    assert len(held["batches"]) == 2
    for batch in held["batches"]:
        batch["image"].clamp_(0, 255)
    torch.save(held, path)
    weights = path.with_name("step_4.ckpt")
    checkpoint = torch.load(weights, weights_only=True)
    names = [name for name in checkpoint["state_dict"] if name.startswith("net.") and name.endswith("weight")]
    name = [name for name in names if checkpoint["state_dict"][name].ndim == 4][3]
    checkpoint["state_dict"][name] *= 1e38
    torch.save(checkpoint, weights)
    trace = replay(path)
    first = next(place for place in trace.places if place.wrong)
    assert first.kind == "activation"
    assert f"{first.name}.weight" == name
    assert f"it begins at the activation of {first.name}" in trace.text()


def test_a_finite_step_is_the_one_that_was_trained_to_the_last_bit(workplace, shapes, monkeypatch):
    """Replay a step that is called a failure though it is finite: losses must be equal, dropout and CutMix included."""
    config = write_config(workplace / "tiny.yaml", shapes, model=MIXED, data={"batch_size": 2}, precision="32")
    call = "{class_path: tests.faults.CallItAFailure, init_args: {step: 3}}"
    run("--config", config, "--trainer.callbacks", f"[{call}]", "--trainer.accumulate_grad_batches", "2")
    path = Path("runs/tiny/version_0/failures/step_3.pt")
    held = torch.load(path, weights_only=True)
    trace = replay(path)
    losses = [place.largest for place in trace.places if place.name == "loss of the batch"]
    assert [loss / 2 for loss in losses] == held["losses"]
    assert len(losses) == 2
    assert "the step is finite here" in trace.text()
    gradients = torch.load(workplace / "gradients.pt", weights_only=True)
    largest = {place.name: place.largest for place in trace.places if place.kind == "parameter gradient"}
    assert largest == {name: float(gradient.abs().max()) for name, gradient in gradients.items()}


@pytest.mark.slow
def test_a_step_that_a_teacher_had_a_part_in_is_replayed_with_it(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, precision="32")
    run("--config", config)
    teacher = {"class_path": "seg.distillation.Distillation"}
    teacher["init_args"] = {"teacher": "runs/tiny/version_0/checkpoints/best.ckpt"}
    student = write_config(workplace / "student.yaml", shapes, {"distillation": teacher}, max_epochs=1, precision="32")
    call = "{class_path: tests.faults.CallItAFailure, init_args: {step: 2}}"
    run("--config", student, "--trainer.callbacks", f"[{call}]")
    path = Path("runs/student/version_0/failures/step_2.pt")
    trace = replay(path)
    found = [place.largest for place in trace.places if place.name == "loss of the batch"]
    assert found == torch.load(path, weights_only=True)["losses"]
    assert any(place.name == "train/loss/distillation" for place in trace.places)


@pytest.mark.parametrize("content", [b"", b"garbage", b"0ext of something", None])
def test_a_file_that_is_no_failure_is_refused_with_one_message(workplace, capsys, content):
    path = workplace / "step_1.pt"
    if content is None:
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as refused:
        main([str(path)])
    assert refused.value.code == 2
    assert "step_1.pt" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(workplace / "nothing.pt")])
    assert "no such file" in capsys.readouterr().err
