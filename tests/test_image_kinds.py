"""Train, test and predict through the real command on images that are not 8-bit RGB."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from seg.loading import load_task as load
from seg.predict import predict_files
from tests.command import run, write_config


def scene(seed: int, bands: int, dtype: str, size: tuple[int, int] = (64, 72)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a square that is brighter than its surroundings in every band, in a range that only `dtype` has."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    top, left = generator.integers(4, 24, 2)
    mask[top : top + 32, left : left + 32] = 1
    low, step = {"uint8": (60, 90), "uint16": (900, 500), "float32": (-3.0, 2.5)}[dtype]
    image = (
        low
        + step * (mask[:, :, None] == 1) * np.linspace(0.8, 1.2, bands)
        + generator.normal(0, step / 10, (*size, bands))
    )
    return image.astype(dtype), mask


def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray, suffix: str) -> None:
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    (root / "SegmentationClass").mkdir(exist_ok=True)
    path = root / "JPEGImages" / f"{name}.{suffix}"
    if suffix == "npy":
        np.save(path, image)
    elif suffix == "png":
        cv2.imwrite(str(path), image)
    else:
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig" if image.shape[2] > 1 else None)
    Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")


def write_tree(root: Path, bands: int, dtype: str, suffix: str) -> Path:
    """Write a VOC tree of 8 training and 3 validation images."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, seeds in (("train", range(8)), ("val", range(8, 11))):
        for seed in seeds:
            image, mask = scene(seed, bands, dtype)
            if dtype == "float32" and seed % 2:
                image[:3] = np.nan  # no data at all
                image[5, 5, 0] = np.inf  # none in one band
            write_pair(root, f"{split}{seed}", image, mask, suffix)
        (lists / f"{split}.txt").write_text("\n".join(f"{split}{seed}" for seed in seeds))
    return root


SMP = {"net": {"class_path": "seg.models.SMP", "init_args": {"arch": "Unet", "encoder": "resnet18"}}}
UNET = {"net": {"class_path": "seg.models.UNet", "init_args": {"width": 16, "depth": 2, "norm": "group"}}}
OPTIMIZER = {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}}}


@pytest.mark.parametrize(
    ("bands", "dtype", "suffix", "channels", "model", "cache"),
    [
        (1, "uint16", "png", "grey", UNET, "none"),
        (1, "uint8", "png", "native", UNET, "disk"),
        (4, "uint8", "tif", "native", SMP, "ram"),
        (5, "float32", "tif", "native", UNET, "ram"),
        (5, "uint16", "npy", "native", UNET, "disk"),
    ],
)
def test_images_of_any_bands_and_depth_are_learned_tested_and_predicted(
    workplace, bands, dtype, suffix, channels, model, cache
):
    root = write_tree(workplace / "data", bands, dtype, suffix)
    data = {"classes": ["ground", "square"], "colors": None, "channels": channels, "cache": cache, "crop": [48, 48]}
    epochs = 6 if model is UNET else 1  # batch norm needs longer
    config = write_config(workplace / "kind.yaml", root, model={**model, **OPTIMIZER}, data=data, max_epochs=epochs)
    run("--config", config)

    checkpoint = Path("runs/kind/version_0/checkpoints/best.ckpt")
    task = load(checkpoint, "cpu")
    assert task.image_kind == [channels, dtype]
    assert len(task.hparams["mean"]) == bands
    assert (task.hparams["clip"] is None) == (dtype == "uint8")
    assert Path("runs/kind/version_0/examples/val8.png").is_file()

    # a new image, predicted from raw pixels by nothing but the checkpoint
    image, mask = scene(99, bands, dtype)
    write_pair(workplace / "new", "x", image, mask, suffix)
    assert predict_files(checkpoint, [Path("new/JPEGImages")], Path("out"), device="cpu") == []
    predicted = np.array(Image.open("out/x.png"))
    assert model is SMP or (predicted == mask).mean() > 0.97
    assert Image.open("out/overlays/x.png").size == mask.shape[::-1]


def test_an_image_of_another_kind_than_the_network_was_trained_on_is_refused(workplace, capsys):
    root = write_tree(workplace / "data", 4, "uint16", "tif")
    data = {"classes": ["ground", "square"], "colors": None, "channels": "native", "crop": [48, 48]}
    run("--config", write_config(workplace / "kind.yaml", root, data=data, max_epochs=1))
    for name, bands, dtype in (("few", 3, "uint16"), ("shallow", 4, "uint8")):
        write_pair(workplace / "new", name, *scene(0, bands, dtype), "tif")
    failed = predict_files(
        Path("runs/kind/version_0/checkpoints/best.ckpt"), [Path("new/JPEGImages")], Path("out"), device="cpu"
    )
    assert len(failed) == 2
    assert "few.tif has 3 bands of uint16, but the network takes 4 of uint16" in failed[0]
    assert "shallow.tif has 4 bands of uint8, but the network takes 4 of uint16" in failed[1]


def test_a_checkpoint_keeps_its_normalisation_when_the_training_data_change(workplace, capsys):
    root = write_tree(workplace / "data", 4, "uint16", "tif")
    data = {"classes": ["ground", "square"], "colors": None, "channels": "native", "crop": [48, 48]}
    config = write_config(workplace / "kind.yaml", root, data=data, max_epochs=1)
    run("--config", config)
    checkpoint = Path("runs/kind/version_0/checkpoints/best.ckpt")
    held = torch.load(checkpoint, weights_only=True)["hyper_parameters"]["mean"]
    before = capsys.readouterr().out.split("test mIoU")[1].split()[0]
    image, mask = scene(0, 4, "uint16")
    write_pair(root, "train0", image * 9, mask, "tif")
    run("test", "--config", config, "--ckpt_path", checkpoint)
    said = capsys.readouterr().out
    assert f"normalised as the checkpoint says, not as the data do: mean {held}" in said
    assert said.split("test mIoU")[1].split()[0] == before


def test_a_data_set_that_is_not_there_is_named_before_a_network_is_built(workplace, capsys):
    data = {"classes": ["ground", "square"], "colors": None, "channels": "native"}
    with pytest.raises(SystemExit) as refused:
        run("--config", write_config(workplace / "kind.yaml", workplace / "nowhere", data=data))
    assert refused.value.code == 2
    assert "nowhere" in capsys.readouterr().err
