"""One run with every logger on, then resumed: what each keeps of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg.loggers import WandB
from seg.loggers.wandb import STEP
from tests.command import run, write_config
from tests.loggers.settings import both, rows
from tests.wandb_file import OfflineRun, raw

NAMES = ["background", "<script>alert(1)</script>", "🚗 car", "$x$", "a/b|c", "道路", "_under", "x" * 300]
ROLES = ("gallery/worst", "gallery/median")


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


def test_a_second_run_of_a_process_that_has_gone_elsewhere_is_written_into_its_own_folder(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        logger = WandB(offline=True)
        logger.place(Path("run"))
        logger.log_metrics({"a": 1.0}, 0)
        logger.close()
        [folder] = Path("run/wandb").glob("offline-run-*")
        assert OfflineRun(folder).history["a"] == [(0, 1.0)]


def test_a_run_that_was_left_open_by_a_stopped_fit_is_not_logged_into_by_the_next(tmp_path):
    stopped, following = WandB(offline=True), WandB(offline=True)
    for logger, name in ((stopped, "one"), (following, "two")):
        logger.place(tmp_path / name)
        logger.log_metrics({name: 1.0}, 0)
    following.close()
    for name in ("one", "two"):
        [folder] = (tmp_path / name / "wandb").glob("offline-run-*")
        assert set(OfflineRun(folder).history) - {STEP} >= {name}
    assert OfflineRun(folder).history.keys().isdisjoint({"one"})


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
