"""The training loader, which a checkpoint can stop in the middle of an epoch and start again at the same batch."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from seg.data.sampling import TrainingOrder


class TrainingLoader(DataLoader[Any]):
    """Load training batches, beginning an epoch where the progress of the run says.

    The epoch's first batch is asked for when it is needed, not when the iterator is made: in between, Lightning tells
    the sampler the epoch of a resumed run, and how far that epoch had come.

    Args:
        begin: returns the number of batches of the epoch that are done already.
        **options: see `torch.utils.data.DataLoader`.

    """

    sampler: TrainingOrder

    def __init__(self, *args: Any, begin: Callable[[], int] = lambda: 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.begin = begin

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.sampler.start = self.begin() * (self.batch_size or 1)
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the loops' own progress tells where the epoch stands; this says that it can be resumed."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing, see `state_dict`."""
