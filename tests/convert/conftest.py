"""How the tests of this folder run `seg convert` and draw what it reads."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st

from seg.convert.command import main

Convert = Callable[..., tuple[int, str]]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Convert:
    """Run `seg convert …` in this process; return the exit status and all that was printed."""

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        try:
            main([*map(str, words), "--workers", "1"])
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        sys.stdout.write(out + err)
        return status, out + err

    return run


@st.composite
def masks(draw: st.DrawFn, values: tuple[int, ...] = (0, 1, 2, 255), side: int = 12) -> np.ndarray:
    """Draw a mask of noise or of blocks: regions in regions, corners that touch, lines of one pixel."""
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    pixels = draw(st.lists(st.sampled_from(values), min_size=height * width, max_size=height * width))
    scale = draw(st.integers(1, 3))
    mask = np.array(pixels, dtype=np.uint8).reshape(height, width)
    return mask.repeat(scale, axis=0).repeat(scale, axis=1)
