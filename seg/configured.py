"""What a config describes, built by the parser that trains, but not run: every override means the same."""

from typing import Any

from seg import runs
from seg.arguments import configs_in
from seg.cli import SegCLI
from seg.models.weights import without_weights


class Built(Exception):
    """What a config describes; raised, because that is where the command line's own way ends: nothing is to be run."""

    def __init__(self, data: Any, task: Any, trainer: Any = None) -> None:
        super().__init__()
        self.data, self.task, self.trainer = data, task, trainer


class BuildingCLI(SegCLI):
    """Parse a config and build what it describes, but neither a run folder nor a trainer."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """End here, data module and task being built.

        Raises:
            Built: with both, and a trainer where `trainer_of` gives one.
            ValueError: facts typed by hand that disagree with the data set.

        """
        self.settle_data()
        raise Built(self.datamodule, self.model, self.trainer_of(**kwargs))

    def trainer_of(self, **kwargs: Any) -> Any:
        """Return a trainer, for those who need one; None here."""
        return None


def built(argv: list[str], cli: type[BuildingCLI] = BuildingCLI, weights: bool = False) -> Built:
    """Return what arguments describe.

    Args:
        argv: as `seg fit` takes them.
        cli: what builds it.
        weights: read (or download) the weights that the config names; without them networks are random.

    Raises:
        ValueError: a setting that cannot be.

    """
    try:
        if weights:
            cli("fit", argv)
        else:
            with without_weights():
                cli("fit", argv)
    except Built as found:
        return found
    raise AssertionError("building ends in Built")


def name_of(argv: list[str]) -> str:
    """Return the name of the experiment that arguments describe."""
    return runs.run_name(next(iter(configs_in(argv)), None))
