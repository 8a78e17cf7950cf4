"""The data module and the network of a config, built by the parser that trains: every override means the same."""

from typing import Any

from torch import nn

from seg import runs
from seg.arguments import configs_in, refuse_contradictions
from seg.cli import LINKS, SegCLI
from seg.data.base import SegmentationData
from seg.doctor.measure import Scale
from seg.doctor.network import scale_of
from seg.models.weights import without_weights


class Built(Exception):
    """What a config describes; raised, because that is where the command line's own way ends: nothing is to be run."""

    def __init__(self, data: Any, net: nn.Module) -> None:
        super().__init__()
        self.data, self.net = data, net


class DoctorCLI(SegCLI):
    """Parse a config and build what it describes, but neither a run folder nor a trainer."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """End here, data module and task being built.

        Raises:
            Built: with both.
            ValueError: facts typed by hand that disagree with the data set.

        """
        refuse_contradictions(self.typed, self.datamodule, LINKS)
        raise Built(self.datamodule, self.model.net)


def configured(argv: list[str]) -> tuple[SegmentationData, Scale, str]:
    """Return the data module that arguments describe, what objects have to suit, and the config's name.

    Args:
        argv: as `seg fit` takes them.

    Raises:
        ValueError: a setting that cannot be, or no data set.

    """
    name = runs.run_name(next(iter(configs_in(argv)), None))
    try:
        with without_weights():  # nobody runs the network
            DoctorCLI("fit", argv)
    except Built as built:
        if isinstance(built.data, SegmentationData):
            return built.data, scale_of(built.net, built.data.resize), name
        kind = "no data set is named" if built.data is None else f"{type(built.data).__name__} is none of seg's own"
        raise ValueError(f"data: {kind}; the doctor examines the files of seg's data modules") from None
    raise AssertionError("building ends in Built")
