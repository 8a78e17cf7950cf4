import logging

import albumentations as A
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from pytorch_lightning.cli import LightningCLI

from seg.data import VOC
from seg.data.base import SegmentationData
from seg.data.images import read_image, read_mask, resize_image
from tests.data.conftest import write_voc

THREE = ["a", "b", "c"]


def open_voc(root, **settings):
    data = VOC(str(root), **{"classes": THREE, "crop": (24, 32), "batch_size": 3, "num_workers": 0, **settings})
    data.setup("fit")
    return data


def epoch_of(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return [(batch["id"], batch["image"].numpy().copy(), batch["mask"].numpy().copy()) for batch in loader]


def assert_same(one, other):
    assert len(one) == len(other)
    for (ids, images, masks), (other_ids, other_images, other_masks) in zip(one, other, strict=True):
        assert ids == other_ids
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(masks, other_masks)


def test_a_batch_is_what_the_design_says(voc_root):
    batch = next(iter(open_voc(voc_root).train_dataloader()))
    assert set(batch) == {"image", "mask", "id"}
    assert (batch["image"].shape, batch["image"].dtype) == ((3, 3, 24, 32), torch.uint8)
    assert (batch["mask"].shape, batch["mask"].dtype) == ((3, 24, 32), torch.uint8)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert all(isinstance(name, str) for name in batch["id"])


def test_the_attributes_are_there_before_the_disk_is_touched():
    data = VOC("nowhere", classes=THREE, mean=[1, 2, 3], std=[4, 5, 6])
    assert (data.num_classes, data.class_names, data.ignore_index, data.in_channels) == (3, THREE, 255, 3)
    assert data.class_colors == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert (data.mean, data.std) == ([1, 2, 3], [4, 5, 6])
    assert data.test_split_name == "val"
    assert VOC().num_classes == 21
    assert VOC().mean == pytest.approx([123.675, 116.28, 103.53])


@pytest.mark.parametrize(
    ("workers", "context"),
    [(1, None), (4, "fork"), (1, "forkserver"), pytest.param(2, "spawn", marks=pytest.mark.slow)],
)
def test_the_same_batches_come_with_any_number_of_workers_however_started(voc_root, workers, context):
    alone = open_voc(voc_root).train_dataloader()
    expected = [epoch_of(alone, epoch) for epoch in range(2)]
    data = open_voc(voc_root, num_workers=workers, multiprocessing_context=context, cache="ram")
    loader = data.train_dataloader()
    for epoch in (0, 1):  # in the second epoch from the cache, by workers that persist
        assert_same(epoch_of(loader, epoch), expected[epoch])
    assert len(data.datasets["train"].cache) >= 9  # the epochs leave out one image each


def test_another_seed_gives_other_batches_and_an_epoch_stands_for_itself(voc_root):
    loader = open_voc(voc_root).train_dataloader()
    third = epoch_of(loader, 3)
    assert_same(epoch_of(open_voc(voc_root).train_dataloader(), 3), third)
    other = epoch_of(open_voc(voc_root, seed=1).train_dataloader(), 3)
    assert [ids for ids, *_ in other] != [ids for ids, *_ in third]


class Recorder(pl.LightningModule):
    """Remember what it is given, in the order in which it comes."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append(
            (self.current_epoch, batch["id"], int(batch["image"].long().sum()), batch["mask"].sum().item())
        )
        return self.weight * 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data, folder, epochs, ckpt_path=None):
    model = Recorder()
    callback = pl.callbacks.ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return model.seen


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(voc_root, tmp_path, workers):
    def data():
        return VOC(str(voc_root), classes=THREE, crop=(24, 32), batch_size=3, num_workers=workers)

    whole = fit(data(), tmp_path / "whole", 4)
    first = fit(data(), tmp_path / "part", 2)
    rest = fit(data(), tmp_path / "part", 4, ckpt_path=tmp_path / "part" / "epoch=1.ckpt")
    assert len(whole) == 12
    assert first + rest == whole
    assert len({tuple(ids) for _, ids, *_ in whole}) > 8


def test_evaluation_gives_every_image_once_at_its_own_size_and_unchanged(voc_root):
    data = open_voc(voc_root, batch_size=4)
    names = []
    for batch in data.val_dataloader():
        for image, mask, name in zip(batch["image"], batch["mask"], batch["id"], strict=True):
            path = voc_root / "JPEGImages" / f"{name}.jpg"
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), read_image(path))
            np.testing.assert_array_equal(mask.numpy(), read_mask(voc_root / "SegmentationClass" / f"{name}.png"))
            names.append(name)
    assert sorted(names) == sorted((voc_root / "ImageSets/Segmentation/val.txt").read_text().split())


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_resize_acts_on_the_image_alone_in_evaluation_and_on_both_in_training(voc_root, cache):
    data = open_voc(voc_root, resize=(20, 30), augment=[], cache=cache)
    for _ in range(2):
        for batch in data.val_dataloader():
            image = read_image(voc_root / "JPEGImages" / f"{batch['id'][0]}.jpg")
            np.testing.assert_array_equal(batch["image"][0].permute(1, 2, 0), resize_image(image, (20, 30)))
            assert batch["mask"].shape[1:] == image.shape[:2]
        batch = next(iter(data.train_dataloader()))
        assert batch["image"].shape[2:] == batch["mask"].shape[1:] == (20, 30)


def test_processes_share_evaluation_without_repeats(voc_root, monkeypatch):
    seen = []
    for rank in range(2):
        data = open_voc(voc_root, batch_size=2)
        monkeypatch.setattr("seg.data.processes.rank", lambda trainer, rank=rank: (rank, 2))
        seen += [name for batch in data.val_dataloader() for name in batch["id"]]
        assert len(data.train_dataloader()) == 2  # 5 of 10 images each, in batches of 2, the last one left out
    assert len(seen) == len(set(seen)) == 5


def test_a_training_set_smaller_than_a_batch_gives_one_smaller_batch(voc_root):
    loader = open_voc(voc_root, batch_size=64).train_dataloader()
    assert [len(batch["id"]) for batch in loader] == [10]
    assert [len(batch["id"]) for batch in open_voc(voc_root, batch_size=4).train_dataloader()] == [4, 4]


def test_an_augmentation_without_a_crop_is_met_with_the_cure(voc_root):
    with pytest.raises(ValueError, match=r"one size.*end the augment list with a crop"):
        list(open_voc(voc_root, augment=[A.HorizontalFlip()]).train_dataloader())


def test_missing_files_are_counted_and_named_before_the_first_step(voc_root):
    for number in range(7):
        next((voc_root / "JPEGImages").glob(f"train_{number:03}.jpg")).unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)7 files of the train split are missing.*train_000\.jpg.*…"):
        open_voc(voc_root)


def test_a_missing_folder_says_which_tree_is_expected_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)no folder .*nowhere.*JPEGImages.*download true"):
        open_voc(tmp_path / "nowhere")


def test_an_empty_split_is_refused(voc_root):
    (voc_root / "ImageSets/Segmentation/val.txt").write_text("\r\n \n")
    with pytest.raises(ValueError, match=r"the val split .* is empty"):
        open_voc(voc_root)


@pytest.mark.parametrize("workers", [0, 1])
def test_label_37_reaches_the_user_with_its_file(voc_root, workers):
    mask = read_mask(voc_root / "SegmentationClass" / "val_010.png").copy()
    mask[:2, :5] = 37
    Image.fromarray(mask).save(voc_root / "SegmentationClass" / "val_010.png")
    loader = open_voc(voc_root, num_workers=workers).val_dataloader()
    with pytest.raises(ValueError, match=r"val_010\.png holds label 37 \(10 pixels\).*3 classes"):
        list(loader)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["one"]}, "2 to 255 classes"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"num_workers": -1}, "num_workers: -1"),
        ({"cache_limit": -1.0}, "cache_limit"),
        ({"crop": (0, 5)}, "crop"),
        ({"resize": (5,)}, "resize"),
        ({"mean": [1.0]}, "mean"),
        ({"std": [1.0, 0.0, 2.0]}, "std"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        VOC("nowhere", **{"classes": THREE, **settings})


def test_auto_takes_a_worker_a_core(voc_root, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert open_voc(voc_root, num_workers="auto").train_dataloader().num_workers == 6
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert open_voc(voc_root, num_workers="auto").train_dataloader().num_workers == 0


def test_test_without_a_list_of_its_own_reads_validation_and_says_so(voc_root, caplog):
    data = open_voc(voc_root)
    with caplog.at_level(logging.WARNING):
        data.setup("test")
    assert "test reads val" in caplog.text
    assert len(data.test_dataloader()) == len(data.val_dataloader())


def test_the_command_line_builds_a_data_module_from_yaml(tmp_path):
    root = write_voc(tmp_path / "voc", {"train": 3, "val": 2}, [(40, 50)])
    settings = {
        "root": str(root),
        "classes": THREE,
        "crop": [24, 32],
        "label_map": {7: 255},
        "num_workers": 0,
        "augment": [
            {"class_path": "albumentations.Rotate", "init_args": {"limit": 30}},
            {"class_path": "seg.data.transforms.RandomScaleCrop", "init_args": {"height": 24, "width": 32}},
        ],
    }

    def run(**changes):
        config = {"data": {"class_path": "seg.data.VOC", "init_args": {**settings, **changes}}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return LightningCLI(
            Recorder,
            SegmentationData,
            subclass_mode_data=True,
            run=False,
            save_config_callback=None,
            args=["--config", str(tmp_path / "config.yaml")],
        ).datamodule

    data = run()
    data.setup("fit")
    assert isinstance(data, VOC)
    assert [type(transform).__name__ for transform in data.augment] == ["Rotate", "RandomScaleCrop"]
    assert next(iter(data.train_dataloader()))["image"].shape == (3, 3, 24, 32)
    with pytest.raises(SystemExit):
        run(augment=[{"class_path": "albumentations.Rotate", "init_args": {"limits": 30}}])
