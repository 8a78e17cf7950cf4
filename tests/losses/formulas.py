"""The losses' formulas, pixel by pixel, in numpy's float64."""

import numpy as np
from hypothesis import strategies as st

from tests.losses.every import CLASSES, WEIGHTS


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
