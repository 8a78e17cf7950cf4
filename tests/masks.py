"""Masks for `seg score`, and the command on them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.score import main


def save(path: Path, mask) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, dtype=np.uint8)).save(path)
    return path


def command(*arguments) -> dict:
    """Run seg score in this process and return what it wrote."""
    main([*map(str, arguments), "--json", "scores.json"])
    return json.loads(Path("scores.json").read_text(encoding="utf-8"))


def refused(capsys, *arguments) -> str:
    """Run seg score, which must end with one message; nothing is written."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json", "scores.json"])
    assert ended.value.code == 2
    assert not Path("scores.json").exists()
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message
