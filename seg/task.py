"""The task: a network, a loss, metrics and an optimiser, trained, validated and tested by one shared step."""

import warnings
from typing import Any, Self, cast

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn

from seg import apple, optimisation, schedules
from seg.distillation import Distillation
from seg.entry import check_classes, checked_entry, entry, restore_generators
from seg.evaluation import Evaluation, MetricCallable
from seg.finetuning import start_from
from seg.labels import largest_class
from seg.losses import CrossEntropy
from seg.losses.balance import balance_classes
from seg.losses.base import ignore
from seg.mixing import Mixing, batch_loss
from seg.models.blocks import upsample
from seg.models.weights import weights_wanted, without_weights
from seg.normalize import Normalize
from seg.pixel_mean import StepMean
from seg.progress import say
from seg.resuming import begin_next_epoch


class SegmentationTask(LightningModule):
    """Train, validate and test a segmentation network.

    Args:
        net: network from normalised images (B, N, H, W) to logits (B, C, H, W).
        loss: scalar from logits and target; cross-entropy where not given.
        optimizer: any optimiser class; AdamW with a rate of 0.001 where not given.
        schedule: learning rate over the run, per optimiser step; constant where not given.
        mixing: mixes the images of a training batch with each other, such as seg.mixing.CutMix; none where not given.
        decay_norms: apply weight decay to norms and biases too, as older papers did.
        encoder_lr: factor on the learning rate of the network's encoder, such as 0.1 for one with pretrained weights.
        layer_decay: factor on the rate of each layer of the encoder, from its end towards the image, such as 0.9.
        lr_reference_batch: images a step that the learning rate is meant for; with another number (batch × accumulated
            batches × processes) it grows or shrinks in proportion. Not scaled where not given.
        init_from: checkpoint of another run, of which the network takes what fits before training; see seg.finetuning.
        distillation: learns from a trained network too, see seg.distillation.Distillation.
        flood: level below which the loss of a training step is not driven (Ishida et al. 2020); 0 for none.
        channels_last: keep the network and the images in the channels-last layout; not on Apple's GPUs (`seg.apple`).
        compile: train the network compiled by torch.compile; its checkpoints are the same as those of any other.
        auxiliary_weight: factor on the loss of each auxiliary head that the network has (deep supervision).
        class_names: names in the order of their index; the data module knows them.
        class_colors: one (red, green, blue) of 0..255 a class; the data module knows them.
        ignore_index: label that neither trains nor scores; the data module knows it.
        mean: mean of every channel in raw pixel values; the data module knows it.
        std: standard deviation of every channel in raw pixel values; the data module knows it.
        resize: (height, width) to which the data module brings images before the network sees them, if any.
        clip: (lowest, highest) raw value of every channel, beyond which values are cut off; the data module knows it.
        image_kind: what image files are read as, and the type of their values; the data module knows it.
        include_background: false leaves class 0 out of the scores; its pixels still count as the errors of others.
        extra_metrics: what validation and test measure beside the confusion matrix, such as seg.boundary.BoundaryIoU
            and seg.calibration.CalibrationError.

    Raises:
        ValueError: a negative weight or factor.

    """

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
        mixing: Mixing | None = None,
        decay_norms: bool = False,
        encoder_lr: float = 1.0,
        layer_decay: float = 1.0,
        lr_reference_batch: int | None = None,
        init_from: str | None = None,
        distillation: Distillation | None = None,
        flood: float = 0.0,
        channels_last: bool = True,
        compile: bool = False,
        auxiliary_weight: float = 0.4,
        resize: list[int] | None = None,
        clip: list[list[float]] | None = None,
        image_kind: list[str] = ["rgb", "uint8"],  # noqa: B006 (a list is what a checkpoint holds)
        include_background: bool = True,
        extra_metrics: list[MetricCallable] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("auxiliary_weight", auxiliary_weight), ("flood", flood)):
            if not value >= 0:
                raise ValueError(f"{name}: {value}, but a factor of 0 or more is expected, such as 0.4")
        optimisation.check_rates(encoder_lr, layer_decay, lr_reference_batch)
        # nothing ignored: this is what lets load_from_checkpoint(path) do without other arguments
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Attribute '\w+' is an instance of `nn.Module`")
            self.save_hyperparameters()
        self.class_names, self.class_colors = class_names, class_colors
        self.ignore_index, self.include_background = ignore_index, include_background
        self.rates: dict[str, Any] = {"decay_norms": decay_norms, "encoder_lr": encoder_lr, "layer_decay": layer_decay}
        self.lr_reference_batch = lr_reference_batch
        self.channels_last, self.compiled = channels_last, compile
        self.auxiliary_weight, self.resize = auxiliary_weight, resize
        self.net = net
        self.loss = loss if loss is not None else CrossEntropy()
        self.step_mean = StepMean(self.loss)
        build = optimizer or optimisation.default_optimizer
        # a function, which copies of the task share: the command line's partial would be copied with all that it holds
        self.build_optimizer: OptimizerCallable = lambda parameters: build(parameters)
        self.schedule = schedule or schedules.Constant()
        self.mixing, self.distillation, self.flood = mixing, distillation, flood
        if mixing is not None:
            mixing.set_class_names(class_names)
        self.pixels = Normalize(mean, std, clip)
        self.image_kind = list(image_kind)
        scored = (len(class_names), ignore_index, include_background, extra_metrics or [])
        self.evaluations = nn.ModuleDict({stage: Evaluation(*scored) for stage in ("val", "test")})
        self.results: dict[str, dict[str, Tensor]] = {}
        self.generators: dict[str, Tensor] | None = None
        self.trained_precision = "32-true"
        ignore(self.loss, ignore_index)  # so that no loss and metric can disagree
        if init_from is not None and weights_wanted():
            say(start_from(net, init_from, len(mean)))
        if channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _apply(self, *args: Any, **options: Any) -> Self:
        """Move the task to another device, its network in the layout that the device can do with."""
        super()._apply(*args, **options)  # type: ignore[no-untyped-call]
        apple.plain_layout(self.net)
        return self

    # -- images to logits ---------------------------------------------------------------------------------------------

    def normalize(self, images: Tensor) -> Tensor:
        """Return images (B, N, H, W) of raw pixel values as the network wants them, see `Normalize`."""
        normalized: Tensor = self.pixels(apple.laid_out(images, self.channels_last))
        return normalized

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
        loss, terms = batch_loss(self.loss, outputs[0], batch)
        for logits in outputs[1:]:
            auxiliary, _ = batch_loss(self.loss, logits, batch)
            loss = loss + self.auxiliary_weight * auxiliary
            terms["auxiliary"] = auxiliary.detach()
        training = stage == "train"
        if training and self.distillation is not None:
            loss, terms["distillation"] = self.distillation.add(loss, outputs[0], batch, self.ignore_index)
        logged: dict[str, Any] = {"on_step": training, "on_epoch": not training, "batch_size": len(target)}
        losses = {"loss": loss, **{f"loss/{name}": term for name, term in terms.items()}}
        for name, value in (self.step_mean.add(losses) if training else losses).items():
            self.log(f"{stage}/{name}", value, sync_dist=True, **logged)
        return loss, outputs[0]

    @staticmethod
    def to_size(logits: Tensor, target: Tensor) -> Tensor:
        """Return logits (B, C, h, w) brought to the size of a target (B, H, W)."""
        size = (target.shape[-2], target.shape[-1])
        return logits if logits.shape[-2:] == size else upsample(logits, size)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of one training batch, its images mixed where that is asked for."""
        if self.mixing is not None:
            batch = self.mixing.drawn_by((torch.initial_seed(), self.current_epoch, batch_idx), self.global_rank, batch)
        with self.step_mean.batch():
            loss, _ = self.shared_step(batch, "train")
        return self.step_mean.weighted(loss)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Count one validation batch; returns its predicted labels (B, H, W) for the callbacks that draw them."""
        return self.evaluation_step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Count one test batch; returns its predicted labels (B, H, W) for the callbacks that draw them."""
        return self.evaluation_step(batch, "test")

    def evaluation_step(self, batch: dict[str, Any], stage: str) -> Tensor:
        """Log the loss of a batch, count its predictions, return the predicted labels (B, H, W)."""
        _, logits = self.shared_step(batch, stage)
        labels = largest_class(logits)
        self.evaluation(stage).update(labels, logits, batch["mask"])
        return labels

    def evaluation(self, stage: str) -> Evaluation:
        """Return what counts a stage, "val" or "test"."""
        return cast(Evaluation, self.evaluations[stage])

    def on_validation_epoch_end(self) -> None:
        """Log what the metrics say of the whole validation set."""
        self.log_results("val")

    def on_test_epoch_end(self) -> None:
        """Log what the metrics say of the whole test set."""
        self.log_results("test")

    def log_results(self, stage: str) -> None:
        """Log the scores of a stage; those of absent classes stay out. Kept whole in `results[stage]`."""
        result, extra = self.evaluation(stage).finish()
        self.results[stage] = {name: value.detach().cpu() for name, value in result.items()}
        # summed over processes already, and so the same in each: sync_dist tells Lightning so, max keeps every bit
        same: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
        for name in ("miou", "pixel_accuracy", "mean_accuracy", "fw_iou", *extra):
            self.log(f"{stage}/{name}", result[name].float(), prog_bar=name == "miou", **same)
        # reading the vector once: one value at a time would synchronise a GPU once a class
        for name, value in zip(self.class_names, self.results[stage]["iou"].tolist(), strict=True):
            if value == value:
                self.log(f"{stage}/iou/{name}", value, **same)

    # -- optimisation -------------------------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Return the schedule, where it is one that watches the run."""
        known = list(self.trainer.callbacks)  # type: ignore[attr-defined]
        return [self.schedule] if isinstance(self.schedule, Callback) and self.schedule not in known else []

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule, stepped once per optimiser step."""
        groups = optimisation.parameter_groups(self, self.net, **self.rates)
        scale = optimisation.batch_scale(self.trainer, self.lr_reference_batch)
        optimizer = optimisation.build_optimizer(self.build_optimizer, groups, scale)
        optimisation.fuse(optimizer)
        self.logged_rates = optimisation.logged_groups(optimizer)
        scheduler = optimisation.scheduled(optimizer, self.schedule, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the learning rates that the coming step is made with."""
        self.step_mean.begin(batch_idx, self.trainer.accumulate_grad_batches)
        for name, group in self.logged_rates.items() if self.trainer._logger_connector.should_update_logs else ():
            self.log(name, self.trainer.optimizers[0].param_groups[group]["lr"], rank_zero_only=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients of several batches to the scale of their pixels' mean, before they are clipped; flood."""
        self.step_mean.rescale(self.parameters(), self.flood)

    # -- what a checkpoint holds --------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what prediction and an exact resumption need, see `seg.entry`."""
        checkpoint["seg"] = entry(self.trainer)

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **options: Any) -> Self:
        """Build the task of a checkpoint; nothing that its network was once initialised with is read or downloaded."""
        with without_weights():
            return super().load_from_checkpoint(*args, **options)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse checkpoints of other projects and later formats; take their normalisation, keep generators for fit."""
        held = checked_entry(checkpoint)
        check_classes(checkpoint, self.class_names)
        self.generators, self.trained_precision = held["generators"], held["precision"]
        # as its network was trained, also where the data's statistics have changed since
        given = checkpoint.get("hyper_parameters", {})
        trained: dict[str, Any] = {name: given.get(name) for name in ("mean", "std", "clip")}
        if "mean" in given and trained != {name: self.hparams.get(name) for name in trained}:
            listed = ", ".join(f"{name} {value}" for name, value in trained.items())
            say(f"pixels are normalised as the checkpoint says, not as the data do: {listed}")
            self.pixels = Normalize(**trained).to(self.device)
            self.hparams.update(trained)

    def on_fit_start(self) -> None:
        """Compile the network if asked to; fetch what teaches it, and balance the loss."""
        if self.compiled:
            self.net.compile()  # in place: the names in its state dict stay
        if self.distillation is not None:
            self.distillation.prepare(self)
        self.balance_loss()

    def balance_loss(self) -> None:
        """Give the loss the pixel counts that it still needs, if any."""
        if getattr(self.loss, "needs_pixel_counts", False):
            counts = self.trainer.datamodule.pixel_counts()  # type: ignore[attr-defined]
            for line in balance_classes(self.loss, counts, self.class_names, self.device):
                say(line)

    def on_train_start(self) -> None:
        """Put epoch and random generators back to where the checkpoint had them, so that dropout goes on its stream."""
        begin_next_epoch(self.trainer)
        if self.generators is not None:
            restore_generators(self.generators)
            self.generators = None
