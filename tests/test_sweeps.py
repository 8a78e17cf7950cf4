"""The sweep files for W&B start the same command line, with settings that exist."""

import subprocess
import sys

import pytest
import yaml

from tests.command import REPOSITORY

SWEEPS = sorted((REPOSITORY / "configs" / "sweeps").glob("*.yaml"))


def arguments(sweep: dict) -> list[str]:
    """Return the command that W&B's agent would start, with the first value of each parameter."""
    chosen = {
        name: spec["values"][0] if "values" in spec else spec["min"] for name, spec in sweep["parameters"].items()
    }
    words: list[str] = []
    for word in sweep["command"]:
        if word == "${args}":
            words += [f"--{name}={value}" for name, value in chosen.items()]
        else:
            words += {"${env}": [], "${interpreter}": [sys.executable], "${program}": [sweep["program"]]}.get(
                word, [word]
            )
    return words


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_names_settings_that_exist_and_the_score_that_is_logged(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["metric"] == {"name": "val/miou", "goal": "maximize"}
    command = [*arguments(sweep), "--print_config"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert result.returncode == 0, result.stderr
    config = yaml.safe_load(result.stdout)
    assert config["trainer"]["logger"]["class_path"] == "seg.loggers.WandB"
    for name, spec in sweep["parameters"].items():
        value = config
        for key in name.split("."):
            value = value[key]
        assert value == (spec["values"][0] if "values" in spec else spec["min"])
