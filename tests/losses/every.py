"""Every loss in several settings, and a batch to try them on."""

import pytest
import torch

from seg.losses import CrossEntropy, Dice, Focal, Jaccard, Lovasz, Sum, Tversky

WEIGHTS = [0.5, 2.0, 1.0, 0.0]
CLASSES = 4
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


def make_batch(seed=0, dtype=torch.float64, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 6, generator=generator, dtype=dtype)
    target = torch.randint(0, classes, (2, 5, 6), generator=generator)
    target[:, :, 4:] = 255
    return logits.requires_grad_(), target
