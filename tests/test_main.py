import os
import subprocess
import sys

import pytest

from tests.command import REPOSITORY


def seg(*arguments: str) -> subprocess.CompletedProcess:
    """Run the seg command; a line at the end tells whether torch was imported."""
    code = "import sys, atexit; atexit.register(lambda: print('TORCH' if 'torch' in sys.modules else 'LIGHT')); "
    code += f"sys.argv = ['seg', *{list(arguments)!r}]; from seg.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, env=dict(os.environ), timeout=120
    )


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"], ["predict", "--help"], ["models", "--help"]])
def test_help_needs_no_torch(arguments):
    result = seg(*arguments)
    assert result.returncode == 0
    assert result.stdout.endswith("LIGHT\n")


def test_an_unknown_command_is_refused_and_the_nearest_one_named():
    result = seg("predikt")
    assert result.returncode == 2
    assert "did you mean predict?" in result.stderr
