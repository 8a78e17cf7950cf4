from seg.report.settings import differences, imported


def test_settings_that_differ_from_defaults_are_found():
    net = {"class_path": "seg.models.UNet", "init_args": {"width": 8, "depth": 4}}
    gone = {"class_path": "nowhere.Net", "init_args": {"a": 1}}
    config = {
        "seed_everything": 0,
        "trainer": {"max_epochs": 3, "precision": "auto", "log_every_n_steps": 10},
        "model": {"net": net, "loss": gone, "compile": False, "auxiliary_weight": 0.5},
        "ckpt_path": None,
    }
    found = {name: value for name, value, _ in differences(config)}
    assert found == {
        "trainer.max_epochs": 3,
        "model.net": "seg.models.UNet",
        "model.net.width": 8,
        "model.loss": "nowhere.Net",
        "model.loss.a": 1,
        "model.auxiliary_weight": 0.5,
    }


def test_looking_at_a_run_imports_nothing_else_that_its_configuration_names(tmp_path, monkeypatch):
    (tmp_path / "mischief.py").write_text("from pathlib import Path\nPath('done').touch()\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = {"model": {"net": {"class_path": "mischief.Net", "init_args": {"a": 1}}}}
    assert [row[:2] for row in differences(config)] == [("model.net", "mischief.Net"), ("model.net.a", 1)]
    assert not (tmp_path / "done").exists()


def test_a_library_that_does_not_load_leaves_its_settings_without_defaults(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr("seg.report.settings.importlib.import_module", broken)
    assert imported("timm.models.Net") is None
    assert imported("Net") is None


def test_of_losses_by_name_each_tells_what_of_it_was_chosen():
    dice = {"class_path": "seg.losses.Dice", "init_args": {"absent": "skip", "smooth": 0.5}}
    loss = {"class_path": "seg.losses.Sum", "init_args": {"terms": {"dice": dice}, "weights": {"dice": 2.0}}}
    assert [row[:2] for row in differences({"model": {"loss": loss}})] == [
        ("model.loss", "seg.losses.Sum"),
        ("model.loss.terms.dice", "seg.losses.Dice"),
        ("model.loss.terms.dice.smooth", 0.5),
        ("model.loss.weights", {"dice": 2.0}),
    ]
