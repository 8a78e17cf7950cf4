"""Looking back at runs: what was recorded of them, one page a run, runs side by side."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return `Run`, imported when it is asked for: `seg report --help` needs none of it."""
    if name == "Run":
        from seg.report.run import Run

        return Run
    raise AttributeError(f"module 'seg.report' has no attribute '{name}'")
