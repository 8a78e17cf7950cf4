import json
import re

import pytest

from seg.models import UNet
from seg.models_command import NETWORKS, build, main, network_class

CONFIG = "model:\n  net: {class_path: seg.models.UNet, init_args: {width: 4, depth: 2, weights: gone.pth}}\n"


@pytest.fixture
def config(workplace):
    path = workplace / "small.yaml"
    path.write_text(CONFIG)
    return path


def test_the_table_and_the_json_hold_what_is_measured(config, capsys):
    main([str(config), "--size", "48", "64", "--classes", "5", "--batch", "2", "--json", "new/out.json"])
    printed = capsys.readouterr().out
    content = json.loads((config.parent / "new/out.json").read_text())
    (row,) = content["networks"]
    assert content["size"] == [48, 64]
    assert row["parameters"] == sum(value.numel() for value in UNet(5, width=4, depth=2).parameters())
    assert row["stride"] == 4
    assert row["theoretical_field"] == [44, 44]
    assert 5 <= row["effective_field"][0] <= 44
    assert row["training_bytes"] > 16 * row["parameters"]
    assert row["step_seconds"] > 0
    line = next(line for line in printed.splitlines() if line.startswith(str(config)))
    assert line.split()[1:5] == ["0.01", "0.0", "4", "44"]


def test_timing_can_be_left_out_and_a_bare_config_name_is_found(config, capsys):
    main(["small", "--size", "48", "64", "--no-timing", "--precision", "32", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert "ms a step" not in printed
    assert "small" in printed
    assert "32, channels_last, cpu" in printed


def test_every_network_of_the_list_can_be_built():
    for label, (class_path, arguments) in NETWORKS.items():
        net = build(class_path, arguments, 7)
        assert net.num_classes == 7, label


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unett"], "'unett' is no network of the list.*did you mean 'UNet'"),
        (["seg.models.UNett"], "seg.models.UNett: there is no such class"),
        (["nowhere.UNet"], "nowhere.UNet: there is no such class"),
        (["torch.nn.Linear"], "torch.nn.Linear is not a network of the form"),
        (["seg.models.without_weights"], "not a network of torch"),
        (["UNet", "--size", "31", "64"], "--size 31 64: height and width must be 32 pixels or more"),
        (["UNet", "--batch", "0"], "--batch 0"),
        (["UNet", "--device", "nonsense"], "--device nonsense: there is no such device"),
        (["small", "--classes", "1"], "num_classes: 1"),
        (["typo.yaml"], "UNet cannot be built: .*widht"),
        (["empty.yaml"], "empty.yaml: there is no network in it"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(config, capsys, arguments, message):
    (config.parent / "empty.yaml").write_text("data: {}\n")
    (config.parent / "typo.yaml").write_text(CONFIG.replace("width", "widht"))
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--no-timing"])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)


def test_the_class_of_a_network_is_found_by_its_path():
    assert network_class("seg.models.UNet") is UNet
