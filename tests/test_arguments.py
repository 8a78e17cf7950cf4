import pytest
import yaml

from tests.command import process, run, write_config


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.net.widht", "8"], "width"),
        (["--trainer.max_epoch", "3"], "--trainer.max_epochs"),
        (["--model.shedule", "Poly"], "--model.schedule"),
        (["--data.bach_size", "3"], "batch_size"),
        (["--model.net", "seg.models.Unet"], "seg.models.UNet"),
    ],
)
def test_a_misspelt_key_is_refused_and_the_nearest_one_named(workplace, shapes, capsys, arguments, expected):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as refused:
        run("--config", config, *arguments)
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"did you mean {expected}?" in error
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("path", "misspelt", "expected"),
    [
        (("model", "net", "init_args"), "widht", "width"),
        (("trainer",), "max_epoch", "trainer.max_epochs"),
        (("data", "init_args"), "bach_size", "batch_size"),
        ((), "modell", "model"),
    ],
)
def test_a_misspelt_key_in_yaml_is_refused_and_the_nearest_one_named(
    workplace, shapes, capsys, path, misspelt, expected
):
    file = write_config(workplace / "tiny.yaml", shapes)
    config = yaml.safe_load(file.read_text())
    branch = config
    for key in path:
        branch = branch[key]
    branch[misspelt] = 3
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as refused:
        run("--config", file)
    assert refused.value.code == 2
    assert f"did you mean {expected}?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--data.root", "photos"], ["--data", "photos"]])
def test_a_command_that_chooses_no_experiment_or_a_folder_as_one_is_told_what_to_give(workplace, capsys, arguments):
    (workplace / "photos").mkdir()
    with pytest.raises(SystemExit) as refused:
        run(*arguments)
    assert refused.value.code == 2
    cure = "--data.root photos, beside a --config" if "--data" in arguments else "--config shapes_unet"
    assert cure in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--data.classes", "leaf"), ("--data.crop", "64")])
def test_a_value_where_a_list_belongs_is_answered_with_a_list(workplace, shapes, capsys, option, value):
    with pytest.raises(SystemExit) as refused:
        run("--config", write_config(workplace / "tiny.yaml", shapes), option, value)
    assert refused.value.code == 2
    assert f"[{value},…]" in capsys.readouterr().err


def test_scoring_without_a_checkpoint_asks_for_one(workplace, capsys):
    with pytest.raises(SystemExit) as refused:
        run("test")
    assert refused.value.code == 2
    assert "give --ckpt_path RUN/checkpoints/best.ckpt" in capsys.readouterr().err


def test_an_unknown_config_lists_those_that_exist(workplace, capsys):
    with pytest.raises(SystemExit) as refused:
        run("--config", "shapes_unit")
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "Did you mean shapes_unet?" in error
    assert "camvid_unet" in error


def test_a_number_of_classes_typed_by_hand_must_agree_with_the_data(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--model.net.num_classes", "37")
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "37" in error
    assert "leave it out" in error
    assert not (workplace / "runs").exists()


def test_no_config_at_all_still_tells_what_is_missing(workplace):
    result = process("--data", "seg.data.Shapes")
    assert result.returncode == 2
    assert "net" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_and_print_config_work(workplace):
    assert "--trainer.max_epochs" in process("--help").stdout
    printed = process("--config", "shapes_unet", "--print_config").stdout
    assert yaml.safe_load(printed)["data"]["class_path"] == "seg.data.Shapes"
