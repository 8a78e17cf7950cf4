"""Every check of `seg doctor run` is shown the fault that it is for, and set-ups without any."""

import math
import shutil
import time

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from seg import losses
from seg.convert.palette import write_indexed
from seg.data import VOC
from seg.data.dataset import Reader
from seg.doctor.checks.memory import memory
from seg.doctor.run import CHECKS
from seg.doctor.setup import Clock, Setup, Training
from seg.mixing import CutMix
from seg.models import UNet
from seg.task import SegmentationTask
from tests.doctor.setups import CLASSES, Doctor, data_of
from tests.models.networks import NETWORKS, ONE_OF_EACH

QUICK = [name for name in CHECKS if name not in ("rate", "overfit", "permuted", "loader", "memory")]
"""Checks without training."""
NUMBER = len(CLASSES)


@pytest.fixture
def doctor(shapes) -> Doctor:
    torch.manual_seed(0)
    return Doctor(shapes)


class Plain(nn.Module):
    """Three convolutions with ReLUs, without norms; a place to plant faults in."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.classifier = nn.Conv2d(16, NUMBER, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        return self.classifier(functional.relu(self.second(x)))


# -- healthy set-ups ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_healthy_set_up_passes_every_check_and_its_weights_stay_as_they_were(doctor):
    kept = {}
    report = doctor.report(*CHECKS, change=lambda task: kept.update(task=task, state=copied(task)))
    assert [(f.check, f.severity) for f in report.findings] == [(name, "pass") for name in CHECKS], report.findings
    assert set(report.pictures) == {"schedule", "augmentation", "layers", "range_test", "overfit"}
    assert all(torch.equal(value, kept["state"][name]) for name, value in kept["task"].state_dict().items())
    assert all(parameter.grad is None for parameter in kept["task"].parameters())


def test_a_healthy_set_up_passes_what_is_quick(doctor):
    report = doctor.report(*QUICK)
    assert [(f.check, f.severity) for f in report.findings] == [(name, "pass") for name in QUICK], report.findings


def copied(task: SegmentationTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize(
    "name", [*(name for name in ONE_OF_EACH if "v3" not in name), pytest.param("deeplabv3plus", marks=pytest.mark.slow)]
)
def test_no_shipped_network_raises_a_false_alarm(doctor, name):
    net = NETWORKS[name](num_classes=NUMBER, **({"width": 32} if name == "largefov" else {}))
    checks = [check for check in QUICK if check not in ("labels", "schedule", "augmentation", "objects")]
    found = doctor.findings(*checks, net=net)
    assert {f.severity for f in found} == {"pass"}, found


LOSSES = {
    "weighted": losses.CrossEntropy(class_weights="auto"),
    "smoothed": losses.CrossEntropy(label_smoothing=0.2),
    "hard": losses.CrossEntropy(hard_below=0.7, min_hard=500),
    "focal": losses.Focal(),
    "dice": losses.Dice(),
    "tversky": losses.Tversky(),
    "lovasz": losses.Lovasz(),
    "sum": losses.Sum({"ce": losses.CrossEntropy(), "dice": losses.Dice()}, {"dice": 0.5}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_loss_of_every_loss_is_near_that_of_equal_logits(doctor, name):
    report = doctor.report("loss", "gradients", loss=LOSSES[name])
    assert [f.severity for f in report.findings] == ["pass", "pass"], report.findings
    figures = report.figures["loss"]
    if name in ("weighted", "smoothed"):
        assert figures["uniform"] == pytest.approx(math.log(NUMBER), rel=1e-5)
    if name == "focal":
        assert figures["uniform"] == pytest.approx((1 - 1 / NUMBER) ** 2 * math.log(NUMBER), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_eight_samples_are_learnt_with_every_loss(doctor, name):
    found = doctor.findings("rate", "overfit", "permuted", loss=LOSSES[name], rate=0.003)
    assert {f.severity for f in found} == {"pass"}, found


# -- labels, shapes, input --------------------------------------------------------------------------------------------


def renumbered(shapes, root, table) -> VOC:
    """Return the small tree with other values in its masks."""
    shutil.copytree(shapes, root, ignore=shutil.ignore_patterns(".cache"))
    for path in (root / "SegmentationClass").glob("*.png"):
        labels = np.array(Image.open(path))
        write_indexed(path, table[labels].astype(np.uint8), np.zeros((256, 3), np.uint8))
    return data_of(root)


def test_labels_that_are_off_by_one_are_found_and_named(doctor, shapes, tmp_path):
    data = renumbered(shapes, tmp_path / "shifted", np.minimum(np.arange(256) + 1, 255))
    found = doctor.findings("labels", "shapes", data=data)
    assert [(f.check, f.severity) for f in found] == [("labels", "fail"), ("shapes", "fail")]
    assert "off by one" in found[0].text
    assert "label_map" in found[0].cure


def test_labels_that_are_off_by_one_are_found_where_the_loss_counts_them_before_the_first_step(
    doctor, shapes, tmp_path
):
    data = renumbered(shapes, tmp_path / "shifted", np.minimum(np.arange(256) + 1, 255))
    found = doctor.findings("labels", "shapes", data=data, loss=losses.CrossEntropy(class_weights="auto"))
    assert [(f.check, f.severity) for f in found] == [("labels", "fail"), ("start", "fail")]
    assert "off by one" in found[0].text


def test_a_shift_that_only_leaves_class_0_empty_is_warned_of(doctor, shapes, tmp_path):
    table = np.arange(256)
    table[: NUMBER - 1] += 1
    finding = doctor.only("labels", data=renumbered(shapes, tmp_path / "shifted", table))
    assert finding.severity == "warn"
    assert CLASSES[0] in finding.text


def test_a_network_of_another_number_of_classes_fails_and_nothing_else_is_claimed(doctor):
    found = doctor.findings("shapes", "logits", "overfit", net=UNet(NUMBER + 1, width=4, depth=2))
    assert [(f.check, f.severity) for f in found] == [("shapes", "fail"), ("logits", "skip"), ("overfit", "skip")]


def test_an_error_of_the_network_is_a_finding(doctor):
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, NUMBER, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    finding = doctor.only("shapes", net=Broken())
    assert finding.severity == "fail"
    assert "4 channels" in finding.text


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0, 0, 0), (1, 1, 1)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((400,) * 3, (60,) * 3)],
    ids=["raw", "of 0..1", "far from 0 alone"],
)
def test_images_that_are_not_normalised_are_found(doctor, shapes, mean, std):
    data = data_of(shapes, mean=list(mean), std=list(std))
    found = doctor.findings("input", data=data)
    assert [f.severity for f in found] == ["fail"], found


def test_images_of_no_contrast_are_found(doctor, shapes):
    finding = doctor.only("input", data=data_of(shapes, mean=[120.0] * 3, std=[50_000.0] * 3))
    assert finding.severity == "fail"


# -- the network before the first step --------------------------------------------------------------------------------


def test_raw_images_make_a_network_without_norms_sure_of_wrong_answers(doctor, shapes):
    finding = doctor.only("loss", net=Plain(), data=data_of(shapes, mean=[0.0] * 3, std=[1.0] * 3))
    assert finding.severity == "fail"
    assert "sure of wrong answers" in finding.text


def test_a_network_that_knows_the_answers_is_told(doctor, monkeypatch):
    def answers(setup: Setup, batch: dict) -> Tensor:
        known = batch["mask"].long().clamp(max=NUMBER - 1)
        return 20.0 * functional.one_hot(known, NUMBER).permute(0, 3, 1, 2)

    monkeypatch.setattr(Setup, "logits", answers)
    finding = doctor.only("loss")
    assert finding.severity == "warn"
    assert "knows the answers" in finding.text


@pytest.mark.parametrize("ending", [nn.ReLU(), nn.Softmax(1), nn.Sigmoid(), nn.LogSoftmax(1)])
def test_a_classifier_that_ends_in_an_activation_is_found(doctor, ending):
    finding = doctor.only("logits", net=nn.Sequential(Plain(), ending))
    assert finding.severity == "fail"


def test_scores_that_start_at_zero_are_not_taken_for_a_relu(doctor):
    net = Plain()
    nn.init.zeros_(net.classifier.weight)
    nn.init.zeros_(net.classifier.bias)
    assert [f.severity for f in doctor.findings("logits", "loss", "gradients", "layers", net=net)] == ["pass"] * 4


class Branched(Plain):
    """The same, with a branch whose result is detached."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(3, NUMBER, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.branch(x).detach()


def test_a_detached_branch_is_found_and_its_parameters_are_named(doctor):
    finding = doctor.only("gradients", net=Branched())
    assert finding.severity == "fail"
    assert [place.where for place in finding.places] == ["net.branch.weight", "net.branch.bias"]
    assert "detach" in finding.cure


def test_an_unused_parameter_is_found(doctor):
    net = Plain()
    net.spare = nn.Conv2d(3, 3, 1)
    finding = doctor.only("gradients", net=net)
    assert finding.severity == "warn"
    assert [place.where for place in finding.places] == ["net.spare.weight", "net.spare.bias"]


def test_a_gradient_that_is_not_finite_is_found(doctor):
    def spoil(task: SegmentationTask) -> None:
        task.net.classifier.weight.register_hook(lambda gradient: gradient * float("nan"))

    finding = doctor.only("gradients", net=Plain(), change=spoil)
    assert finding.severity == "fail"
    assert "NaN" in finding.text
    assert [place.where for place in finding.places] == ["net.classifier.weight"]


def test_a_parameter_that_no_optimiser_holds_is_found(doctor):
    def forget(task: SegmentationTask) -> None:
        build, known = task.build_optimizer, list(map(id, task.net.first.parameters()))

        def partly(groups):
            return build([group | {"params": [p for p in group["params"] if id(p) in known]} for group in groups])

        task.build_optimizer = partly

    finding = doctor.only("gradients", net=Plain(), change=forget)
    assert finding.severity == "fail"
    assert "optimiser" in finding.text


def test_a_network_of_frozen_parameters_fails(doctor):
    finding = doctor.only("gradients", net=Plain().requires_grad_(False))
    assert finding.severity == "fail"


# -- layers -----------------------------------------------------------------------------------------------------------


def test_dead_relus_are_found_in_modules_and_in_functions(doctor):
    net = Plain()
    nn.init.constant_(net.second.bias, -100.0)
    found = doctor.findings("layers", "gradients", net=net)
    assert [(f.check, f.severity) for f in found] == [("layers", "fail"), ("gradients", "fail")] or {
        f.severity for f in found
    } == {"fail"}
    assert any("dead" in f.text for f in found)


def test_half_dead_relus_are_warned_of(doctor):
    net = Plain()
    with torch.no_grad():
        net.second.bias[:11] = -100.0
    finding = doctor.only("layers", net=net)
    assert finding.severity == "warn"
    assert "69 %" in finding.places[0].note


def test_an_exploding_initialisation_is_found(doctor):
    net = Plain()
    with torch.no_grad():
        net.first.weight.mul_(300)
        net.second.weight.mul_(300)
    found = doctor.findings("layers", "loss", net=net)
    assert [(f.check, f.severity) for f in found] == [("loss", "fail"), ("layers", "fail")]
    assert "explode" in found[1].text


def test_a_vanishing_initialisation_is_found(doctor):
    net = nn.Sequential(*[nn.Conv2d(3, 3, 1, bias=False) for _ in range(7)], nn.Conv2d(3, NUMBER, 1))
    with torch.no_grad():
        for layer in net:
            layer.weight.mul_(1e-2)
    finding = doctor.only("layers", net=net)
    assert finding.severity == "fail"
    assert "vanish" in finding.text


def frozen(task: SegmentationTask) -> None:
    """Keep the norms in evaluation mode, whatever mode the task is in."""
    task.net.norm.train = lambda mode=True: task.net.norm
    task.net.norm.eval()
    task.net.norm.training = False


def test_frozen_batch_norms_are_found_where_their_statistics_are_nobodys(doctor):
    finding = doctor.only("norms", net=Plain(norm=True), change=frozen)
    assert finding.severity == "fail"
    assert "frozen" in finding.text
    assert doctor.only("norms", net=Plain(norm=True)).severity == "pass"


def test_frozen_batch_norms_with_loaded_statistics_are_meant(doctor):
    net = Plain(norm=True)
    net.norm.running_mean.fill_(0.3)
    finding = doctor.only("norms", net=net, change=frozen)
    assert finding.severity == "pass"
    assert "frozen" in finding.text


def test_a_momentum_of_zero_freezes_too(doctor):
    net = Plain(norm=True)
    net.norm.momentum = 0.0
    assert doctor.only("norms", net=net).severity == "fail"


# -- learning ---------------------------------------------------------------------------------------------------------


def test_a_rate_a_hundred_times_too_high_is_found(doctor):
    assert doctor.only("rate", net=Plain(), rate=0.01).severity == "pass"
    finding = doctor.only("rate", net=Plain(), rate=0.01 * 100)
    assert finding.severity == "fail"
    assert "model.optimizer" in finding.cure


def test_a_rate_far_too_low_is_warned_of(doctor):
    report = doctor.report("rate", net=Plain(), rate=1e-5)
    assert [f.severity for f in report.findings] == ["warn"], report.findings
    assert report.figures["rate"]["suggested"] > 100 * 1e-5


def test_a_network_that_cannot_see_the_image_learns_no_eight_samples(doctor, monkeypatch):
    monkeypatch.setattr("seg.doctor.checks.overfit.STEPS", 60)

    class Blind(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.zeros_like(x))

    finding = doctor.only("overfit", net=Blind(), rate=0.03)
    assert finding.severity == "fail"


@pytest.mark.slow
def test_the_eight_samples_are_not_mixed(doctor):
    class Refusing(CutMix):
        def mix(self, *args):
            raise AssertionError("mixed")

    assert doctor.only("overfit", mixing=Refusing(), seconds=1.0).severity in ("pass", "skip")
    assert doctor.only("permuted", mixing=Refusing(), seconds=1.0).severity == "fail"


def test_evaluation_that_differs_from_training_is_told_apart(doctor):
    def stale(task: SegmentationTask) -> None:
        for module in task.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0

    finding = doctor.only("overfit", change=stale)
    assert finding.severity == "fail"
    assert "in training mode" in finding.text


def test_what_is_cut_short_is_never_passed(doctor):
    found = doctor.findings("rate", "overfit", "permuted", seconds=0.5)
    assert {f.severity for f in found} == {"skip"}, found
    assert all("--seconds" in f.cure for f in found)


class Leaky(Reader):
    """Draw each mask into its image, as an image that is cut out along its mask has it."""

    def both(self, pair, labels):
        image, mask = super().both(pair, labels)
        return np.where(mask[..., None] == 0, 0, image).astype(np.uint8), mask


class Two(nn.Sequential):
    """A network of two classes that sees 5 pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 1))


def test_labels_that_leak_into_the_images_are_foretold_when_shuffled(doctor, shapes, tmp_path):
    # two classes of half the pixels each: shuffled, nothing but a leak tells them apart
    root = tmp_path / "halves"
    halves(root)
    options = {"classes": ["left", "right"], "colors": None, "augment": []}
    clean = data_of(root, **options)
    assert doctor.only("permuted", data=clean, net=Two()).severity == "pass"
    data = data_of(root, **options)
    data.reader = Leaky
    finding = doctor.only("permuted", data=data, net=Two())
    assert finding.severity == "fail"
    assert "leak" in finding.text


def halves(root) -> None:
    """Draw a tree of grey noise whose left half is one class, the right half the other."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "SegmentationClass").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        names = [f"{split}_{number}" for number in range(count)]
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            Image.fromarray(rng.integers(90, 160, (64, 64, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.jpg")
            mask = np.zeros((64, 64), np.uint8)
            mask[:, int(rng.integers(28, 36)) :] = 1
            write_indexed(root / f"SegmentationClass/{name}.png", mask, np.zeros((256, 3), np.uint8))


# -- augmentation -----------------------------------------------------------------------------------------------------


def test_masks_that_are_resized_bilinearly_are_found(doctor, shapes, monkeypatch):
    def bilinear(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR)

    data = data_of(shapes, resize=(80, 80))
    assert doctor.only("augmentation", data=data).severity == "pass"
    monkeypatch.setattr("seg.data.dataset.resize_mask", bilinear)
    finding = doctor.only("augmentation", data=data_of(shapes, resize=(80, 80)))
    assert finding.severity == "fail"
    assert "were not there before" in finding.text


class FlipsTheImageAlone(A.HorizontalFlip):
    """A flip that forgets the mask."""

    def apply_to_mask(self, mask: np.ndarray, **params: object) -> np.ndarray:
        return mask


def test_an_augmentation_that_forgets_the_mask_is_found(doctor, shapes):
    finding = doctor.only("augmentation", data=data_of(shapes, augment=[FlipsTheImageAlone(p=1.0)]))
    assert finding.severity == "fail"
    assert "not moved together" in finding.text


@pytest.mark.parametrize("preset", ["light", "standard", "strong"])
def test_no_shipped_augmentation_raises_a_false_alarm(doctor, shapes, preset):
    assert doctor.only("augmentation", data=data_of(shapes, augment=preset)).severity == "pass"


def test_masks_that_are_not_resized_with_their_images_agree_too(doctor, shapes):
    data = data_of(shapes, resize=(56, 56), resize_masks=False, augment=[A.HorizontalFlip(p=0.5)])
    assert doctor.only("augmentation", data=data).severity == "pass"


# -- schedule, speed, memory ------------------------------------------------------------------------------------------


def test_the_schedule_is_that_of_the_run_and_ends_where_it_says(doctor):
    from seg.schedules import Poly

    report = doctor.report("schedule", rate=0.1, schedule=Poly(1.0, warmup=4, end=0.1), trainer={"max_steps": 11})
    assert report.figures["schedule"] == {
        "steps": 11,
        "first": pytest.approx(0.025),
        "highest": pytest.approx(0.1, rel=0.05),
        "last": pytest.approx(0.01),
    }
    assert report.findings[0].severity == "pass"


def test_the_schedule_of_a_run_that_time_limits_is_followed_over_its_time(doctor):
    from seg.schedules import Cosine

    limits = {"max_time": "00:01:00:00", "max_epochs": -1}
    report = doctor.report("schedule", rate=0.1, schedule=Cosine(end=0.2), trainer=limits)
    figures = report.figures["schedule"]
    assert (figures["steps"], figures["first"]) == (None, pytest.approx(0.1))
    assert figures["last"] == pytest.approx(0.02)


def test_a_warm_up_that_outlasts_the_run_is_warned_of(doctor):
    from seg.schedules import Constant

    finding = doctor.only("schedule", schedule=Constant(warmup=1000))
    assert finding.severity == "warn"
    assert "warm-up" in finding.cure


class Slow(Reader):
    def image(self, pair):
        time.sleep(0.05)
        return super().image(pair)


def test_a_slow_loader_is_told(doctor, shapes):
    data = data_of(shapes, augment=[A.CenterCrop(32, 32)])
    data.reader = Slow
    finding = doctor.only("loader", data=data, net=Plain())
    assert finding.severity == "warn"
    assert "the network waits" in finding.text
    assert "num_workers" in finding.cure


def test_a_batch_that_does_not_fit_is_told(doctor, monkeypatch):
    assert doctor.only("memory").severity == "pass"
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: 2**20)
    report = doctor.report("memory")
    assert report.findings[0].severity == "fail"
    assert "estimated" in report.findings[0].text
    monkeypatch.setattr("seg.doctor.checks.memory.free_bytes", lambda: None)
    assert doctor.only("memory").severity == "skip"


@pytest.mark.parametrize(
    ("tries", "severity", "said"),
    [(99, "pass", "a step of 5 fits"), (2, "skip", "a step of 2 fits, and there was no time for more")],
)
def test_on_a_gpu_mixed_batches_are_tried_and_too_little_time_is_no_failure(doctor, monkeypatch, tries, severity, said):
    class Small(Training):
        def step(self, batch, factor=1.0):
            if len(batch["image"]) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().step(batch, factor)

    def on_gpu(setup):
        setup.on_device, left = lambda batch: batch, iter([1.0] * tries)
        with monkeypatch.context() as patch:
            patch.setattr(type(setup.trainer.strategy), "root_device", property(lambda _: torch.device("cuda")))
            patch.setattr(Clock, "left", property(lambda _: next(left, 0.0)))
            patch.setattr("seg.doctor.checks.memory.Training", Small)
            yield from memory(setup)

    monkeypatch.setitem(CHECKS, "memory", ("", on_gpu))
    found = doctor.only("memory", mixing=CutMix())
    assert (found.severity, said in found.text) == (severity, True), found


def test_the_largest_size_is_found_by_doubling_and_halving():
    from seg.doctor.checks.memory import LARGEST, largest_that

    for limit in (0, 1, 2, 3, 7, 24, 100, LARGEST - 1, LARGEST):
        tried: list[int] = []
        assert largest_that(lambda size, limit=limit, tried=tried: tried.append(size) or size <= limit) == limit
        assert len(tried) <= 22
        assert len(set(tried)) == len(tried)
    assert largest_that(lambda size: True, lambda: False) == 0


def test_missing_weights_are_told_and_frozen_norms_then_forgiven(doctor):
    found = doctor.findings("norms", net=Plain(norm=True), change=frozen, missing_weights="weights: no connection")
    assert [(f.check, f.severity) for f in found] == [("weights", "warn"), ("norms", "pass")]


def test_the_samples_are_shuffled_in_blocks_and_nothing_is_lost():
    from seg.doctor.checks.overfit import shuffled

    mask = np.random.default_rng(0).integers(0, 5, (18, 23), dtype=np.uint8)
    other = shuffled(mask, 4, np.random.default_rng(1))
    assert np.array_equal(np.bincount(mask.ravel()), np.bincount(other.ravel()))
    assert not np.array_equal(mask, other)
    assert np.array_equal(mask[16:], other[16:])
    assert np.array_equal(mask[:, 20:], other[:, 20:])


def test_outlines_finer_than_the_networks_cells_are_left_out_and_rare_classes_too():
    from seg.doctor.samples import outlines_ignored

    mask = np.zeros((1, 64, 64), np.uint8)
    mask[:, :, 32:] = 1
    mask[0, 0, 0] = 2
    assert sorted(np.unique(outlines_ignored(mask, 1, 255))) == [0, 1, 255]
    drawn = outlines_ignored(mask, 8, 255)
    assert (drawn[0, 20] == 255).sum() == 8
    assert (drawn[0, 20, :28] == 0).all()


def test_the_cell_of_a_network_is_known(doctor):
    for name, cell in {"unet": 1, "segnet": 1, "fcn": 8, "largefov": 8, "deeplabv3": 16, "deeplabv3plus": 4}.items():
        net = NETWORKS[name](num_classes=NUMBER)
        assert doctor.report("objects", net=net).figures["objects"]["cell"] == cell, name
