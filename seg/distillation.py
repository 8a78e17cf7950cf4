"""Knowledge distillation: a student learns from the masks, and from what a trained network makes of the same images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from seg.models.weights import weights_wanted
from seg.pixel_mean import denominator

if TYPE_CHECKING:
    from seg.task import SegmentationTask


class Distillation:
    """Add the divergence from a teacher's softened probabilities to the loss of the masks.

    loss = (1 − weight) · loss of the masks + weight · T² · KL(teacher ‖ student), both softened by the temperature T;
    the mean is over the pixels that are not ignored, of all processes (see `seg.pixel_mean`). The teacher sees the
    pixels that the student sees, mixed ones too, with its own normalisation, and brought to its own scale where both
    were trained with a `resize`. It is never trained and is no part of the student's checkpoint: only fit needs its
    file.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.

    Args:
        teacher: checkpoint of a run of seg with the same classes.
        temperature: T, by which logits are divided; larger ones tell more of the less likely classes.
        weight: share of the divergence in the loss, 0 to 1.

    Raises:
        ValueError: a temperature of 0 or less, a weight outside 0..1.
        FileNotFoundError: no such checkpoint.

    """

    def __init__(self, teacher: str, temperature: float = 2.0, weight: float = 0.5) -> None:
        if not temperature > 0:
            raise ValueError(f"model.distillation.temperature: {temperature}, but a number above 0 is expected")
        if not 0 <= weight <= 1:
            raise ValueError(f"model.distillation.weight: {weight} is no share, 0 to 1")
        if weights_wanted():  # a student's checkpoint does without
            check_there(teacher)
        self.path, self.temperature, self.weight = teacher, temperature, weight
        # a plain attribute of a plain object: no optimiser, checkpoint or copy of the student finds it
        self.teacher: SegmentationTask | None = None
        self.factors: tuple[float, float] = (1.0, 1.0)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Distillation":
        """Return itself: averaged copies of a student share its teacher."""
        return self

    def prepare(self, student: "SegmentationTask") -> None:
        """Read the teacher, check that it fits, and bring it to the student's device.

        Raises:
            FileNotFoundError: no such checkpoint.
            ValueError: no checkpoint of seg, other classes, other channels.

        """
        from seg.loading import load_task

        check_there(self.path)
        teacher = load_task(Path(self.path), device="cpu")
        where = f"model.distillation.teacher: {self.path}"
        if teacher.class_names != student.class_names:
            missing = [name for name in student.class_names if name not in teacher.class_names]
            detail = f"it does not know {', '.join(missing[:5])}" if missing else "in another order, or more of them"
            raise ValueError(
                f"{where} was trained on other classes than the data have ({detail}); "
                f"its are {', '.join(teacher.class_names[:8])}"
            )
        channels, own = len(teacher.pixels.mean.flatten()), len(student.pixels.mean.flatten())
        if channels != own:
            raise ValueError(f"{where} takes images of {channels} channels, the data have {own}")
        if teacher.resize and student.resize:
            height, width = (of / to for of, to in zip(teacher.resize, student.resize, strict=True))
            self.factors = (height, width)
        self.teacher = teacher.requires_grad_(False).eval().to(student.device)

    def add(self, loss: Tensor, logits: Tensor, batch: dict[str, Any], ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return the loss with its share of the divergence, and the divergence alone, detached.

        Args:
            loss: of the masks.
            logits: the student's (B, C, H, W), at the size of the masks.
            batch: image (B, N, h, w), mask (B, H, W), after MixUp other_mask and share.
            ignore_index: label of the pixels that are left out.

        """
        images, masks = batch["image"], [(batch["mask"], batch.get("share", 1.0))]
        if "other_mask" in batch:
            masks.append((batch["other_mask"], 1 - batch["share"]))
        taught = self.logits(images, (logits.shape[2], logits.shape[3]))
        with torch.autocast(logits.device.type, enabled=False):
            student = functional.log_softmax(logits.float() / self.temperature, dim=1)
            teacher = functional.log_softmax(taught.float() / self.temperature, dim=1)
            pixels = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        divergence = torch.zeros((), device=logits.device)
        for mask, share in masks:
            valid = mask != ignore_index
            divergence = divergence + share * (pixels * valid).sum() / denominator(valid.sum())
        divergence = divergence * self.temperature**2
        return (1 - self.weight) * loss + self.weight * divergence, divergence.detach()

    @torch.no_grad()
    def logits(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what the teacher makes of raw images (B, N, h, w): logits (B, C, *size)."""
        assert self.teacher is not None
        if self.factors != (1.0, 1.0):
            own = [max(32, round(side * factor)) for side, factor in zip(images.shape[-2:], self.factors, strict=True)]
            images = functional.interpolate(images.float(), own, mode="bilinear", align_corners=False, antialias=True)
        output: Tensor = self.teacher(images)
        return self.teacher.to_size(output, output.new_empty(1, *size))


def check_there(path: str) -> None:
    """Refuse a teacher that is not there.

    Raises:
        FileNotFoundError: no such file.

    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"model.distillation.teacher: there is no file {path}; give a best.ckpt of a run")
