"""What is computed on Apple's GPUs, computed on the CPU, with the operations refused that are known to fail there."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seg import apple
from seg.infer import Predictor
from seg.labels import largest_class
from seg.loading import TaskNetwork
from seg.losses import CrossEntropy, Dice, Focal, Jaccard, Lovasz, Sum, Tversky
from seg.metrics import count_without_waiting
from seg.models import SMP
from seg.models.blocks import upsample
from seg.normalize import Normalize
from seg.predict.one import Wanted, predicted
from seg.task import SegmentationTask
from tests.models.networks import NETWORKS, ONE_OF_EACH, outputs

ABSENT = ("max_unpool", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa")


class AppleGPU(TorchDispatchMode):
    """Refuse what `seg.apple` lists."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        assert not any(tensor.dtype is torch.float64 for tensor in tensors), f"{name} in float64"
        assert not name.startswith(ABSENT), f"{name} does not exist"
        if name in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
            pairs = zip(args[0].shape[-2:], args[1], strict=True)
            assert all(side % wanted == 0 for side, wanted in pairs), f"{name} of {args[0].shape} to {args[1]}"
        if name.startswith("nll_loss"):
            logits, labels = args[:2] if "backward" not in name else args[1:3]
            assert labels.min() >= 0, name
            assert labels.max() < logits.shape[1], name
        if name.startswith(("sort", "argsort")):
            assert args[0].is_contiguous(), name
        if name.startswith("scatter_add"):
            assert args[0].storage_offset() == 0, name
        if name == "convolution":
            assert args[1].is_contiguous(), f"{name} with weights that are not contiguous"
            sliced = channels_last(args[0]) and not args[0].is_contiguous(memory_format=torch.channels_last)
            assert not sliced, f"{name} of a slice of channels-last maps"
        if "batch_norm" in name:
            assert not channels_last(args[1 if "backward" in name else 0]), f"{name} of channels-last maps"
        return result


def channels_last(maps: torch.Tensor) -> bool:
    """Tell whether the channels of maps (B, C, H, W) lie closer together than their columns, views included."""
    return maps.ndim == 4 and maps.shape[1] > 1 and maps.shape[3] > 1 and maps.stride(1) < maps.stride(3)


@pytest.fixture
def pretended(monkeypatch):
    """Let the CPU be taken for an Apple GPU."""
    monkeypatch.setattr(apple, "careful", lambda device: True)


def step(net: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    logits = outputs(net(images))
    sum(each.square().mean() for each in logits).backward()
    return logits


@pytest.mark.parametrize(
    "name", [name if name in ONE_OF_EACH else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_networks_do_without_what_apples_gpus_get_wrong(pretended, name):
    torch.manual_seed(0)
    net = NETWORKS[name]().to(memory_format=torch.channels_last)
    apple.plain_layout(net)
    with AppleGPU():
        step(net, torch.randn(2, 3, 45, 71))


@pytest.mark.parametrize("arch", ["PSPNet", "UPerNet", "FPN"])
def test_networks_of_the_library_do_too_and_compute_the_same(monkeypatch, arch):
    torch.manual_seed(0)
    net, images = SMP(3, arch, "resnet18").eval(), torch.randn(1, 3, 64, 96)
    expected = net(images)
    monkeypatch.setattr(apple, "careful", lambda device: True)
    with AppleGPU():
        (logits,) = step(net, images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 5), 6, (None, 4), (7, 11), (9, 1)])
def test_the_pooling_is_torchs_for_every_size_and_has_its_gradient(monkeypatch, size):
    maps = torch.randn(2, 3, 7, 11, dtype=torch.float64, requires_grad=True)
    expected = F.adaptive_avg_pool2d(maps, size)
    (gradient,) = torch.autograd.grad(expected.square().sum(), maps)
    monkeypatch.setattr(apple, "careful", lambda device: True)
    pooled = apple.AdaptiveAveragePool(size)(maps)
    torch.testing.assert_close(pooled, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.autograd.grad(pooled.square().sum(), maps)[0], gradient, rtol=1e-6, atol=1e-6)


LOSSES = [
    CrossEntropy(),
    CrossEntropy([0.5, 1.0, 2.0], label_smoothing=0.1),
    CrossEntropy(hard_below=0.7, min_hard=20),
    Focal(),
    Focal(alpha=[0.5, 1.0, 2.0]),
    Dice(),
    Jaccard(per_image=True),
    Tversky(absent="include", smooth=1.0),
    Lovasz(),
    Lovasz(per_image=True),
    Sum({"ce": CrossEntropy(), "dice": Dice()}),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_losses_do_too_and_compute_the_same(monkeypatch, loss, layout):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 9, 13).contiguous(memory_format=layout).requires_grad_()
    target = torch.randint(0, 3, (2, 9, 13))
    target[0, :4], target[1, 2, 5:9] = 255, 255
    expected = loss(logits, target)
    (gradient,) = torch.autograd.grad(expected, logits)
    monkeypatch.setattr(apple, "careful", lambda device: True)
    with AppleGPU():
        value = loss(logits, target)
        (found,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(found, gradient)
    assert not found[0, :, :4].any()


def test_normalisation_labels_and_counting_do_too(pretended):
    logits, target = torch.randn(2, 3, 9, 13), torch.randint(0, 3, (2, 9, 13))
    with AppleGPU():
        Normalize([1.0] * 3, [2.0] * 3, [[0.0, 9.0]] * 3)(torch.rand(2, 3, 9, 13))
        Normalize([1.0] * 3, [2.0] * 3)(torch.zeros(2, 3, 9, 13, dtype=torch.uint16))
        labels = largest_class(upsample(logits, (9, 13)))
        count_without_waiting(labels.flatten(), target.flatten(), 3, 255)


def test_predictions_and_what_is_told_of_their_certainty_do_too(pretended):
    facts = {"class_names": ["a", "b", "c"], "class_colors": [[0] * 3] * 3, "mean": [1.0] * 3, "std": [1.0] * 3}
    predictor = Predictor(TaskNetwork(SegmentationTask(NETWORKS["segnet"](), **facts).eval()), whole=True)
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    with AppleGPU():
        found = predicted(predictor, Path("x.png"), image, Wanted(certainty=True))
    assert found.certainty == pytest.approx(predictor.predict(image).probabilities.max(0).mean(), abs=1e-6)


def test_a_step_of_the_task_is_in_the_plain_layout_whatever_is_asked_for(pretended):
    facts = {"class_names": ["a", "b", "c"], "class_colors": [[0] * 3] * 3, "mean": [1.0] * 3, "std": [1.0] * 3}
    task = SegmentationTask(NETWORKS["segnet"](), channels_last=True, **facts).to("cpu")
    task.log = lambda *args, **options: None
    images = torch.zeros(2, 3, 32, 40, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    with AppleGPU():
        task.training_step({"image": images, "mask": torch.zeros(2, 32, 40, dtype=torch.uint8)}, 0).backward()


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("float64", lambda: torch.zeros(2).double()),
        ("adaptive", lambda: F.adaptive_avg_pool2d(torch.zeros(1, 1, 5, 5), 3)),
        ("nll_loss", lambda: F.cross_entropy(torch.zeros(1, 2, 3), torch.full((1, 3), 255), ignore_index=255)),
        ("sort", lambda: torch.rand(3, 4).t().sort()),
        ("scatter_add", lambda: torch.zeros(2, 3)[1].scatter_add_(0, torch.tensor([1]), torch.ones(1))),
        ("contiguous", lambda: F.conv2d(torch.zeros(1, 2, 5, 5), torch.zeros(4, 2, 3, 3).transpose(2, 3))),
        ("slice", lambda: F.conv2d(torch.zeros(1, 5, 5, 4).permute(0, 3, 1, 2)[:, :2], torch.zeros(4, 2, 3, 3))),
        ("batch_norm", lambda: nn.BatchNorm2d(2)(torch.zeros(1, 5, 5, 2).permute(0, 3, 1, 2))),
        ("max_unpool", lambda: F.max_unpool2d(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1).long(), 2)),
        ("bicubic", lambda: F.interpolate(torch.zeros(1, 1, 4, 4), (2, 2), mode="bicubic", antialias=True)),
    ],
)
def test_each_of_the_known_faults_is_refused_when_it_comes_back(name, act):
    with AppleGPU(), pytest.raises(AssertionError, match=name):
        act()
