"""What all losses promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

from seg.losses import CrossEntropy, Dice, Focal, Lovasz, Sum, Tversky
from tests.losses.every import CLASSES, LOSSES, losses, make_batch
from tests.losses.formulas import REFERENCES, batches


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=40, deadline=None)
@given(batches())
def test_each_loss_equals_its_formula(name, batch):
    logits, target = batch
    expected = REFERENCES[name](logits, target)
    x, t = torch.from_numpy(logits), torch.from_numpy(target)
    np.testing.assert_allclose(float(LOSSES[name]()(x, t)), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(float(LOSSES[name]()(x.float(), t.to(torch.uint8))), expected, rtol=1e-4, atol=1e-5)
    for dtype in (torch.float16, torch.bfloat16):  # rounded once, where they came from, and never again
        rounded = x.to(dtype)
        assert torch.equal(LOSSES[name]()(rounded, t), LOSSES[name]()(rounded.float(), t))


@losses
def test_gradients_agree_with_finite_differences(build):
    logits, target = make_batch()
    assert torch.autograd.gradcheck(lambda x: build()(x, target), (logits,))


@losses
def test_ignored_pixels_change_nothing_and_get_a_gradient_of_exactly_zero(build):
    logits, target = make_batch()
    loss = build()(logits, target)
    cropped = logits.detach()[..., :4].clone().requires_grad_()
    expected = build()(cropped, target[..., :4])
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    loss.backward()
    expected.backward()
    assert (logits.grad[..., 4:] == 0).all()
    torch.testing.assert_close(logits.grad[..., :4], cropped.grad, rtol=1e-12, atol=1e-14)

    other = build(ignore_index=-100)(logits.detach(), torch.where(target == 255, -100, target))
    assert torch.equal(other, loss)


@losses
def test_a_batch_of_ignored_pixels_gives_zero_that_is_attached_to_the_graph(build):
    logits, target = make_batch()
    loss = build()(logits, torch.full_like(target, 255))
    assert float(loss) == 0
    loss.backward()
    assert (logits.grad == 0).all()


@losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [1e4, -1e4, 0.0])
def test_values_and_gradients_are_finite_for_extreme_logits(build, dtype, scale):
    target = torch.randint(0, CLASSES, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    for logits in (torch.full((2, CLASSES, 8, 8), scale), F.one_hot(target, CLASSES).movedim(-1, 1) * scale):
        logits = logits.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = build()(logits, target)
        assert loss.dtype is torch.float32
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


@losses
def test_channels_last_and_uint8_labels_and_deterministic_algorithms_change_nothing(build):
    logits, target = make_batch(dtype=torch.float32)
    expected = build()(logits, target)
    torch.use_deterministic_algorithms(True)
    try:
        other = logits.detach().to(memory_format=torch.channels_last).requires_grad_()
        loss = build()(other, target.to(torch.uint8))
        loss.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(other.grad, logits.grad)


@losses
def test_input_that_does_not_fit_is_refused(build):
    logits, target = make_batch()
    with pytest.raises(ValueError, match=r"target: size \(2, 4, 6\).*\(2, 5, 6\)"):
        build()(logits, target[:, :4])
    with pytest.raises(ValueError, match=r"target: type torch\.float32"):
        build()(logits, target.float())
    target[0, 0, :2] = torch.tensor([37, -1])
    with pytest.raises(ValueError, match=r"target: label -1, 37 where there are 4 classes; labels are 0\.\.3 or 255"):
        build()(logits, target)
    with pytest.raises(ValueError, match="logits"):
        build()(target, target)


@losses
def test_a_compiled_loss_equals_the_eager_one(build):
    logits, target = make_batch(dtype=torch.float32)
    expected = build()(logits, target)
    torch._dynamo.reset()  # every test compiles the same forward anew
    compiled = torch.compile(build(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), expected)


@pytest.mark.slow
@losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_images_with_extreme_logits_stay_finite(build, dtype):
    target = torch.randint(0, CLASSES, (1, 2048, 2048), generator=torch.Generator().manual_seed(0))
    target[:, :64] = 255
    logits = (
        (F.one_hot((target.clamp(max=3) + 1) % CLASSES, CLASSES).movedim(-1, 1) * 2e4 - 1e4).to(dtype).requires_grad_()
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build()(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, :, :64] == 0).all()


def test_large_images_keep_float32_precision():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 2048, 2048, generator=generator)
    target = torch.randint(0, 2, (1, 2048, 2048), generator=generator)
    for loss in (Dice(), CrossEntropy(), Focal()):
        assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=-0.1), r"label_smoothing: -0\.1"),
        (lambda: CrossEntropy(hard_below=1.5), r"hard_below: 1\.5"),
        (lambda: CrossEntropy(hard_below=0.5, min_hard=0), "min_hard: 0"),
        (lambda: Focal(-1.0), r"gamma: -1\.0"),
        (lambda: Tversky(-1.0, 1.0), r"alpha, beta: -1\.0, 1\.0"),
        (lambda: Tversky(0.0, 0.0), "not both 0"),
        (lambda: Dice(absent="zero"), "absent: 'zero'"),
        (lambda: Lovasz(absent="zero"), "absent: 'zero'"),
        (lambda: Dice(smooth=-1.0), r"smooth: -1\.0"),
        (lambda: Sum({}), "terms: none given"),
        (lambda: Sum({"ce": CrossEntropy()}, {"dice": 1.0}), "weights: dice is no term; the terms are ce"),
        (lambda: Sum({"ce": CrossEntropy()}, {"ce": -1.0}), r"weights: ce -1\.0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_every_loss_can_be_written_in_yaml():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss", type=torch.nn.Module)
    terms = {
        "ce": {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto", "label_smoothing": 0.1}},
        "focal": {"class_path": "seg.losses.Focal", "init_args": {"alpha": [1, 2.5]}},
        "tversky": {"class_path": "seg.losses.Tversky", "init_args": {"alpha": 0.2, "beta": 0.8, "absent": "include"}},
        "lovasz": {"class_path": "seg.losses.Lovasz"},
    }
    config = {"class_path": "seg.losses.Sum", "init_args": {"terms": terms, "weights": {"focal": 2}}}
    loss = parser.instantiate(parser.parse_object({"loss": config})).loss
    assert isinstance(loss, Sum)
    assert [type(term).__name__ for term in loss.terms.values()] == ["CrossEntropy", "Focal", "Tversky", "Lovasz"]
    assert loss.weights == {"ce": 1.0, "focal": 2.0, "tversky": 1.0, "lovasz": 1.0}
