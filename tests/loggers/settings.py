"""What tests of the loggers share."""

import csv


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def both(**options):
    """Return the settings of W&B and TensorBoard together."""
    return [
        {"class_path": "seg.loggers.WandB", "init_args": {"project": "tests", **options}},
        {"class_path": "seg.loggers.TensorBoard"},
    ]
