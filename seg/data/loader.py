"""The training loader, which a checkpoint can stop in the middle of an epoch and start again at the same batch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from seg.data.sampling import TrainingOrder


class TrainingLoader(DataLoader[Any]):
    """Load training batches; Lightning keeps the number of those handed out in its checkpoints.

    The epoch's first batch is asked for when it is needed, not when the iterator is made: Lightning tells the sampler
    the epoch of a resumed run in between.
    """

    sampler: TrainingOrder
    handed_out = 0
    skipped = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.sampler.start = self.skipped * (self.batch_size or 1)
        self.handed_out, self.skipped = self.skipped, 0
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch have been handed out, 0 at its end."""
        return {"batches": self.handed_out if self.handed_out < len(self) else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the batches that a checkpoint says were handed out."""
        self.skipped = state["batches"]
