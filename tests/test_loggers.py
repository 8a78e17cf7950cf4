import csv
import json
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import Image

from seg.callbacks import Examples
from seg.loggers import CSV, TensorBoard, WandB
from seg.loggers.wandb import STEP, has_credentials
from tests.command import process, run, write_config
from tests.wandb_api import api_that_dies
from tests.wandb_file import OfflineRun, raw

NAMES = ["background", "<script>alert(1)</script>", "🚗 car", "$x$", "a/b|c", "道路", "_under", "x" * 300]
ROLES = ("gallery/worst", "gallery/median")


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_values_of_one_step_share_a_row_and_new_columns_are_added(tmp_path):
    logger = CSV(tmp_path / "run")
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    logger.save()
    logger.log_metrics({"val/miou": 0.5}, step=0)
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=1)
    logger.finalize("success")
    assert rows(logger.path) == [
        {"step": "0", "epoch": "0", "train/loss": "2.0", "val/miou": "0.5"},
        {"step": "1", "epoch": "1", "train/loss": "1.0", "val/miou": ""},
    ]


def test_reopening_appends_and_drops_the_rows_that_a_resumed_run_makes_again(tmp_path):
    logger = CSV(tmp_path)
    for step in range(5):
        logger.log_metrics({"train/loss": float(step)}, step=step)
    logger.finalize("failed")
    again = CSV(tmp_path)
    again.begin(3)
    again.log_metrics({"train/loss": 30.0}, step=3)
    again.finalize("success")
    assert [(row["step"], row["train/loss"]) for row in rows(again.path)] == [
        ("0", "0.0"),
        ("1", "1.0"),
        ("2", "2.0"),
        ("3", "30.0"),
    ]
    assert again.series() == {"train/loss": [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 30.0)]}


@pytest.mark.parametrize(
    "end",
    ["\0" * 40, "1,0,0.", "1,0,0.5\n" + "\0" * 4096, "\0\0\n1,0", "x,0,1\n", "\ufffd,,\n", '1,0,"0.5\n0.4\n'],
)
def test_what_a_power_loss_leaves_at_the_end_of_the_numbers_does_not_stop_a_resume(tmp_path, end):
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss\n0,0,1.0\n" + end)
    logger = CSV(tmp_path)
    logger.begin(1)
    logger.log_metrics({"train/loss": 0.25, "epoch": 0}, step=1)
    logger.finalize("success")
    assert rows(logger.path) == [
        {"step": "0", "epoch": "0", "train/loss": "1.0"},
        {"step": "1", "epoch": "0", "train/loss": "0.25"},
    ]
    assert logger.series() == CSV(tmp_path).series() == {"train/loss": [(0.0, 1.0), (1.0, 0.25)]}


def test_a_picture_or_table_that_cannot_be_written_is_said_and_nothing_ends(tmp_path, monkeypatch):
    picture = np.zeros((2, 2, 3), np.uint8)
    logger = CSV(tmp_path)
    for key in ("写" * 300, "x" * 300, "x" * 301):
        logger.picture(key, picture, 0)
        logger.table(key, ["a"], [["\ud800"]], 0)
    assert len(list((tmp_path / "pictures").iterdir())) == len(list((tmp_path / "tables").iterdir())) == 3
    (tmp_path / "pictures/full.png").mkdir()
    (tmp_path / "tables/full.csv").mkdir()
    with pytest.warns(UserWarning, match=r"full.png cannot be written"):
        logger.picture("full", picture, 0)
    with pytest.warns(UserWarning, match=r"full.csv cannot be written"):
        logger.table("full", ["a"], [[1]], 0)


def test_an_example_of_any_name_is_drawn_and_one_that_cannot_be_written_is_said(tmp_path):
    examples = Examples(tmp_path, number=1)
    trainer = SimpleNamespace(num_test_batches=[1], is_global_zero=True)
    task = SimpleNamespace(hparams={"class_names": ["a"], "class_colors": [(1, 2, 3)]})

    def test_of(name):
        mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
        batch = {"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "mask": mask, "id": [name]}
        examples.on_test_start(trainer, task)
        examples.on_test_batch_end(trainer, task, mask, batch, 0)

    test_of("a" * 243)
    test_of("写" * 81)
    assert [len(path.name.encode()) < 255 for path in tmp_path.iterdir()] == [True, True]
    (tmp_path / "full.png").mkdir()
    with pytest.warns(UserWarning, match=r"full.png cannot be written"):
        test_of("full")


def test_credentials_are_looked_for_without_asking_anyone(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_credentials()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key")
    (tmp_path / "netrc").chmod(0o600)
    assert has_credentials()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not has_credentials()


# -- one run with everything on, then resumed ----------------------------------------------------------------------


def both(**options):
    """Return the settings of W&B and TensorBoard together."""
    return [
        {"class_path": "seg.loggers.WandB", "init_args": {"project": "tests", **options}},
        {"class_path": "seg.loggers.TensorBoard"},
    ]


@pytest.fixture(scope="module")
def everything(tmp_path_factory, shapes):
    """Train two epochs with every logger, then two more; return the run folder and what the first part printed."""
    place = tmp_path_factory.mktemp("everything")
    patch = pytest.MonkeyPatch()
    patch.chdir(place)
    patch.delenv("WANDB_MODE", raising=False)
    patch.delenv("WANDB_API_KEY", raising=False)
    patch.setenv("NETRC", str(place / "none"))
    config = write_config(
        place / "tiny.yaml",
        shapes,
        data={"classes": NAMES},
        logger=both(log_model=True, native_masks=True),
        callbacks=[{"class_path": "seg.gallery.Gallery", "init_args": {"share": 1.0}}],
    )
    try:
        run("--config", config)
        run("--config", config, "--ckpt_path", "last", "--trainer.max_epochs", "4")
    finally:
        patch.undo()
    return place / "runs/tiny/version_0"


@pytest.fixture(scope="module")
def offline(everything):
    """Return what W&B kept of both parts."""
    folders = sorted(everything.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    return [OfflineRun(folder) for folder in folders]


def test_wandb_holds_every_number_on_the_axis_of_the_optimiser_step(everything, offline):
    first, second = offline
    assert (first.ended, second.ended) == (0, 0), "complete, and so ready for wandb sync"
    logged = rows(everything / "metrics.csv")
    for name in set(logged[0] | logged[-1]) - {"step", "epoch"}:
        expected = [(int(row["step"]), float(row[name])) for row in logged if row[name]]
        found = first.history[name] + second.history[name]
        assert len(found) >= len(expected) > 0, name
        # a test stands at its own step in both parts
        assert {step for step, _ in expected} <= {step for step, _ in found}, name
        assert dict(found) | dict(expected) == pytest.approx(dict(found)), name
    glob = [metric for metric in first.metrics if metric.glob_name == "*"]
    assert [metric.step_metric for metric in glob] == [STEP]


def test_wandb_summarises_the_best_value_not_the_last(offline):
    first, _ = offline
    for name, best in (("val/miou", max), ("val/loss", min), ("train/loss", min)):
        values = [value for _, value in first.history[name]]
        assert first.summary[name] == {best.__name__: pytest.approx(best(values))}


def test_wandb_knows_settings_code_environment_and_data(everything, offline):
    first, second = offline
    saved = yaml.safe_load((everything / "config.yaml").read_text(encoding="utf-8"))
    assert second.config["trainer.max_epochs"] == saved["trainer"]["max_epochs"] == 4
    assert first.config["model.net"] == "seg.models.UNet"
    assert first.config["model.net.width"] == 4
    assert first.config["data.classes"] == NAMES
    facts = json.loads((everything / "provenance.json").read_text(encoding="utf-8"))
    assert {name: second.config[name] for name in facts} == facts
    assert {"code.seg", "environment.torch", "environment.cores", "dataset.fingerprint", "dataset.train"} <= set(facts)
    assert first.config["dataset.fingerprint"] == facts["dataset.fingerprint"]


def test_wandb_goes_on_under_the_same_id_with_the_same_gallery(everything, offline):
    first, second = offline
    assert first.id == second.id == (everything / "wandb_id").read_text()
    chosen = json.loads((everything / "gallery.json").read_text(encoding="utf-8"))
    for role, name in chosen.items():
        for part in (first, second):
            [(_, shown), *_] = part.history[f"gallery/{role}"]
            assert shown["caption"].startswith(f"{name} · mean IoU ")


def test_wandb_holds_pictures_masks_and_tables(everything, offline):
    first, second = offline
    for part in (first, second):
        for key in (*ROLES, "val/confusion_matrix", "val/class_iou", "test/confusion_matrix", "test/worst/1"):
            for path in part.media(key):
                assert np.array(Image.open(path)).std() > 5
            assert part.media(key), key
        shown = part.history["masks/gallery/worst"][0][1]
        mask = np.array(Image.open(part.folder / "files" / shown["masks/truth/path"]))
        assert set(np.unique(mask)) <= {*range(8), 255}
        [artifact] = [held for name, held in part.artifacts.items() if "testpredictions" in name]
        files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
        assert all(path.is_relative_to(everything) for path in files.values()), "all of the run is in its folder"
        table = json.loads(files["test/predictions.table.json"].read_text(encoding="utf-8"))
        scores = [f"IoU {name}" for name in NAMES]
        assert table["columns"] == ["image", "mean IoU", "pixel accuracy", *scores, "picture"]
        assert len(table["data"]) == 5
        kinds = table["column_types"]["params"]["type_map"]
        assert "number" in json.dumps(kinds["mean IoU"]), "what is sorted as numbers"
        assert "image-file" in json.dumps(kinds["picture"])
        assert np.array(Image.open(files[table["data"][0][-1]["path"]])).std() > 5
        counts = json.loads(part.media("test/confusion_counts")[0].read_text(encoding="utf-8"))
        assert [row[0] for row in counts["data"]] == NAMES
    worst = np.array(Image.open(second.media("test/worst/1")[-1]))
    assert np.array_equal(worst, np.array(Image.open(everything / "pictures/test_worst_1.png"))), "loggers are equals"


def test_the_best_checkpoint_is_an_artifact_where_it_was_asked_for(everything, offline):
    for part in offline:
        artifact = part.artifacts[f"model/model-{part.id}"]
        assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt"]
        assert "best" in list(artifact.aliases)
    sizes = [part.artifacts[f"model/model-{part.id}"].manifest.contents[0].size for part in offline]
    assert (everything / "checkpoints/best.ckpt").stat().st_size in sizes  # that of the run's last part


def test_a_damaged_file_of_wandb_would_be_noticed(offline):
    [path] = offline[0].folder.glob("*.wandb")
    data = bytearray(path.read_bytes())
    assert len(list(raw(bytes(data)))) > 50
    data[len(data) // 2] ^= 1
    with pytest.raises(AssertionError):
        list(raw(bytes(data)))


def test_tensorboard_holds_the_same_and_shows_no_step_twice(everything):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(everything / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    logged = rows(everything / "metrics.csv")
    named = {name for name in set(logged[0] | logged[-1]) - {"step"} if not name.startswith(("test/", "val/iou"))}
    assert named <= set(tags["scalars"])
    for name in ("train/loss", "val/miou"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(int(row["step"]), float(row[name])) for row in logged if row[name]]
        assert [step for step, _ in found] == [step for step, _ in expected], name
        assert [value for _, value in found] == pytest.approx([value for _, value in expected]), name
    assert {*ROLES, "val/confusion_matrix", "test/worst/1"} <= set(tags["images"])
    image = events.Images("test/worst/1")[-1]
    drawn = np.array(Image.open(everything / "pictures/test_worst_1.png"))
    assert (image.height, image.width) == drawn.shape[:2]
    texts = {tag.removesuffix("/text_summary") for tag in tags["tensors"]}
    assert {"config", "test/predictions", "test/confusion_counts"} <= texts
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| model.net | seg.models.UNet |" in config
    assert "| dataset.fingerprint |" in config


# -- training never depends on a logger ------------------------------------------------------------------------------


def test_a_run_goes_on_where_neither_wandb_nor_tensorboard_is_installed(workplace, shapes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1, logger=both()))
    folder = workplace / "runs/tiny/version_0"
    assert rows(folder / "metrics.csv")[-1]["test/miou"]
    assert not (folder / "wandb").exists()
    said = capsys.readouterr().out
    assert said.count("wandb is not installed") == 1, "once"
    assert said.count("tensorboard is not installed") == 1


class Failing:
    """A run, or writer, of which every use fails."""

    id = "failing"

    def __getattr__(self, name):
        raise ConnectionError("the line is dead")


@pytest.mark.parametrize(("logger", "attribute"), [(WandB(offline=True), "run"), (TensorBoard(), "writer")])
def test_a_logger_that_fails_says_so_once_and_is_silent_from_then_on(logger, attribute, tmp_path, capsys):
    logger.place(tmp_path)
    setattr(logger, attribute, Failing())
    picture = np.zeros((2, 2, 3), np.uint8)
    for step in range(3):
        logger.log_metrics({"a": 1.0}, step)
        logger.record({"a": 1}, {})
        logger.picture("a", picture, step)
        logger.table("a", ["x"], [[1.0]], step)
        logger.finalize("success")
    logger.close()
    assert capsys.readouterr().out.count("the line is dead; the run goes on without it") == 1


def test_wandb_out_of_reach_keeps_the_run_offline(tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    begun, init = [], wandb.init

    def unreachable(**options):
        begun.append(options["mode"])
        if options["mode"] == "online":
            raise wandb.errors.CommError("no route to host")
        return init(**options)

    monkeypatch.setattr(wandb, "init", unreachable)
    logger = WandB(project="tests")
    logger.place(tmp_path / "run" / "version_0")
    logger.log_metrics({"a": 1.0}, 0)
    logger.close()
    assert begun == ["online", "offline"]
    assert "not reachable (no route to host)" in capsys.readouterr().out
    [folder] = (tmp_path / "run/version_0/wandb").glob("offline-run-*")
    assert OfflineRun(folder).history["a"] == [(0, 1.0)]
    logger.log_metrics({"a": 2.0}, 1)  # closed: no second run begins
    assert len(list((tmp_path / "run/version_0/wandb").glob("offline-run-*"))) == 1


def test_a_wandb_that_never_comes_to_its_end_is_not_waited_for(tmp_path, monkeypatch, capsys):
    ended, release = [], threading.Event()
    monkeypatch.setattr("seg.loggers.wandb.GRACE", 0.2)
    monkeypatch.setattr("seg.loggers.wandb.end_service", lambda: ended.append(True))
    logger = WandB(offline=True, finish_timeout=0.1)
    logger.place(tmp_path)
    logger.run, logger.owned = SimpleNamespace(dir="wandb/run-abc/files", finish=release.wait), True
    begin = time.monotonic()
    logger.close()
    assert time.monotonic() - begin < 5
    assert ended == [True]
    release.set()
    assert "wandb sync wandb/run-abc\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="finish_timeout: 0, but"):
        WandB(finish_timeout=0)


def test_what_wandb_says_at_its_end_is_told(tmp_path, capsys):
    def late():
        raise TimeoutError("Timed out finishing run.")

    def broken():
        raise ConnectionError("the line is dead")

    for finish, said in (
        (late, "nothing is lost, upload the rest with: wandb sync"),
        (broken, "WandB: the line is dead"),
    ):
        logger = WandB(offline=True)
        logger.place(tmp_path)
        logger.run, logger.owned = SimpleNamespace(dir="wandb/run-abc/files", finish=finish), True
        logger.close()
        assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_connection_that_dies_in_a_run_ends_it_within_its_time_with_its_last_line(workplace, shapes):
    logger = {"class_path": "seg.loggers.WandB", "init_args": {"project": "tests", "finish_timeout": 5}}
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, logger=logger)
    with api_that_dies() as (address, gone):
        settings = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
        begin = time.monotonic()
        done = process("--config", config, "--json", **settings)
        assert time.monotonic() - begin < 120
        assert gone.is_set(), "the run had begun online"
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["scores"]["miou"] is not None
    [kept] = Path("runs/tiny/version_0/wandb").glob("run-*/*.wandb")
    assert re.search(rf"wandb sync \S*{kept.parent}\n", done.stderr)


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    for logger in (CSV(tmp_path), WandB(offline=True), TensorBoard()):
        logger.place(tmp_path)
        logger.begin(3)
        logger.log_metrics({"a": 1.0}, 0)
        logger.record({"a": 1}, {"b": 2})
        logger.picture("a", np.zeros((2, 2, 3), np.uint8), 0)
        logger.table("a", ["x"], [[1.0]], 0)
        logger.keep(tmp_path / "none.ckpt")
        logger.finalize("success")
        logger.close()
    assert list(tmp_path.iterdir()) == []
