"""The task: a network, a loss, metrics and an optimiser, trained, validated and tested by one shared step."""

from collections.abc import Callable
from typing import Any, Self

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric

from seg import schedules
from seg.labels import largest_class
from seg.losses import CrossEntropy
from seg.metrics import SegmentationMetrics
from seg.models.blocks import without_weights

MetricCallable = Callable[[int], Metric]
"""Builds a metric for a number of classes; it takes `ignore_index` by name, and logits and target in `update`."""

FORMAT = 1
"""Version of what a checkpoint holds beside Lightning's own entries."""


class SegmentationTask(LightningModule):
    """Train, validate and test a segmentation network.

    Args:
        net: network from normalised images (B, N, H, W) to logits (B, C, H, W).
        loss: scalar from logits and target; cross-entropy where not given.
        optimizer: any optimiser class; AdamW with a rate of 0.001 where not given.
        schedule: learning rate over the run, per optimiser step; constant where not given.
        decay_norms: apply weight decay to norms and biases too, as older papers did.
        channels_last: keep the network and the images in the channels-last layout.
        class_names: names in the order of their index; the data module knows them.
        class_colors: one (red, green, blue) of 0..255 a class; the data module knows them.
        ignore_index: label that neither trains nor scores; the data module knows it.
        mean: mean of every channel in raw pixel values; the data module knows it.
        std: standard deviation of every channel in raw pixel values; the data module knows it.
        resize: (height, width) to which the data module brings images before the network sees them, if any.
        include_background: false leaves class 0 out of the scores; its pixels still count as the errors of others.
        extra_metrics: what validation and test measure beside the confusion matrix, such as seg.boundary.BoundaryIoU
            and seg.calibration.CalibrationError.

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        class_names: list[str],
        class_colors: list[list[int]],
        mean: list[float],
        std: list[float],
        ignore_index: int = 255,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable | None = None,
        schedule: schedules.Schedule | None = None,
        decay_norms: bool = False,
        channels_last: bool = True,
        resize: list[int] | None = None,
        include_background: bool = True,
        extra_metrics: list[MetricCallable] | None = None,
    ) -> None:
        super().__init__()
        # nothing ignored: this is what lets load_from_checkpoint(path) do without other arguments
        self.save_hyperparameters()
        self.class_names = class_names
        self.class_colors = class_colors
        self.ignore_index = ignore_index
        self.decay_norms = decay_norms
        self.channels_last = channels_last
        self.resize = resize
        self.net = net
        self.loss = loss if loss is not None else CrossEntropy()
        self.build_optimizer: OptimizerCallable = optimizer or default_optimizer
        self.schedule = schedule or schedules.Constant()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.val_metrics, self.test_metrics = (
            SegmentationMetrics(len(class_names), ignore_index, include_background) for _ in ("val", "test")
        )
        self.extra_metrics = nn.ModuleDict(
            {stage: self.build_metrics(extra_metrics or []) for stage in ("val", "test")}
        )
        self.results: dict[str, dict[str, Tensor]] = {}
        self.generators: dict[str, Tensor] | None = None
        self.trained_precision = "32-true"
        self._share_ignore_index()
        if channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _share_ignore_index(self) -> None:
        """Give the data's ignore index to every loss term, so that no loss and metric can disagree."""
        for module in self.loss.modules():
            if hasattr(module, "ignore_index"):
                setattr(module, "ignore_index", self.ignore_index)  # noqa: B010 (mypy takes it for a submodule)

    def build_metrics(self, builders: list[MetricCallable]) -> nn.ModuleList:
        """Return the metrics that are measured beside the confusion matrix, one set for a stage."""
        given: dict[str, Any] = {"ignore_index": self.ignore_index}
        return nn.ModuleList([build(len(self.class_names), **given) for build in builders])

    # -- images to logits ---------------------------------------------------------------------------------------------

    def normalize(self, images: Tensor) -> Tensor:
        """Return images (B, N, H, W) of raw pixel values as the network wants them: floats, normalised per channel."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, C, H, W) of images (B, N, H, W) given as raw pixel values."""
        output = self.net(self.normalize(images))
        logits: Tensor = output[0] if isinstance(output, tuple) else output
        return logits

    # -- the one step -------------------------------------------------------------------------------------------------

    def shared_step(self, batch: dict[str, Any], stage: str) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits (B, C, H, W) at the size of the mask; logs `<stage>/loss`."""
        target = batch["mask"]
        output = self.net(self.normalize(batch["image"]))
        outputs = [output[0], *output[1]] if isinstance(output, tuple) else [output]
        outputs = [self.to_size(logits, target) for logits in outputs]
        loss: Tensor = self.loss(outputs[0], target)
        training = stage == "train"
        logged: dict[str, Any] = {"on_step": training, "on_epoch": not training}
        logged |= {"batch_size": len(target), "sync_dist": True}
        self.log(f"{stage}/loss", loss, **logged)
        for name, term in getattr(self.loss, "last_terms", {}).items():
            self.log(f"{stage}/loss/{name}", term, **logged)
        return loss, outputs[0]

    @staticmethod
    def to_size(logits: Tensor, target: Tensor) -> Tensor:
        """Return logits (B, C, h, w) brought to the size of a target (B, H, W)."""
        if logits.shape[-2:] == target.shape[-2:]:
            return logits
        # in float32: exact under any autocast, and on a CPU a quarter faster than in bf16
        return functional.interpolate(logits.float(), target.shape[-2:], mode="bilinear", align_corners=False)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of one training batch."""
        return self.shared_step(batch, "train")[0]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Count one validation batch; returns its predicted labels (B, H, W) for the callbacks that draw them."""
        return self.evaluation_step(batch, "val", self.val_metrics)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Count one test batch; returns its predicted labels (B, H, W) for the callbacks that draw them."""
        return self.evaluation_step(batch, "test", self.test_metrics)

    def evaluation_step(self, batch: dict[str, Any], stage: str, metrics: SegmentationMetrics) -> Tensor:
        """Log the loss of a batch, add it to the metrics, return the predicted labels (B, H, W)."""
        _, logits = self.shared_step(batch, stage)
        labels = largest_class(logits)
        metrics.update(labels, batch["mask"])
        for metric in self.extra_of(stage):
            metric.update(logits, batch["mask"])
        return labels

    def extra_of(self, stage: str) -> list[Metric]:
        """Return the metrics that a stage measures beside the confusion matrix."""
        metrics: Any = self.extra_metrics[stage]
        return list(metrics)

    def on_validation_epoch_end(self) -> None:
        """Log what the metrics say of the whole validation set."""
        self.log_results("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log what the metrics say of the whole test set."""
        self.log_results("test", self.test_metrics)

    def log_results(self, stage: str, metrics: SegmentationMetrics) -> None:
        """Log the scores of a stage; those of absent classes stay out. Kept whole in `results[stage]`."""
        extra: dict[str, Tensor] = {}
        for metric in self.extra_of(stage):
            found = metric.compute()
            extra |= found if isinstance(found, dict) else {type(metric).__name__: found}
            metric.reset()
        result = {**extra, **metrics.compute()}
        metrics.reset()
        self.results[stage] = {name: value.detach().cpu() for name, value in result.items()}
        scalars = [name for name, value in extra.items() if value.ndim == 0]
        # summed over processes already, and so the same in each: sync_dist tells Lightning so, max keeps every bit
        same: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
        for name in ("miou", "pixel_accuracy", "mean_accuracy", "fw_iou", *scalars):
            self.log(f"{stage}/{name}", result[name].float(), prog_bar=name == "miou", **same)
        # reading the vector once: one value at a time would synchronise a GPU once a class
        for name, value in zip(self.class_names, self.results[stage]["iou"].tolist(), strict=True):
            if value == value:
                self.log(f"{stage}/iou/{name}", value, **same)

    # -- optimisation -------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule, stepped once per optimiser step."""
        optimizer = self.build_optimizer(self.parameter_groups())
        total = float(self.trainer.estimated_stepping_batches)
        scheduler = schedules.scheduler(optimizer, self.schedule, total, self.elapsed_share)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1},
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in groups: those of one dimension (norms, biases) are not decayed unless asked for."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if self.decay_norms:
            return [{"params": trainable}]
        vectors = [parameter for parameter in trainable if parameter.ndim <= 1]
        return [
            {"params": [parameter for parameter in trainable if parameter.ndim > 1]},
            {"params": vectors, "weight_decay": 0.0},
        ]

    def elapsed_share(self) -> float:
        """Return the share of `trainer.max_time` that has been trained, 0 where there is no such limit."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None:
                elapsed = callback.time_elapsed()
                share = elapsed / (elapsed + remaining) if elapsed + remaining > 0 else 1.0
                # one clock for all processes, or their learning rates would drift apart
                return float(self.trainer.strategy.broadcast(share))
        return 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the learning rate that the coming step is made with."""
        self.log("lr/net", self.trainer.optimizers[0].param_groups[0]["lr"], rank_zero_only=True)

    # -- what a checkpoint holds --------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what prediction and an exact resumption need: format, precision, state of the random generators."""
        generators = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        checkpoint["seg"] = {"format": FORMAT, "precision": str(self.trainer.precision), "generators": generators}

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **options: Any) -> Self:
        """Build the task of a checkpoint; nothing that its network was once initialised with is read or downloaded."""
        with without_weights():
            return super().load_from_checkpoint(*args, **options)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse checkpoints of other projects and of later formats; keep the random generators' state for fit."""
        held = checkpoint.get("seg")
        if held is None:
            raise ValueError("the checkpoint was not written by seg (it has no 'seg' entry); give a best.ckpt of a run")
        if held["format"] > FORMAT:
            raise ValueError(
                f"the checkpoint has format {held['format']}, this version of seg reads up to {FORMAT}; update seg"
            )
        self.generators = held["generators"]
        self.trained_precision = held["precision"]

    def on_fit_start(self) -> None:
        """Give the loss the pixel counts of the training split, where it weighs classes by them."""
        if not getattr(self.loss, "needs_pixel_counts", False):
            return
        pixels, image_pixels = (
            torch.tensor(counts, device=self.device)
            for counts in self.trainer.datamodule.pixel_counts()  # type: ignore[attr-defined]
        )
        self.loss.set_pixel_counts(pixels, image_pixels)  # type: ignore[operator]
        for name, weights in self.loss.named_buffers():
            if name.endswith("class_weights"):
                listed = zip(self.class_names, weights.tolist(), strict=True)
                rank_zero_print(f"{name}: " + ", ".join(f"{label} {weight:.3g}" for label, weight in listed))

    def on_train_start(self) -> None:
        """Put the random generators back to where the checkpoint had them, so that dropout continues its stream."""
        if self.generators is not None:
            torch.set_rng_state(self.generators["cpu"])
            if "cuda" in self.generators and torch.cuda.is_available():
                torch.cuda.set_rng_state(self.generators["cuda"])
            self.generators = None


@rank_zero_only
def rank_zero_print(text: str) -> None:
    """Print from the first process alone."""
    print(text, flush=True)


def default_optimizer(params: Any) -> torch.optim.Optimizer:
    """Return AdamW with a learning rate of 0.001 and a weight decay of 0.01."""
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=1e-2)
