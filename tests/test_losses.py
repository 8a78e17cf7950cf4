"""Losses against their formulas in numpy float64, and what all of them promise."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seg.losses import CrossEntropy, Dice, Focal, Jaccard, Lovasz, Sum, Tversky, balance

WEIGHTS = [0.5, 2.0, 1.0, 0.0]
LOSSES = {
    "cross_entropy": lambda **o: CrossEntropy(**o),
    "cross_entropy_weighted": lambda **o: CrossEntropy(class_weights=WEIGHTS, **o),
    "cross_entropy_smooth": lambda **o: CrossEntropy(label_smoothing=0.2, class_weights=WEIGHTS, **o),
    "cross_entropy_hard": lambda **o: CrossEntropy(hard_below=0.4, min_hard=5, **o),
    "focal": lambda **o: Focal(**o),
    "focal_half": lambda **o: Focal(gamma=0.5, alpha=WEIGHTS, **o),
    "tversky": lambda **o: Tversky(0.3, 0.7, **o),
    "tversky_include_smooth": lambda **o: Tversky(0.3, 0.7, absent="include", smooth=1.0, **o),
    "dice": lambda **o: Dice(**o),
    "dice_per_image": lambda **o: Dice(per_image=True, **o),
    "jaccard": lambda **o: Jaccard(**o),
    "lovasz": lambda **o: Lovasz(**o),
    "lovasz_per_image": lambda **o: Lovasz(per_image=True, **o),
    "sum": lambda **o: Sum({"ce": CrossEntropy(), "dice": Dice()}, {"dice": 0.5}, **o),
}
losses = pytest.mark.parametrize("build", LOSSES.values(), ids=LOSSES)
CLASSES = 4


# ---- the formulas, pixel by pixel


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def pixels_of(logits, target, ignore=255):
    """Return probabilities (N, C) and labels (N,) of the valid pixels."""
    p = np.moveaxis(softmax(logits), 1, -1).reshape(-1, logits.shape[1])
    t = target.ravel()
    return p[t != ignore], t[t != ignore]


def cross_entropy_of(p, t, weights=None, smoothing=0.0):
    w = np.ones(p.shape[1]) if weights is None else np.array(weights)
    logp = np.log(p)
    per_pixel = -(1 - smoothing) * w[t] * logp[np.arange(len(t)), t] - smoothing / p.shape[1] * (logp * w).sum(1)
    return per_pixel.sum() / w[t].sum() if w[t].sum() > 0 else 0.0


def focal_of(p, t, gamma, weights=None):
    w = np.ones(p.shape[1]) if weights is None else np.array(weights)
    q = p[np.arange(len(t)), t]
    return (w[t] * (1 - q) ** gamma * -np.log(q)).sum() / w[t].sum() if w[t].sum() > 0 else 0.0


def tversky_of(p, t, alpha, beta, include=False, smooth=0.0):
    if len(t) == 0:
        return 0.0
    values = []
    for c in range(p.shape[1]):
        is_c = t == c
        if not is_c.any() and not include:
            continue
        tp, fp, fn = p[is_c, c].sum(), p[~is_c, c].sum(), (1 - p[is_c, c]).sum()
        values.append(1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth))
    return float(np.mean(values))


def lovasz_of(p, t):
    """The extension as a sum over level sets: the Jaccard loss of each set of the k largest errors."""
    values = []
    for c in np.unique(t):
        is_c = t == c
        errors = np.where(is_c, 1 - p[:, c], p[:, c])
        order = np.argsort(-errors, kind="stable")
        value, before = 0.0, 0.0
        for k in range(1, len(order) + 1):
            wrong = np.zeros(len(t), bool)
            wrong[order[:k]] = True
            predicted = is_c ^ wrong
            union = (predicted | is_c).sum()
            loss = 1 - (predicted & is_c).sum() / union
            value += errors[order[k - 1]] * (loss - before)
            before = loss
        values.append(value)
    return float(np.mean(values)) if values else 0.0


def by_image(formula, logits, target):
    parts = [pixels_of(logits[i : i + 1], target[i : i + 1]) for i in range(len(logits))]
    values = [formula(p, t) for p, t in parts if len(t)]
    return float(np.mean(values)) if values else 0.0


REFERENCES = {
    "cross_entropy": lambda x, t: cross_entropy_of(*pixels_of(x, t)) if (t != 255).any() else 0.0,
    "cross_entropy_weighted": lambda x, t: cross_entropy_of(*pixels_of(x, t), WEIGHTS),
    "focal": lambda x, t: focal_of(*pixels_of(x, t), 2.0),
    "focal_half": lambda x, t: focal_of(*pixels_of(x, t), 0.5, WEIGHTS),
    "tversky": lambda x, t: tversky_of(*pixels_of(x, t), 0.3, 0.7),
    "tversky_include_smooth": lambda x, t: tversky_of(*pixels_of(x, t), 0.3, 0.7, True, 1.0),
    "dice": lambda x, t: tversky_of(*pixels_of(x, t), 0.5, 0.5),
    "dice_per_image": lambda x, t: by_image(lambda p, labels: tversky_of(p, labels, 0.5, 0.5), x, t),
    "jaccard": lambda x, t: tversky_of(*pixels_of(x, t), 1, 1),
    "lovasz": lambda x, t: lovasz_of(*pixels_of(x, t)),
    "lovasz_per_image": lambda x, t: by_image(lovasz_of, x, t),
}


@st.composite
def batches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    used = rng.permutation(CLASSES)[: draw(st.integers(1, CLASSES))]
    target = rng.choice(used, shape)
    target[rng.random(shape) < draw(st.sampled_from([0.0, 0.4, 1.0]))] = 255
    logits = rng.normal(size=(shape[0], CLASSES, *shape[1:])) * draw(st.sampled_from([0.1, 1.0, 5.0]))
    return logits, target


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


@settings(max_examples=40, deadline=None)
@given(batches(), st.floats(0, 0.9))
def test_label_smoothing_equals_its_formula_when_classes_are_not_weighted(batch, smoothing):
    logits, target = batch
    expected = cross_entropy_of(*pixels_of(logits, target), None, smoothing) if (target != 255).any() else 0.0
    value = CrossEntropy(label_smoothing=smoothing)(torch.from_numpy(logits), torch.from_numpy(target))
    np.testing.assert_allclose(float(value), expected, rtol=1e-9, atol=1e-12)


def make_batch(seed=0, dtype=torch.float64, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 6, generator=generator, dtype=dtype)
    target = torch.randint(0, classes, (2, 5, 6), generator=generator)
    target[:, :, 4:] = 255
    return logits.requires_grad_(), target


# ---- what all of them promise


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


# ---- each on its own


def test_plain_cross_entropy_is_torchs_own():
    logits, target = make_batch(dtype=torch.float32)
    torch.testing.assert_close(CrossEntropy()(logits, target), F.cross_entropy(logits, target, ignore_index=255))
    weighted = F.cross_entropy(logits, target, torch.tensor(WEIGHTS), ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropy(WEIGHTS, label_smoothing=0.1)(logits, target), weighted)


def test_focal_without_gamma_is_cross_entropy():
    logits, target = make_batch()
    torch.testing.assert_close(Focal(0.0)(logits, target), CrossEntropy()(logits, target))
    torch.testing.assert_close(Focal(0.0, WEIGHTS)(logits, target), CrossEntropy(WEIGHTS)(logits, target))


def test_tversky_contains_dice_and_jaccard():
    logits, target = make_batch()
    torch.testing.assert_close(Tversky(0.5, 0.5)(logits, target), Dice()(logits, target))
    torch.testing.assert_close(Tversky(1, 1)(logits, target), Jaccard()(logits, target))


def test_dice_and_jaccard_by_hand():
    # Two pixels, two classes, probabilities ¾ and ¼ for the right and the wrong class of each.
    logits = torch.tensor([[[[0.75, 0.25]], [[0.25, 0.75]]]]).log()
    target = torch.tensor([[[0, 1]]])
    assert float(Dice()(logits, target)) == pytest.approx(1 - 2 * 0.75 / (1 + 1))
    assert float(Jaccard()(logits, target)) == pytest.approx(1 - 0.75 / (2 - 0.75))
    assert float(Lovasz()(logits, target)) == pytest.approx(0.25)


def test_losses_agree_with_segmentation_models_pytorch_where_it_is_right():
    import segmentation_models_pytorch as smp

    logits, target = make_batch()
    everywhere = target.clamp(max=CLASSES - 1)
    for ours, peer in (
        (Dice(), smp.losses.DiceLoss("multiclass", eps=1e-12, ignore_index=255)),
        (Jaccard(), smp.losses.JaccardLoss("multiclass", eps=1e-12)),
        (Tversky(0.2, 0.8), smp.losses.TverskyLoss("multiclass", alpha=0.2, beta=0.8, eps=1e-12)),
        (Lovasz(), smp.losses.LovaszLoss("multiclass", ignore_index=255)),
    ):
        torch.testing.assert_close(ours(logits.float(), everywhere), peer(logits.float(), everywhere))
    dice, lovasz = (loss("multiclass", ignore_index=255) for loss in (smp.losses.DiceLoss, smp.losses.LovaszLoss))
    torch.testing.assert_close(Dice()(logits.float(), target), dice(logits.float(), target))
    torch.testing.assert_close(Lovasz()(logits.float(), target), lovasz(logits.float(), target))
    # Not right: an absent class counts as a Dice loss of 0, so that with few classes there is little to learn.
    two = torch.where(target < 2, target, 255)
    torch.testing.assert_close(dice(logits, two), Dice()(logits, two) * 2 / CLASSES)


def test_losses_agree_with_monai_where_it_is_right():
    monai = pytest.importorskip("monai.losses")
    logits, target = make_batch()
    everywhere = target.clamp(max=CLASSES - 1)
    settings = {"to_onehot_y": True, "softmax": True, "batch": True, "smooth_nr": 0.0, "smooth_dr": 1e-12}
    for ours, peer in (
        (Dice(), monai.DiceLoss(**settings)),
        (Jaccard(), monai.DiceLoss(jaccard=True, **settings)),
        (Tversky(0.2, 0.8), monai.TverskyLoss(alpha=0.2, beta=0.8, **settings)),
    ):
        torch.testing.assert_close(ours(logits.float(), everywhere), peer(logits.float(), everywhere.unsqueeze(1)))
    # Right but for a factor: its focal loss is a mean over pixels and classes, though one class a pixel has a term.
    # Not right, and so not compared: no label is ignored.
    peer = monai.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)
    value = CLASSES * peer(logits.float(), everywhere.unsqueeze(1))
    torch.testing.assert_close(Focal(2.0)(logits.float(), everywhere), value)


def test_torchs_own_cross_entropy_is_nan_where_all_is_ignored_and_ours_is_not():
    logits, target = make_batch()
    nothing = torch.full_like(target, 255)
    assert F.cross_entropy(logits, nothing, ignore_index=255).isnan()
    for loss in (CrossEntropy(), CrossEntropy(WEIGHTS, label_smoothing=0.1), CrossEntropy(hard_below=0.7), Focal()):
        assert loss(logits, nothing) == 0


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


def test_an_absent_class_counts_as_asked():
    logits, target = make_batch()
    target = torch.where(target == 3, 0, target)
    skipped = Dice()(logits, target)
    included = Dice(absent="include")(logits, target)
    torch.testing.assert_close(included, skipped * 3 / 4 + 1 / 4)
    gradient = torch.autograd.grad(Dice(absent="include", smooth=1.0)(logits, target), logits)[0]
    assert (gradient[:, 3, :, :4] > 0).all()  # a step downhill predicts the absent class less


def test_a_perfect_prediction_has_no_region_loss():
    target = torch.randint(0, CLASSES, (2, 6, 6))
    logits = F.one_hot(target, CLASSES).movedim(-1, 1) * 1e4
    for loss in (Dice(), Jaccard(), Tversky(), Lovasz(), Dice(absent="include"), Dice(per_image=True)):
        assert float(loss(logits, target)) == pytest.approx(0, abs=1e-6)


def test_hard_example_mining_keeps_what_is_below_the_threshold_and_never_too_little():
    logits, target = make_batch()
    p, t = pixels_of(logits.detach().numpy(), target.numpy())
    true = np.sort(p[np.arange(len(t)), t])
    expected = -np.log(true[true < 0.3]).mean()
    assert float(CrossEntropy(hard_below=0.3, min_hard=1)(logits, target)) == pytest.approx(expected)
    expected = -np.log(true[:10]).mean()  # 5 of each of 2 images
    assert float(CrossEntropy(hard_below=1e-6, min_hard=5)(logits, target)) == pytest.approx(expected)
    assert float(CrossEntropy(hard_below=1e-6, min_hard=999)(logits, target)) == pytest.approx(-np.log(true).mean())


def test_large_images_keep_float32_precision():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 2048, 2048, generator=generator)
    target = torch.randint(0, 2, (1, 2048, 2048), generator=generator)
    for loss in (Dice(), CrossEntropy(), Focal()):
        assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), rel=1e-5)


def test_the_sum_adds_weighted_terms_and_remembers_each_by_name():
    logits, target = make_batch()
    loss = Sum({"ce": CrossEntropy(), "dice": Dice()}, {"dice": 0.5})
    value = loss(logits, target)
    ce, dice = CrossEntropy()(logits, target), Dice()(logits, target)
    torch.testing.assert_close(value, ce + 0.5 * dice)
    assert {name: float(term) for name, term in loss.last_terms.items()} == {"ce": float(ce), "dice": float(dice)}
    assert not any(term.requires_grad for term in loss.last_terms.values())
    assert Sum({"a": Dice()}, ignore_index=7).terms["a"].ignore_index == 7


# ---- class weights


def test_median_frequency_divides_by_the_pixels_of_images_that_contain_the_class():
    pixels = torch.tensor([600, 300, 100])
    images = torch.tensor([1000, 1000, 500])
    expected = 0.3 / np.array([0.6, 0.3, 0.2])
    np.testing.assert_allclose(balance(pixels, images, "median_frequency"), expected, rtol=1e-6)
    assert torch.equal(balance(pixels, images, "auto"), balance(pixels, images, "median_frequency"))


@pytest.mark.skipif("SEG_SHARED_DATA" not in os.environ, reason="needs CamVid, below the folder SEG_SHARED_DATA")
def test_median_frequency_balancing_of_camvid_gives_the_published_weights():
    from seg.data import CamVid
    from seg.data.images import Labels, read_mask

    data = CamVid(os.path.join(os.environ["SEG_SHARED_DATA"], "CamVid"))
    pixels, images, labels = np.zeros(256, np.int64), np.zeros(256, np.int64), Labels(11, {11: 255})
    for pair in data.pairs("train"):
        counts = np.bincount(labels.apply(read_mask(pair.mask), pair.mask).ravel(), minlength=256)
        pixels, images = pixels + counts, images + (counts > 0) * counts.sum()
    weights = balance(torch.from_numpy(pixels[:11]), torch.from_numpy(images[:11]), "auto")
    expected = [0.279, 0.202, 4.79, 0.149, 1.00, 0.422, 3.85, 1.97, 0.789, 6.37, 8.86]
    assert [float(f"{weight:.3g}") for weight in weights.tolist()] == expected


def test_the_other_balances_equal_their_formulas():
    pixels = np.array([600.0, 300.0, 100.0])
    counts = torch.tensor([600, 300, 100])
    np.testing.assert_allclose(balance(counts, counts, "enet"), 1 / np.log(1.02 + pixels / 1000), rtol=1e-6)
    root = pixels**-0.5
    np.testing.assert_allclose(balance(counts, counts, "inverse_square_root"), root / root.mean(), rtol=1e-6)
    b = 1 - 1 / (1000 / 3)
    effective = (1 - b) / (1 - b**pixels)
    np.testing.assert_allclose(balance(counts, counts, "effective_number"), effective / effective.mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["auto", "median_frequency", "inverse_square_root", "effective_number", "enet"])
def test_balancing_favours_rare_classes_and_leaves_absent_ones_at_one(name):
    weights = balance(torch.tensor([10**8, 10**6, 0, 100]), torch.tensor([10**8, 10**8, 0, 10**7]), name)
    assert weights[0] < weights[1] < weights[3] < torch.inf
    assert weights[2] == 1


@pytest.mark.parametrize(
    "build", [lambda: CrossEntropy("auto"), lambda: Sum({"ce": CrossEntropy("enet"), "d": Dice()})]
)
def test_computed_weights_travel_with_the_checkpoint(build, tmp_path):
    logits, target = make_batch()
    fitted, loaded = build(), build()
    assert fitted.needs_pixel_counts
    with pytest.raises(ValueError, match="computed from the training split at the start of a fit"):
        fitted(logits, target)
    fitted.set_pixel_counts(torch.tensor([60, 20, 15, 5]), torch.full((4,), 100))
    assert not fitted.needs_pixel_counts
    torch.save(fitted.state_dict(), tmp_path / "loss.pth")
    loaded.load_state_dict(torch.load(tmp_path / "loss.pth", weights_only=True))
    assert not loaded.needs_pixel_counts
    assert torch.equal(loaded(logits, target), fitted(logits, target))


def test_weights_that_cannot_be_are_refused():
    logits, target = make_batch()
    with pytest.raises(ValueError, match="class_weights: 3 weights for 4 classes"):
        CrossEntropy([1.0, 2.0, 3.0])(logits, target)
    with pytest.raises(ValueError, match="alpha: 3 weights for 4 classes"):
        Focal(alpha=[1.0, 2.0, 3.0])(logits, target)
    with pytest.raises(ValueError, match="class_weights: 'balanced' is none of auto, median_frequency"):
        CrossEntropy("balanced")
    with pytest.raises(ValueError, match=r"class_weights: \[1.0, -2.0\]"):
        CrossEntropy([1.0, -2.0])
    with pytest.raises(ValueError, match=r"alpha: 0.25, but every class needs its own weight"):
        Focal(alpha=0.25)
    with pytest.raises(ValueError, match="no class has a pixel"):
        balance(torch.zeros(3), torch.zeros(3), "auto")


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
