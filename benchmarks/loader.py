"""Measure loader throughput, beside plain albumentations and torchvision v2 data sets and a loader that only decodes.

    python benchmarks/loader.py --root data/CamVid [--suffix png] [--repeats 7]
    python benchmarks/loader.py --layout voc --root data/VOCdevkit/VOC2012

Every row reads the whole training split in batches, with the same number of workers. Rows "first epoch" start their
workers anew each time, as a run does; the cached row is an epoch of a loader that has read everything before. The rows
take turns, so that whatever else the machine does meets them alike; the medians are printed. All peers scale by 0.5 to
2, crop, flip, jitter brightness, contrast, saturation and hue alike, and normalise, as seg's default does (seg leaves
normalising to the device).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from seg.data import VOC, CamVid, SegmentationData
from seg.data.dataset import Pair, start_worker
from seg.data.transforms import IMAGENET_MEAN, IMAGENET_STD

LAYOUTS: dict[str, tuple[type[SegmentationData], tuple[int, int]]] = {
    "camvid": (CamVid, (360, 480)),
    "voc": (VOC, (512, 512)),
}


def decode_cv2(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read as albumentations' documentation does."""
    return cv2.cvtColor(cv2.imread(pair.image), cv2.COLOR_BGR2RGB), cv2.imread(pair.mask, cv2.IMREAD_UNCHANGED)


def decode_pillow(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read as torchvision's data sets do."""
    return np.array(Image.open(pair.image).convert("RGB")), np.array(Image.open(pair.mask))


class Decoded(Dataset):
    """Decode, and nothing else: the bound for whoever has to decode."""

    def __init__(self, pairs: list[Pair], decode: Callable) -> None:
        self.pairs, self.decode = pairs, decode

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        image, mask = self.decode(self.pairs[index])
        return {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}


class Albumentations(Decoded):
    """Decode, augment, normalise to float, sample by sample, as albumentations' documentation does."""

    def __init__(self, pairs: list[Pair], decode: Callable, crop: tuple[int, int]) -> None:
        super().__init__(pairs, decode)
        self.transform = A.Compose(
            [
                A.RandomScale((-0.5, 1.0), p=1.0),
                A.PadIfNeeded(*crop, fill_mask=255),
                A.RandomCrop(*crop),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03, p=1.0),
                A.Normalize([value / 255 for value in IMAGENET_MEAN], [value / 255 for value in IMAGENET_STD]),
                ToTensorV2(),
            ]
        )

    def __getitem__(self, index: int) -> dict:
        image, mask = self.decode(self.pairs[index])
        return self.transform(image=image, mask=mask)


class Torchvision(Decoded):
    """The same with torchvision's transforms v2, as its segmentation references do."""

    def __init__(self, pairs: list[Pair], decode: Callable, crop: tuple[int, int]) -> None:
        super().__init__(pairs, decode)
        self.transform = v2.Compose(
            [
                v2.ScaleJitter(crop, (0.5, 2.0)),
                v2.RandomCrop(crop, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}),
                v2.RandomHorizontalFlip(0.5),
                v2.ColorJitter(0.3, 0.3, 0.3, 0.03),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize([value / 255 for value in IMAGENET_MEAN], [value / 255 for value in IMAGENET_STD]),
            ]
        )

    def __getitem__(self, index: int) -> dict:
        image, mask = self.decode(self.pairs[index])
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        image, mask = self.transform(tv_tensors.Image(pixels), tv_tensors.Mask(torch.from_numpy(mask)))
        return {"image": image.as_subclass(torch.Tensor), "mask": mask.as_subclass(torch.Tensor)}


def one_by_one(samples: list[dict]) -> dict:
    """Keep samples of several sizes in a list, moved to shared memory as a batch would be."""
    return {name: [sample[name] for sample in samples] for name in samples[0]}


def reencode(root: Path, target: Path, suffix: str) -> Path:
    """Write CamVid's training split with images of another format, without further loss."""
    data = CamVid(str(root))
    lines = []
    for pair in data.pairs("train"):
        for folder, file in (("train", pair.image), ("trainannot", pair.mask)):
            (target / folder).mkdir(exist_ok=True)
            written = target / folder / Path(file).with_suffix(f".{suffix}" if folder == "train" else ".png").name
            Image.open(file).save(written)
        lines.append(f"train/{pair.id}.{suffix} trainannot/{pair.id}.png\n")
    (target / "train.txt").write_text("".join(lines))
    (target / "val.txt").write_text("".join(lines))
    return target


def measure(root: Path, layout: str, workers: int, batch_size: int, repeats: int) -> dict[str, float]:
    """Return images per second by row, the median of `repeats` epochs each."""
    kind, crop = LAYOUTS[layout]
    pairs = kind(str(root)).pairs("train")

    def plain(dataset: Dataset, collate: Callable | None = None) -> Callable[[], DataLoader]:
        def make() -> DataLoader:
            return DataLoader(
                dataset,
                batch_size,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                worker_init_fn=start_worker,
                collate_fn=collate,
            )

        return make

    def ours(cache: str) -> DataLoader:
        data = kind(str(root), crop=crop, batch_size=batch_size, num_workers=workers, cache=cache)
        data.setup("fit")
        return data.train_dataloader()

    warm = ours("ram")
    for epoch in range(2):  # an epoch leaves out the last few images, the next finds them
        warm.sampler.set_epoch(epoch)
        for _ in warm:
            pass

    rows: dict[str, Callable[[], DataLoader]] = {
        "decode only, OpenCV": plain(Decoded(pairs, decode_cv2), one_by_one),
        "decode only, Pillow": plain(Decoded(pairs, decode_pillow), one_by_one),
        "albumentations, OpenCV": plain(Albumentations(pairs, decode_cv2, crop)),
        "torchvision v2, Pillow": plain(Torchvision(pairs, decode_pillow, crop)),
        "seg first epoch": lambda: ours("none"),
        "seg first epoch, filling the RAM cache": lambda: ours("ram"),
        "seg later epochs, RAM cache": lambda: warm,
    }
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(repeats):
        for name, make in rows.items():
            loader = make()
            if loader is warm:
                loader.sampler.set_epoch(2 + repeat)
            start = time.perf_counter()
            number = sum(len(batch["mask"]) for batch in loader)
            speeds[name].append(number / (time.perf_counter() - start))
            del loader
    return {name: statistics.median(values) for name, values in speeds.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=list(LAYOUTS), default="camvid", help="what lies in root")
    parser.add_argument("--root", type=Path, default=Path("data/CamVid"))
    parser.add_argument("--suffix", choices=["png", "jpg"], help="re-encode CamVid's images in this format first")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as temporary:
        root = reencode(arguments.root, Path(temporary), arguments.suffix) if arguments.suffix else arguments.root
        speeds = measure(root, arguments.layout, arguments.workers, arguments.batch_size, arguments.repeats)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{arguments.suffix or 'files as they are'}, {arguments.workers} workers, {load}")
    heads = [name for name in speeds if not name.startswith("seg")]
    print(f"{'':40} images/s   " + "   ".join(f"÷ {head}" for head in heads))
    for name, speed in speeds.items():
        ratios = "   ".join(f"{speed / speeds[head]:{len(head) + 2}.2f}" for head in heads)
        print(f"{name:40} {speed:8.0f}   {ratios}")


if __name__ == "__main__":
    main()
