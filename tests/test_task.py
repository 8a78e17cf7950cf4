import pytest
import torch
from torch import nn
from torch.nn import functional

from seg import schedules
from seg.boundary import BoundaryIoU
from seg.calibration import CalibrationError
from seg.losses import CrossEntropy, Sum
from seg.models import UNet
from seg.task import SegmentationTask


def task(net: nn.Module | None = None, **settings) -> SegmentationTask:
    facts = {"class_names": ["a", "b", "c"], "class_colors": [[0, 0, 0], [9, 9, 9], [99, 0, 0]]}
    pixels = {"mean": [120.0, 110.0, 100.0], "std": [50.0, 60.0, 70.0]}
    built = SegmentationTask(net or UNet(3, width=4, depth=2), **facts, **pixels, **settings)
    built.log = lambda *args, **options: None
    return built


class Shown(nn.Module):
    """A network that keeps what it is shown and answers with logits of its own choosing."""

    def __init__(self, logits: torch.Tensor, auxiliary: bool = False) -> None:
        super().__init__()
        self.logits, self.auxiliary, self.shown = logits, auxiliary, torch.empty(0)

    def forward(self, images):
        self.shown = images
        return (self.logits, [self.logits * 2]) if self.auxiliary else self.logits


def test_the_network_sees_raw_pixels_normalised_per_channel():
    net = Shown(torch.zeros(2, 3, 8, 8))
    images = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    task(net)(images)
    expected = (images.double() - torch.tensor([120.0, 110, 100]).view(1, 3, 1, 1)) / torch.tensor([50.0, 60, 70]).view(
        1, 3, 1, 1
    )
    assert torch.allclose(net.shown.double(), expected, atol=1e-5)


def test_logits_are_brought_to_the_size_of_the_mask_before_loss_and_score():
    logits = torch.randn(2, 3, 8, 8)
    batch = {"image": torch.zeros(2, 3, 8, 8), "mask": torch.randint(0, 3, (2, 16, 20), dtype=torch.uint8)}
    loss, large = task(Shown(logits)).shared_step(batch, "train")
    expected = functional.interpolate(logits, (16, 20), mode="bilinear", align_corners=False)
    assert torch.equal(large, expected)
    assert loss.item() == pytest.approx(functional.cross_entropy(expected, batch["mask"].long()).item(), rel=1e-5)


def test_evaluation_counts_every_pixel_at_the_size_of_the_mask():
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.full((1, 16, 16), 2, dtype=torch.uint8)}
    batch["mask"][0, :4] = 255
    built = task(Shown(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)))
    labels = built.validation_step(batch, 0)
    assert labels.shape == (1, 16, 16)
    assert built.evaluation("val").metrics.confusion.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 12 * 16]]


def test_further_metrics_see_logits_and_report_beside_the_confusion_matrix():
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8)}
    logits = torch.randn(1, 3, 8, 8)
    built = task(Shown(logits), extra_metrics=[BoundaryIoU, CalibrationError], ignore_index=7)
    assert [metric.ignore_index for metric in built.evaluation("test").extra] == [7, 7]
    logged = {}
    built.log = lambda name, value, **options: logged.update({name: float(value)})
    built.test_step(batch, 0)
    built.on_test_epoch_end()
    for metric, name in ((BoundaryIoU(3), "mean_boundary_iou"), (CalibrationError(3), "calibration_error")):
        metric.update(logits, batch["mask"])
        assert logged[f"test/{name}"] == pytest.approx(float(metric.compute()[name]), rel=1e-6)
    assert built.results["test"]["accuracy"].shape == (3,)
    assert built.evaluation("test").extra[0].counts.sum() == 0  # ready for the next epoch
    assert not any(name.startswith("evaluations") for name in built.state_dict())


def test_the_background_can_be_left_out_of_the_scores():
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8)}
    built = task(Shown(torch.randn(1, 3, 8, 8)), include_background=False)
    built.test_step(batch, 0)
    built.on_test_epoch_end()
    iou = built.results["test"]["iou"]
    assert iou[0].isnan()
    assert built.results["test"]["miou"] == iou[1:].mean()


def test_an_ignore_index_reaches_every_term_of_the_loss():
    built = task(loss=Sum({"one": CrossEntropy(), "two": CrossEntropy()}), ignore_index=7)
    assert [term.ignore_index for term in built.loss.terms.values()] == [7, 7]


def test_network_and_images_are_kept_channels_last():
    net = UNet(3, width=4, depth=2)
    built = task(net)
    images = built.normalize(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert net.down[1][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_checkpoint_of_a_later_format_is_refused():
    with pytest.raises(ValueError, match="update seg"):
        task().on_load_checkpoint({"seg": {"format": 99}})


def test_the_default_schedule_holds_the_rate():
    assert isinstance(task().schedule, schedules.Constant)


def test_auxiliary_heads_add_their_weighted_loss_and_are_not_scored():
    logits = torch.randn(1, 3, 8, 8)
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8)}
    loss, scored = task(Shown(logits, auxiliary=True), auxiliary_weight=0.3).shared_step(batch, "train")
    main, other = (functional.cross_entropy(scale * logits, batch["mask"].long()) for scale in (1, 2))
    assert loss.item() == pytest.approx((main + 0.3 * other).item(), rel=1e-5)
    assert torch.equal(scored, logits)


def test_a_unet_with_auxiliary_heads_trains_them_and_evaluates_without():
    net = UNet(3, width=4, depth=3, auxiliary=True)
    batch = {"image": torch.zeros(2, 3, 40, 48), "mask": torch.randint(0, 3, (2, 40, 48), dtype=torch.uint8)}
    _, levels = net(torch.zeros(2, 3, 40, 48))
    assert [tuple(level.shape) for level in levels] == [(2, 3, 10, 12), (2, 3, 20, 24)]
    task(net).shared_step(batch, "train")[0].backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert isinstance(net.eval()(torch.zeros(2, 3, 40, 48)), torch.Tensor)
