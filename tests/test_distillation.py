import numpy as np
import pytest
import torch

from seg.distillation import Distillation
from seg.models import UNet
from tests.command import run, weights, write_config
from tests.test_task import Shown, task


def with_teacher(logits, **settings):
    """Return a distillation whose teacher answers with given logits."""
    made = Distillation.__new__(Distillation)
    made.temperature, made.weight, made.factors = settings["temperature"], settings["weight"], (1.0, 1.0)
    made.teacher = task(Shown(logits)).eval()
    return made


@pytest.mark.parametrize("mixed", [False, True])
def test_the_divergence_is_that_of_softened_probabilities_over_valid_pixels(mixed):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 2, 3, 8, 8))
    mask, other = rng.integers(0, 3, (2, 2, 8, 8))
    mask[0, :3], other[1, 2:] = 255, 255
    batch = {"image": torch.zeros(2, 3, 8, 8), "mask": torch.tensor(mask)}
    if mixed:
        batch |= {"other_mask": torch.tensor(other), "share": 0.3}
    soft = [np.exp(x / 3) / np.exp(x / 3).sum(1, keepdims=True) for x in (student, teacher)]
    pixels = (soft[1] * np.log(soft[1] / soft[0])).sum(1)
    expected = pixels[mask != 255].mean()
    if mixed:
        expected = 0.3 * expected + 0.7 * pixels[other != 255].mean()
    made = with_teacher(torch.tensor(teacher).float(), temperature=3.0, weight=0.25)
    logits = torch.tensor(student).float().requires_grad_()
    loss, alone = made.add(torch.tensor(2.0), logits, batch, 255)
    assert alone.item() == pytest.approx(9 * expected, rel=1e-5)
    assert loss.item() == pytest.approx(0.75 * 2 + 0.25 * 9 * expected, rel=1e-5)


def test_a_student_learns_from_a_checkpoint_that_never_enters_its_own(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config)
    best = workplace / "runs/tiny/version_0/checkpoints/best.ckpt"
    before = weights(best)
    teach = ["--model.distillation", "seg.distillation.Distillation", "--model.distillation.teacher"]
    run("--config", config, *teach, best, "--model.mixing", "seg.mixing.MixUp", "--model.init_from", best)
    student = workplace / "runs/tiny/version_1/checkpoints/best.ckpt"
    assert weights(student).keys() == before.keys()
    assert "init_from" in capsys.readouterr().out
    assert "train/loss/distillation" in (workplace / "runs/tiny/version_1/metrics.csv").read_text()
    best.rename(workplace / "gone.ckpt")
    run("test", "--ckpt_path", student)  # needs neither the teacher nor what it began with
    with pytest.raises(SystemExit):
        run("--config", config, *teach, best)
    assert "model.distillation.teacher: there is no file" in capsys.readouterr().err


def test_a_teacher_of_other_classes_is_refused(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    made = Distillation(str(workplace / "runs/tiny/version_0/checkpoints/best.ckpt"))
    with pytest.raises(ValueError, match=r"other classes than the data have \(it does not know a, b, c\)"):
        made.prepare(task(UNet(3, width=4, depth=2)))
