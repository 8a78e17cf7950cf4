"""What a checkpoint says of its classes is compared with what the data say."""

import json

import pytest

from tests.command import run, write_config
from tests.doctor.setups import CLASSES


def test_classes_in_another_order_are_refused_and_other_names_said(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    best = workplace / "runs/tiny/version_0/checkpoints/best.ckpt"
    turned = json.dumps([CLASSES[0], *reversed(CLASSES[1:])])
    capsys.readouterr()
    for command in ("test", "fit"):
        with pytest.raises(SystemExit) as ended:
            run(command, "--config", workplace / "tiny.yaml", "--ckpt_path", best, "--data.classes", turned)
        assert ended.value.code == 2
        assert f"the checkpoint was trained on {', '.join(CLASSES)}: " in capsys.readouterr().err
    run("test", "--ckpt_path", best, "--data.classes", json.dumps(["ground", *CLASSES[1:]]))
    assert "classes have other names than in the checkpoint: ground (was background)" in capsys.readouterr().out
