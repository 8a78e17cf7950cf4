from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seg import pixel_mean
from seg.losses import CrossEntropy, Dice, Focal, Sum
from seg.mixing import MixUp
from seg.pixel_mean import StepMean, over_processes
from tests.test_distillation import with_teacher
from tests.test_task import Shown, task

MEANS = [CrossEntropy(), CrossEntropy([0.2, 1.0, 3.0]), CrossEntropy(label_smoothing=0.1), Focal(alpha=[0.2, 1.0, 3.0])]


@pytest.fixture
def other(monkeypatch):
    """Pretend a second process, whose totals are what the test puts into the list."""
    totals = []

    def all_reduce(total: torch.Tensor) -> None:
        total += totals.pop(0)

    there = {"is_available": lambda: True, "is_initialized": lambda: True, "get_world_size": lambda: 2}
    monkeypatch.setattr(pixel_mean, "distributed", SimpleNamespace(all_reduce=all_reduce, **there))
    return totals


def batch(images: int, ignored: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of which a share is ignored."""
    random = torch.Generator().manual_seed(seed)
    logits, target = (
        torch.randn(images, 3, 6, 7, generator=random),
        torch.randint(0, 3, (images, 6, 7), generator=random),
    )
    target[torch.rand(target.shape, generator=random) < ignored] = 255
    return logits, target


def total(loss: nn.Module, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    with over_processes() as seen:
        loss(logits, target)
    return seen[0]


@pytest.mark.parametrize("loss", MEANS, ids=lambda loss: type(loss).__name__)
def test_the_mean_of_the_processes_losses_is_the_mean_over_all_their_pixels(monkeypatch, loss, other):
    halves = [batch(2, 0.1, 0), batch(2, 0.8, 1)]
    expected = loss(*(torch.cat(parts) for parts in zip(*halves, strict=True)))
    with monkeypatch.context() as alone:
        alone.setattr(pixel_mean, "distributed", SimpleNamespace(is_available=lambda: False))
        totals = [total(loss, *half) for half in halves]
    losses = []
    for half, beyond in zip(halves, reversed(totals), strict=True):
        other.append(beyond)
        with over_processes():
            losses.append(loss(*half))
    assert torch.stack(losses).mean().item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(*halves[0]) != losses[0]


def test_a_process_of_ignored_pixels_alone_adds_nothing_and_none_at_all_is_no_nan(other):
    logits, target = batch(2, 1.1, 0)
    logits.requires_grad_()
    for beyond in (100, 0):
        other.append(beyond)
        with over_processes():
            loss = CrossEntropy()(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize("loss", MEANS, ids=lambda loss: type(loss).__name__)
def test_one_process_alone_computes_the_same_bits_as_ever(loss):
    logits, target = batch(2, 0.3, 0)
    with over_processes():
        within = loss(logits, target)
    assert torch.equal(within, loss(logits, target))
    assert CrossEntropy()(logits, target).item() == pytest.approx(
        F.cross_entropy(logits, target, ignore_index=255).item()
    )


class Logits(nn.Module):
    """A network of one factor, whose gradient tells what its loss was a mean of; with a head beside."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, images):
        return images * self.factor, [2 * images * self.factor.flip(0)]


def accumulated(
    loss: nn.Module, batches: list, mixing: MixUp | None = None, of: int = 0, flood: float = 0.0
) -> tuple[torch.Tensor, float]:
    """Return the gradient and the logged loss of an optimiser step of several batches, as Lightning makes one."""
    built = task(Logits(), loss=loss, channels_last=False, mixing=mixing, flood=flood)
    built.pixels = nn.Identity()
    logged = {}
    built.log = lambda name, value, **options: logged.update({name: float(value)})
    of = of or len(batches)
    for index, (images, mask) in enumerate(batches):
        built.step_mean.begin(index, of)
        (built.training_step({"image": images, "mask": mask}, index) / of).backward()
    built.on_before_optimizer_step(None)
    return built.net.factor.grad, logged["train/loss"]


@pytest.mark.parametrize("loss", MEANS, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("of", [3, 5], ids=["whole step", "end of an epoch"])
def test_accumulated_batches_are_one_mean_over_their_pixels_with_auxiliary_heads(loss, of):
    batches = [batch(2, 1.1, 0), batch(1, 0.9, 1), batch(3, 0.2, 2)]  # the first has no valid pixel
    whole = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    gradient, value = accumulated(loss, whole)
    found, mean = accumulated(loss, batches, of=of)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-7)
    assert mean == pytest.approx(value, rel=1e-5)


def test_batches_of_ignored_pixels_alone_make_a_step_of_no_gradient():
    gradient, value = accumulated(CrossEntropy(), [batch(2, 1.1, seed) for seed in range(3)])
    assert not gradient.any()
    assert value == 0


def test_blends_are_accumulated_by_the_pixels_of_their_masks():
    batches = [batch(2, 0.9, 1), batch(2, 0.1, 2)]
    gradient, _ = accumulated(CrossEntropy(), batches, MixUp())
    alone = [accumulated(CrossEntropy(), [batches[0]], MixUp())[0]]
    built = task(Logits(), loss=CrossEntropy(), channels_last=False, mixing=MixUp())
    built.pixels, built.log = nn.Identity(), lambda *args, **options: None
    built.training_step({"image": batches[1][0], "mask": batches[1][1]}, 1).backward()
    alone.append(built.net.factor.grad)
    weights = [float((mask != 255).sum()) for _, mask in batches]
    expected = sum(weight * each for weight, each in zip(weights, alone, strict=True)) / sum(weights)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [Dice(), Sum({"ce": CrossEntropy(), "dice": Dice()})], ids=["Dice", "Sum"])
def test_batches_of_losses_that_are_no_mean_over_pixels_weigh_the_same(loss):
    batches = [batch(2, 0.9, 1), batch(2, 0.1, 2)]
    each = [accumulated(loss, [one])[0] for one in batches]
    gradient, _ = accumulated(loss, batches)
    torch.testing.assert_close(gradient, (each[0] + each[1]) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("number", [1, 2])
def test_flooding_turns_the_gradient_of_a_step_round_where_its_mean_loss_is_below_the_level(number):
    batches = [batch(2, 0.9, 1), batch(2, 0.1, 2)][:number]
    each = [accumulated(CrossEntropy(), [one])[1] for one in batches]
    gradient, mean = accumulated(CrossEntropy(), batches)
    assert number == 1 or max(each) > mean + 0.01 > min(each) + 0.02  # one batch below the level, one above
    for level, sign in ((mean - 0.01, 1), (mean + 0.01, -1), (0.0, 1)):
        found, logged = accumulated(CrossEntropy(), batches, flood=level)
        torch.testing.assert_close(found, sign * gradient, rtol=1e-5, atol=1e-7)
        assert logged == pytest.approx(mean)
    with pytest.raises(ValueError, match="flood: -1"):
        task(flood=-1)


def test_flooding_looks_at_the_mean_of_all_processes(other):
    logits, target = batch(2, 0.2, 1)
    count = (target != 255).sum()
    signs = []
    for loss_of_the_other in (0.0, 9.0):
        built = task(Logits(), loss=CrossEntropy(), channels_last=False, flood=3.0, auxiliary_weight=0.0)
        built.pixels, built.log = nn.Identity(), lambda *args, **options: None
        built.step_mean.begin(0, 1)
        other += [count, count, torch.tensor(loss_of_the_other)]  # of both heads, then the loss
        built.training_step({"image": logits, "mask": target}, 0).backward()
        before = built.net.factor.grad.clone()
        built.on_before_optimizer_step(None)
        signs.append(float((built.net.factor.grad / before).mean()))
    assert signs == [-1.0, 1.0]
    assert not other


def test_the_divergence_from_a_teacher_is_one_mean_over_the_pixels_of_all_processes(other):
    halves = [batch(2, 0.1, 0), batch(2, 0.8, 1)]
    teachers = [batch(2, 0, seed)[0] for seed in (2, 3)]

    def divergence(logits: torch.Tensor, target: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        made = with_teacher(taught, temperature=2.0, weight=0.5)
        return made.add(torch.zeros(()), logits, {"image": torch.zeros(len(taught), 3, 6, 7), "mask": target}, 255)[1]

    expected = divergence(*(torch.cat(parts) for parts in zip(*halves, strict=True)), torch.cat(teachers))
    counts = [(target != 255).sum() for _, target in halves]
    found = []
    for half, taught, beyond in zip(halves, teachers, reversed(counts), strict=True):
        other.append(beyond)
        with over_processes():
            found.append(divergence(*half, taught))
    assert torch.stack(found).mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_one_batch_a_step_is_left_as_it_is():
    logits, target = batch(2, 0.3, 0)
    built = task(Shown(logits.requires_grad_()))
    mean = StepMean(built.loss)
    loss = built.loss(logits, target)
    mean.begin(0, 1)
    assert mean.add({"loss": loss})["loss"] is loss
    assert mean.weighted(loss) is loss
