"""What to lower where the memory of the device does not suffice for a run."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class MemoryAdvice(Callback):
    """Add to an error about full memory which settings of the run would help, with their values."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Add the note; `seg.errors` shows it."""
        if is_memory(exception):
            exception.add_note(advice(trainer, pl_module))


def is_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is full, the GPU's or the machine's."""
    return (
        type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate" in str(error)
    )


def advice(trainer: pl.Trainer, task: Any) -> str:
    """Return the settings to change, those that cost the least first."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    batch, crop = int(getattr(data, "batch_size", 1)), getattr(data, "crop", None)
    accumulate = trainer.accumulate_grad_batches
    lines = []
    if trainer.validating or trainer.testing or trainer.sanity_checking:
        lines.append("validation and test read whole images: data.resize: [height, width] makes them smaller")
    if "32" in str(trainer.precision) or "64" in str(trainer.precision):
        lines.append(f"trainer.precision is {trainer.precision}: bf16-mixed (16-mixed on older GPUs) takes about half")
    if batch > 1:
        half = batch // 2
        lines.append(
            f"data.batch_size is {batch}: {half} with trainer.accumulate_grad_batches: "
            f"{accumulate * round(batch / half)} trains on as many images a step"
        )
    if crop is not None and not trainer.validating and not trainer.testing:
        lines.append(f"data.crop is {list(crop)}: three quarters of each side take about half")
    if getattr(getattr(data, "sampling", None), "multi_scale", ()):
        lines.append("data.multi_scale enlarges batches: leave out its largest factor")
    lines.append("a smaller network or encoder; seg models compares what they take")
    return "what to lower:\n" + "\n".join(f"  - {line}" for line in lines)
