"""A small data set in Cityscapes' tree, drawn by the tests: images, polygons, and masks of any kind."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FRAMES = {
    "train": ["jena_000000_000019", "jena_000001_000019", "zurich_000000_000019", "zurich_000001_000019"],
    "val": ["lindau_000000_000019", "munster_000000_000019"],
    "test": ["berlin_000000_000019"],
}


def box(label: str, left: float, top: float, right: float, bottom: float, **more: object) -> dict:
    """Return an object that is a rectangle."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, **more}


def scene(height: int, width: int, seed: int) -> dict:
    """Return an annotation: sky over road, boxes of the usual and the odd labels, a border without any."""
    rng = np.random.default_rng(seed)
    objects = [box("sky", 2, 0, width + 5, height // 2), box("road", 2, height // 2, width, height - 3)]
    for label in ("car", "persongroup", "caravan", "polegroup", "license plate", "building", "bicycle"):
        left, top = rng.integers(0, width - 12), rng.integers(0, height - 12)
        objects.append(box(label, int(left), int(top), int(left) + 9, int(top) + 9))
    return {"imgHeight": height, "imgWidth": width, "objects": objects}


def write_tree(root: Path, size: tuple[int, int] = (40, 60), fine: str = "gtFine") -> Path:
    """Write images and polygons of 4 training frames, 2 for validation, and a test frame with a dummy annotation."""
    for split, frames in FRAMES.items():
        for number, frame in enumerate(frames):
            city = frame.partition("_")[0]
            image = root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(image)
            held = scene(*size, number)
            if split == "test":
                held["objects"] = [box("out of roi", 0, 0, size[1], 3)]
            path = root / fine / split / city / f"{frame}_{fine}_polygons.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(held, indent=4))
    return root
