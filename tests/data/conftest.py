"""Small data sets that the tests of this folder read, and a module that reads one without naming its class."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.convert.palette import voc_colors, write_indexed


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Return a smooth random picture, as photographs are; JPEG keeps it nearly."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def labels(seed: int, height: int, width: int, classes: int) -> np.ndarray:
    """Return a mask of blocks with every class and a border of 255."""
    small = np.random.default_rng(seed).integers(0, classes, (4, 5)).astype(np.uint8)
    mask = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))
    mask[0] = mask[:, -1] = 255
    return mask


def write_voc(root: Path, splits: dict[str, int], sizes: list[tuple[int, int]], classes: int = 3) -> Path:
    """Write a VOC tree: a number of images a split, their (height, width) in turn."""
    number = 0
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    for split, count in splits.items():
        names = []
        for _ in range(count):
            height, width = sizes[number % len(sizes)]
            name = f"{split}_{number:03}"
            Image.fromarray(picture(number, height, width)).save(root / "JPEGImages" / f"{name}.jpg", quality=92)
            mask = labels(number, height, width, classes)
            write_indexed(root / "SegmentationClass" / f"{name}.png", mask, voc_colors(classes))
            names.append(name)
            number += 1
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """Write 10 training and 5 validation images of three sizes, 3 classes."""
    return write_voc(tmp_path / "voc", {"train": 10, "val": 5}, [(40, 50), (48, 36), (33, 65)])


def write_grey_png(path: Path, mask: np.ndarray, bits: int) -> None:
    """Write a mask as a grey PNG of 1, 2, 4 or 8 bits a pixel."""
    rows = b""
    for row in mask:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    data = io.BytesIO(b"")
    data.write(b"\x89PNG\r\n\x1a\n")
    head = struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], bits, 0, 0, 0, 0)
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    path.write_bytes(data.getvalue())
