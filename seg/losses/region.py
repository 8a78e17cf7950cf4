"""Losses of whole regions, from soft counts of true and false positives: Tversky, Dice and Jaccard."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seg import apple
from seg.losses.base import Loss


class Tversky(Loss):
    """Average 1 − TP / (TP + alpha · FP + beta · FN) over classes, with probabilities as soft counts.

    Salehi et al. 2017. alpha = beta = ½ is Dice, alpha = beta = 1 is Jaccard; beta > alpha favours recall. Absent
    classes are left out of the mean, where smp counts them as a loss of 0.

    Args:
        alpha: weight of false positives, ≥ 0.
        beta: weight of false negatives, ≥ 0; not both 0.
        absent: skip leaves out classes that no valid pixel of the truth has; include counts them, where with
            smooth = 0 they add a constant 1 without gradient, and with smooth > 0 they push predictions of them down.
        per_image: false counts over the whole batch, true averages the losses of its images.
        smooth: added to numerator and denominator, in pixels.
        ignore_index: the label of pixels that add neither loss nor gradient.

    Raises:
        ValueError: an argument outside these ranges.

    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        absent: Literal["skip", "include"] = "skip",
        per_image: bool = False,
        smooth: float = 0.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(ignore_index)
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0):
            raise ValueError(f"alpha, beta: {alpha}, {beta}, but both are ≥ 0 and not both 0")
        if absent not in ("skip", "include"):
            raise ValueError(f"absent: '{absent}' is neither skip nor include")
        if not smooth >= 0:
            raise ValueError(f"smooth: {smooth}, but 0 or more is expected")
        self.alpha = alpha
        self.beta = beta
        self.absent = absent
        self.per_image = per_image
        self.smooth = smooth

    def compute(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of checked float32 or float64 logits and int64 labels."""
        correct, predicted, truth = soft_counts(logits, target, self.ignore_index)  # (B, C) each
        if not self.per_image:
            correct, predicted, truth = (count.sum(0, keepdim=True) for count in (correct, predicted, truth))
        whole = correct + self.alpha * (predicted - correct) + self.beta * (truth - correct)
        # A class without truth and without a trace of prediction is predicted perfectly: 0 / 0 counts as 1.
        empty = whole + self.smooth <= 0
        index = torch.where(empty, 1.0, (correct + self.smooth) / torch.where(empty, 1.0, whole + self.smooth))
        return mean_of_classes(1 - index, truth, self.absent)


class Dice(Tversky):
    """Average 1 − 2 · TP / (2 · TP + FP + FN) over classes, with probabilities as soft counts (Milletari et al. 2016).

    Args:
        absent: as in Tversky: skip or include classes that no valid pixel of the truth has.
        per_image: false counts over the whole batch, true averages the losses of its images.
        smooth: added to numerator and denominator of TP / (TP + ½ · FP + ½ · FN), in pixels.
        ignore_index: the label of pixels that add neither loss nor gradient.

    """

    def __init__(
        self,
        absent: Literal["skip", "include"] = "skip",
        per_image: bool = False,
        smooth: float = 0.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(0.5, 0.5, absent, per_image, smooth, ignore_index)


class Jaccard(Tversky):
    """Average 1 − TP / (TP + FP + FN), the soft IoU, over classes, with probabilities as soft counts.

    Args:
        absent: as in Tversky: skip or include classes that no valid pixel of the truth has.
        per_image: false counts over the whole batch, true averages the losses of its images.
        smooth: added to numerator and denominator, in pixels.
        ignore_index: the label of pixels that add neither loss nor gradient.

    """

    def __init__(
        self,
        absent: Literal["skip", "include"] = "skip",
        per_image: bool = False,
        smooth: float = 0.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(1.0, 1.0, absent, per_image, smooth, ignore_index)


def mean_of_classes(losses: Tensor, truth: Tensor, absent: str) -> Tensor:
    """Average losses (B or 1, C) over classes, then over the rows that have valid pixels.

    Args:
        losses: one a class.
        truth: (B or 1, C) pixels of each class in the truth.
        absent: skip or include classes without pixels.

    """
    counted = truth > 0
    if absent == "include":
        counted = counted.any(1, keepdim=True).expand_as(counted)
    counted = counted.to(losses.dtype)
    rows = (losses * counted).sum(1) / counted.sum(1).clamp(min=1)
    return rows.sum() / counted.amax(1).sum().clamp(min=1)


def soft_counts(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count with probabilities: what is right, what is predicted, and what is there, for each image and class.

    Args:
        logits: (B, C, H, W).
        target: int64 labels (B, H, W).
        ignore_index: the label of pixels that count nowhere.

    Returns:
        correct, predicted and truth, all (B, C), the type of the logits.

    """
    return _SoftCounts.apply(logits, target, ignore_index)  # type: ignore[no-any-return, no-untyped-call]


class _SoftCounts(torch.autograd.Function):
    """Count without a one-hot target, and differentiate in one buffer beside the probabilities.

    Left to autograd, the same sums keep four tensors of the logits' size alive; here it is two.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
        batch, classes = logits.shape[:2]
        valid = target != ignore_index
        labels = torch.where(valid, target, 0)
        probabilities = logits.softmax(1).mul_(valid.unsqueeze(1))  # ignored pixels are 0 from here on, gradients too

        # Millions of terms go into one sum each: float64, where the device has it, keeps all digits of float32.
        wide = apple.widest(logits.device)
        hits = probabilities.gather(1, labels.unsqueeze(1)).flatten(1).to(wide)
        correct, truth = (torch.zeros(batch, classes, dtype=wide, device=logits.device) for _ in range(2))
        correct.scatter_add_(1, labels.flatten(1), hits)
        truth.scatter_add_(1, labels.flatten(1), valid.flatten(1).to(wide))

        ctx.save_for_backward(probabilities, labels)
        correct, truth = correct.to(logits.dtype), truth.to(logits.dtype)
        ctx.mark_non_differentiable(truth)
        return correct, probabilities.sum((2, 3)), truth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_correct: Tensor, for_predicted: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        # With d = dL/dp, softmax passes p · (d − Σ p · d) on; d is `for_predicted`, plus `for_correct` at the label.
        probabilities, labels = ctx.saved_tensors
        classes = labels.unsqueeze(1)
        at_label = probabilities.gather(1, classes)
        at_label *= for_correct.gather(1, labels.flatten(1)).view_as(at_label)
        gradient = probabilities * for_predicted[:, :, None, None]
        inner = gradient.sum(1, keepdim=True).add_(at_label)
        gradient.addcmul_(probabilities, inner, value=-1).scatter_add_(1, classes, at_label)
        return gradient, None, None
