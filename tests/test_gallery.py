import json

import numpy as np
import pytest
import torch
from PIL import Image

from seg import draw
from seg.choice import _count_without_waiting, choose, image_counts
from seg.data import VOC, Shapes
from seg.gallery import Gallery
from seg.loggers import CSV, RunLogger
from seg.models import UNet
from seg.task import SegmentationTask
from seg.trainer import Trainer
from tests.command import run, write_config


class Recorder(RunLogger):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.pictures, self.tables = [], {}

    def log_metrics(self, metrics, step=None):
        pass

    def record(self, config, facts):
        pass

    def picture(self, key, picture, step, caption="", masks=None):
        self.pictures.append((step, key, picture, caption, masks))

    def table(self, key, columns, rows, step):
        self.tables[key] = (columns, rows)

    def shown(self, prefix):
        """Return step -> [(key, image), …]."""
        found = {}
        for step, key, _, caption, _ in self.pictures:
            if key.startswith(prefix):
                found.setdefault(step, []).append((key, caption.partition(" ")[0]))
        return found


def fit(folder, shapes, epochs=3, share=1.0, number=4, checkpoint=None, test=False):
    """Train a tiny network with a gallery; return what was shown, and the trainer and task."""
    torch.manual_seed(0)
    described = Shapes(root="unused")
    names, colors = described.class_names, described.class_colors
    data = VOC(str(shapes), classes=names, colors=colors, batch_size=2, crop=(64, 64), num_workers=0)
    task = SegmentationTask(UNet(8, width=4, depth=2), names, colors, data.mean, data.std)
    recorder = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        precision=32,
        logger=[recorder, CSV(folder)],
        callbacks=[Gallery(folder, number=number, share=share)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=False)
    if test:
        trainer.test(task, data, verbose=False)
    return recorder, trainer, task, data


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shapes):
    folder = tmp_path_factory.mktemp("gallery") / "run"
    recorder, trainer, task, data = fit(folder, shapes, test=True)
    trainer.save_checkpoint(folder / "end.ckpt")
    return folder, recorder, task, data


def test_the_same_images_are_shown_after_every_validation(trained):
    _, recorder, _, data = trained
    shown = recorder.shown("gallery/")
    assert list(shown) == [5, 11, 17], "the steps under which the scores of three epochs are logged"
    assert shown[5] == shown[11] == shown[17]
    assert [key for key, _ in shown[5][:2]] == ["gallery/worst", "gallery/median"]
    names = [name for _, name in shown[5]]
    assert len(names) == len(set(names)) == 4
    assert set(names) <= {pair.id for pair in data.datasets["val"].pairs}


def test_a_resumed_run_keeps_the_choice_and_a_damaged_one_is_made_anew(trained, shapes, tmp_path):
    folder, *_ = trained
    names = [pair.id for pair in trained[3].datasets["val"].pairs]
    # a choice that no fresh run would make
    (tmp_path / "gallery.json").write_text(json.dumps({"worst": names[0], "median": "gone", "rare_1_x": names[0]}))
    recorder, *_ = fit(tmp_path, shapes, epochs=4, checkpoint=folder / "end.ckpt")
    assert recorder.shown("gallery/") == {23: [("gallery/worst", names[0]), ("gallery/rare_1_x", names[0])]}
    (tmp_path / "gallery.json").write_text("{broken")
    recorder, *_ = fit(tmp_path, shapes, epochs=4, checkpoint=folder / "end.ckpt")
    assert len(recorder.shown("gallery/")[23]) == 4
    assert "worst" in json.loads((tmp_path / "gallery.json").read_text())


def test_drawing_stops_where_it_would_take_more_than_its_share_of_the_time(tmp_path, shapes):
    recorder, *_ = fit(tmp_path, shapes, epochs=3, share=1e-6, number=2)
    assert list(recorder.shown("gallery/")) == [5], "the first validation alone"
    assert recorder.shown("val/") == {}, "and no charts"


def test_pictures_show_the_image_the_truth_and_what_the_network_says(trained):
    _, recorder, task, data = trained
    *_, picture, caption, masks = next(shown for shown in recorder.pictures if shown[1] == "test/worst/1")
    dataset = data.datasets["test"]
    [index] = [index for index, pair in enumerate(dataset.pairs) if pair.id == caption.partition(" ")[0]]
    sample = dataset[index]
    with torch.no_grad():
        probabilities = task.eval()(sample["image"][None]).softmax(1)[0].numpy()
    image, truth, labels = sample["image"].permute(1, 2, 0).numpy(), sample["mask"].numpy(), probabilities.argmax(0)
    assert np.array_equal(masks.image, image)
    assert np.array_equal(masks.labels["truth"], truth)
    assert np.array_equal(masks.labels["prediction"], labels)
    confidence = probabilities.max(0)
    drawn = draw.example(image, truth, labels, task.class_names, task.class_colors, caption, confidence=confidence)
    assert np.abs(picture.astype(int) - drawn).max() <= 8, "the confidence may differ in its last digits"


def test_the_test_ends_with_scores_of_every_image_worst_first(trained):
    _, recorder, task, data = trained
    columns, rows = recorder.tables["test/predictions"]
    assert columns[:3] == ["image", "mean IoU", "pixel accuracy"]
    assert columns[3:11] == [f"IoU {name}" for name in task.class_names]
    assert sorted(row[0] for row in rows) == sorted(pair.id for pair in data.datasets["test"].pairs)
    means = [row[1] for row in rows]
    assert means == sorted(means)
    for row in rows:
        index = [pair.id for pair in data.datasets["test"].pairs].index(row[0])
        sample = data.datasets["test"][index]
        with torch.no_grad():
            labels = task.eval()(sample["image"][None]).argmax(1)[0].numpy()
        truth = sample["mask"].numpy()
        for name, iou in enumerate(row[3:11]):
            there, found = truth == name, (labels == name) & (truth != 255)
            union = (there | found).sum()
            expected = (there & found).sum() / union if union else np.nan
            assert iou == pytest.approx(expected, nan_ok=True)
    assert isinstance(rows[0][-1], np.ndarray)
    assert rows[-1][-1] is None, "of the best images no picture is drawn"
    counts = recorder.tables["test/confusion_counts"]
    assert counts[0][1:] == task.class_names
    assert [row[1:] for row in counts[1]] == task.results["test"]["confusion"].tolist()


def test_the_run_folder_holds_the_newest_pictures_and_the_tables(trained):
    folder, recorder, *_ = trained
    newest = {key: picture for _, key, picture, _, _ in recorder.pictures}
    for key, picture in newest.items():
        assert np.array_equal(np.array(Image.open(folder / "pictures" / f"{key.replace('/', '_')}.png")), picture)
    lines = (folder / "tables" / "test_predictions.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 5
    assert lines[0].startswith("image,mean IoU,pixel accuracy,IoU background,")
    assert "picture" not in lines[0]


@pytest.mark.parametrize("arguments", [{"number": 0}, {"share": 0.0}, {"share": float("nan")}, {"listed": 0}])
def test_what_a_gallery_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Gallery("run", **arguments)


@pytest.mark.parametrize("ignored", [255, 7])
def test_the_pixels_of_each_image_are_counted_by_class(ignored):
    rng = np.random.default_rng(0)
    target = rng.choice(np.array([0, 1, 2, 3, ignored], dtype=np.uint8), (3, 9, 11))
    labels = rng.integers(0, 4, target.shape)
    counts = image_counts(["a", "b", "c"], torch.from_numpy(labels), torch.from_numpy(target), 4, ignored)
    assert [count.name for count in counts] == ["a", "b", "c"]
    for count, truth, found in zip(counts, target, labels, strict=True):
        for label in range(4):
            there, said = truth == label, (found == label) & (truth != ignored)
            assert count.counts[:, label].tolist() == [(there & said).sum(), there.sum(), said.sum()]
    elsewhere = _count_without_waiting(torch.from_numpy(labels), torch.from_numpy(target), 4)
    assert torch.equal(elsewhere, torch.stack([count.counts for count in counts])), "as a GPU counts them"


def _image(name, truth, correct):
    """Return an image whose class i has truth[i] pixels, of which correct[i] are right; the others are class 0."""
    target = torch.cat([torch.full((number,), label) for label, number in enumerate(truth)])
    labels = torch.cat(
        [(torch.arange(n) < c).long() * label for label, (n, c) in enumerate(zip(truth, correct, strict=True))]
    )
    return image_counts([name], labels[None, None], target[None, None], len(truth))[0]


def test_the_worst_the_median_and_one_image_with_each_rare_class_are_chosen():
    images = [
        _image("perfect", [70, 30, 0, 0], [70, 30, 0, 0]),
        _image("bad", [70, 30, 0, 0], [70, 0, 0, 0]),
        _image("middle", [80, 20, 0, 0], [80, 15, 0, 0]),
        _image("little", [98, 0, 2, 0], [98, 0, 2, 0]),
        _image("much", [92, 0, 8, 0], [92, 0, 8, 0]),
        _image("empty", [0, 0, 0, 0], [0, 0, 0, 0]),
    ]
    names = ["ground", "common", "rare/ 🚗", "absent"]
    chosen = choose(images, names, 8)
    # IoU: bad 0.35, middle 0.84, the others 1; of the five with a scored pixel the third is the median
    assert chosen == {"worst": "bad", "median": "little", "rare_2_rare_": "much"}, "common has 16 % of the pixels"
    assert choose(images, names, 1) == {"worst": "bad"}
    assert choose([], names, 8) == {}
    assert choose(images[-1:], names, 8) == {"worst": "empty"}


def test_a_gallery_of_ones_own_takes_the_place_of_the_usual_one(workplace, shapes):
    config = write_config(
        workplace / "tiny.yaml",
        shapes,
        callbacks=[{"class_path": "seg.gallery.Gallery", "init_args": {"number": 1, "share": 1.0}}],
    )
    run("--config", config)
    folder = workplace / "runs/tiny/version_0"
    assert list(json.loads((folder / "gallery.json").read_text())) == ["worst"]
    assert [path.name for path in (folder / "pictures").glob("gallery_*")] == ["gallery_worst.png"]
    assert not (workplace / "gallery.json").exists()
