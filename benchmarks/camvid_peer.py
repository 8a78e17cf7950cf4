"""Train smp's ResNet-18 U-Net from random weights by a plain loop: the peer that camvid_unet_cpu has to beat.

A textbook loop: AdamW, cosine over a budget of training minutes, flips, random scale and crop by albumentations on
images decoded once, bf16 autocast and channels_last. Images are 240×180; predictions are scored at the labels'
own 480×360 with one confusion matrix over the whole split. Validation is not counted in the budget.

    python benchmarks/camvid_peer.py --root data/CamVid --minutes 12
"""

import argparse
import math
import time
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

CLASSES = [
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
]
IGNORE = 255
MEAN, STD = (0.4119, 0.4251, 0.4327), (0.2741, 0.2851, 0.2828)
WIDTH, HEIGHT = 240, 180


class CamVid(Dataset):
    """Read the SegNet tutorial's tree, decode everything once, augment on the fly."""

    def __init__(self, root: Path, split: str, augment: A.Compose | None):
        cv2.setNumThreads(0)
        self.augment, self.items = augment, []
        for line in (root / f"{split}.txt").read_text().split("\n"):
            if not line.strip():
                continue
            image_name, mask_name = (Path(part).name for part in line.split())
            image = cv2.cvtColor(cv2.imread(str(root / split / image_name)), cv2.COLOR_BGR2RGB)
            mask = cv2.imread(str(root / f"{split}annot" / mask_name), cv2.IMREAD_UNCHANGED)
            mask = np.where(mask >= len(CLASSES), IGNORE, mask).astype(np.uint8)
            self.items.append((cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), mask))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        image, mask = self.items[index]
        if self.augment is not None:
            small = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
            out = self.augment(image=image, mask=small)
            image, mask = out["image"], out["mask"]
        image = (image.astype(np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)), torch.from_numpy(mask.astype(np.int64))


def pad_to_32(images):
    """Pad right and below to a multiple of 32, as smp's encoders need."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % 32, 0, -height % 32), mode="replicate")


def forward(model, images):
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(pad_to_32(images))
    return logits[..., : images.shape[-2], : images.shape[-1]].float()


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    count = len(CLASSES)
    confusion = np.zeros((count, count), np.int64)
    for images, masks in loader:
        logits = F.interpolate(forward(model, images), size=masks.shape[-2:], mode="bilinear", align_corners=False)
        truth, guess = masks.numpy(), logits.max(1).indices.numpy()
        keep = truth != IGNORE
        confusion += np.bincount(truth[keep] * count + guess[keep], minlength=count**2).reshape(count, count)
    model.train()
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("data/CamVid"))
    parser.add_argument("--minutes", type=float, default=12.0, help="training time; validation is not counted")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="score the test split too, once, at the end")
    parser.add_argument("--save", type=Path, help="where the weights go")
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    augment = A.Compose(
        [
            A.RandomScale((-0.5, 1.0), p=1.0),
            A.PadIfNeeded(HEIGHT, WIDTH, fill=0, fill_mask=IGNORE),
            A.RandomCrop(HEIGHT, WIDTH),
            A.HorizontalFlip(p=0.5),
        ],
        seed=args.seed,
    )
    train = DataLoader(
        CamVid(args.root, "train", augment),
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    val = DataLoader(CamVid(args.root, "val", None), args.batch_size)

    model = smp.Unet("resnet18", encoder_weights=None, classes=len(CLASSES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=args.weight_decay)

    budget, spent, epoch = args.minutes * 60, 0.0, 0
    while spent < budget:
        mark = time.perf_counter()
        for images, masks in train:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * 0.5 * (1 + math.cos(math.pi * spent / budget))
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(model, images), masks, ignore_index=IGNORE)
            loss.backward()
            optimizer.step()

            # The wait for the loader counts; validation does not.
            now = time.perf_counter()
            spent, mark = spent + now - mark, now
            if spent >= budget:
                break
        epoch += 1
        if epoch % 10 == 0:
            miou = np.nanmean(evaluate(model, val))
            print(f"epoch {epoch} · {spent:.0f} s · loss {loss.item():.3f} · val mIoU {miou:.4f}", flush=True)

    for split in ["val", "test"] if args.test else ["val"]:
        loader = val if split == "val" else DataLoader(CamVid(args.root, split, None), args.batch_size)
        iou = evaluate(model, loader)
        print(f"{epoch} epochs in {spent / 60:.1f} min · {split} mIoU {np.nanmean(iou):.4f}")
        print("   " + " · ".join(f"{name} {value:.3f}" for name, value in zip(CLASSES, iou, strict=True)))
    if args.save:
        torch.save(model.state_dict(), args.save)


if __name__ == "__main__":
    main()
