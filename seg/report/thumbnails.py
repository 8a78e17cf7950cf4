"""The pictures that a record keeps of an image: small enough that a page holds a thousand, exact where labels are."""

import io

import cv2
import numpy as np
from PIL import Image

from seg.convert.png import encode_grey
from seg.draw import rgb

FILES = ("image.jpg", "truth.png", "prediction.png", "confidence.jpg")
"""The pictures of an image; confidence may be missing."""
ROOM = 16_500_000
"""Bytes that the pictures of a whole split may take, so that a page of them, in base64, stays under 30 MB."""
LEAST, MOST = 3_500, 60_000  # bytes an image, whatever the number of images


def room_of(images: int) -> int:
    """Return the bytes that the pictures of one of so many images may take."""
    return int(np.clip(ROOM // max(images, 1), LEAST, MOST))


def side_of(room: int) -> int:
    """Return the longer side in pixels of pictures that may take so many bytes: 300 for 17.5 KB, 512 at most."""
    return int(np.clip(300 * (room / 17_500) ** 0.5, 140, 512))


def small_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return (height, width) with the longer side brought down to `side`, never below 1, never enlarged."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def encode(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, confidence: np.ndarray | None, room: int
) -> dict[str, bytes]:
    """Return file name -> bytes of the pictures of an image.

    Labels are picked, never mixed, and stored without loss; where they take too much room (a prediction that is all
    noise), they are picked more coarsely.

    Args:
        image: (h, w, N) of any type, see `seg.draw.rgb`; h, w may differ from H, W.
        truth: uint8 (H, W), 255 = ignore.
        prediction: uint8 (H, W).
        confidence: uint8 (h', w') of 0..255, or None.
        room: bytes that all of them may take together.

    """
    size = small_size(truth.shape[0], truth.shape[1], side_of(room))
    files: dict[str, bytes] = {}
    step = 1
    while True:
        coarse = max(1, size[0] // step), max(1, size[1] // step)
        files = {
            "truth.png": encode_grey(_picked(truth, coarse)),
            "prediction.png": encode_grey(_picked(prediction, coarse)),
        }
        if sum(map(len, files.values())) <= 0.45 * room or max(coarse) <= 32:
            break
        step *= 2
    if confidence is not None:
        small = Image.fromarray(confidence).resize(
            small_size(confidence.shape[0], confidence.shape[1], max(max(size) // 2, 1))[::-1]
        )
        files["confidence.jpg"] = _jpeg(small, [70, 40], room // 7)
    left = room - sum(map(len, files.values()))
    few = np.ascontiguousarray(image[:, :, :3])  # OpenCV scales four channels at most
    photo = rgb(cv2.resize(few, size[::-1], interpolation=cv2.INTER_AREA))
    files["image.jpg"] = _jpeg(Image.fromarray(photo), [84, 74, 62, 48, 34], left)
    return files


def _picked(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask of another size, each pixel that nearest to its centre."""
    rows, columns = (
        ((np.arange(small) + 0.5) * full / small).astype(np.intp) for small, full in zip(size, mask.shape, strict=True)
    )
    return np.ascontiguousarray(mask[rows][:, columns])


def _jpeg(image: Image.Image, qualities: list[int], room: int) -> bytes:
    """Return a JPEG of the best of some qualities that fits, of the last one where none does."""
    for quality in qualities:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=quality)
        if file.tell() <= room:
            break
    return file.getvalue()
