"""The default augmentation, as albumentations classes that do only the work that is needed."""

import math
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np

from seg.data.classes import IGNORE
from seg.data.images import interpolate

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""ImageNet's mean and standard deviation, of pixel values 0..255; what pretrained encoders expect."""


_TRIES = 10


class RandomScaleCrop(A.DualTransform):  # type: ignore[misc]
    """Scale by a random factor and cut out a random window, where needed padded: with `fill`, and the mask with 255.

    The window is cut in the source first, so that only pixels that are kept are ever resized.

    Args:
        height: of the window, in pixels.
        width: of the window, in pixels.
        scale: smallest and largest factor; halving is as likely as doubling (uniform in the logarithm).
        fill: value of the padding, a number a band; the data's mean where not given, which normalises to about 0.
        p: probability of scaling; the window is cut in any case.
        rare_labels: labels that a share of the windows must contain, where the mask has one.
        rare_share: that share.
        cat_max_ratio: largest share of one class among a window's labelled pixels; windows above are drawn anew, up to
            ten times (MMSegmentation's recipe of 0.75). It does not bind the windows that must contain a rare label.

    Raises:
        ValueError: a window without pixels, factors that are not positive and in order, or a share out of 0..1.

    """

    _targets = (A.core.type_definitions.Targets.IMAGE, A.core.type_definitions.Targets.MASK)

    def __init__(
        self,
        height: int,
        width: int,
        scale: tuple[float, float] = (0.5, 2.0),
        fill: Sequence[float] | None = None,
        p: float = 1.0,
        rare_labels: Sequence[int] = (),
        rare_share: float = 0.0,
        cat_max_ratio: float = 1.0,
    ) -> None:
        super().__init__(p=1.0)
        if height < 1 or width < 1:
            raise ValueError(f"crop: {height}×{width} has no pixels; give [height, width] of at least 1")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale: {tuple(scale)} must be positive, the smaller factor first")
        self.height, self.width, self.fill_mask = height, width, IGNORE
        if not (0 <= rare_share <= 1 and 0 < cat_max_ratio <= 1):
            raise ValueError(f"rare_share: {rare_share} and cat_max_ratio: {cat_max_ratio} must be shares, 0 to 1")
        self.scale, self.fill, self.scale_p = (float(scale[0]), float(scale[1])), fill, p
        self.rare_labels, self.rare_share, self.cat_max_ratio = list(rare_labels), rare_share, cat_max_ratio

    def suit(self, mean: Sequence[float], std: Sequence[float], whole: bool) -> None:
        """Take the mean of the data to pad with, rounded where values are whole; `Augment` calls this."""
        if self.fill is None:
            self.fill = [round(value) if whole else value for value in mean]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the factor and the window."""
        random = self.py_random
        low, high = self.scale
        factor = low * (high / low) ** random.random() if random.random() < self.scale_p else 1.0
        height, width = params["shape"][:2]
        if self.rare_labels and random.random() < self.rare_share:
            rare = self._window_with_rare_label(data["mask"], factor)
            if rare is not None:
                return rare
        for _ in range(_TRIES):
            rows, target_rows, top = self._window(height, self.height, factor, random.random())
            columns, target_columns, left = self._window(width, self.width, factor, random.random())
            window = {"source": (*rows, *columns), "target": (target_rows, target_columns), "offset": (top, left)}
            if self.cat_max_ratio == 1 or self._varied(data["mask"][slice(*rows), slice(*columns)]):
                break
        return window

    def _varied(self, mask: np.ndarray) -> bool:
        """Tell whether no class takes more than `cat_max_ratio` of the labelled pixels."""
        counts = cv2.calcHist([np.ascontiguousarray(mask)], [0], None, [IGNORE], [0, IGNORE])
        return bool(counts.max() <= self.cat_max_ratio * counts.sum() > 0)

    def _window_with_rare_label(self, mask: np.ndarray, factor: float) -> dict[str, Any] | None:
        """Draw a window in which a pixel of a rare label is still there after scaling; None where the mask has none."""
        random = self.py_random
        for label in random.sample(self.rare_labels, len(self.rare_labels)):
            found = np.flatnonzero(mask == label)
            if len(found):
                break
        else:
            return None
        # Made smaller, a mask loses pixels, and with them all of a thin object: at its own size none is lost.
        for tried in (*[factor] * _TRIES, 1.0):
            row, column = divmod(int(found[int(random.random() * len(found))]), mask.shape[1])
            rows = self._window_around(row, mask.shape[0], self.height, tried, random.random())
            columns = self._window_around(column, mask.shape[1], self.width, tried, random.random())
            if rows is not None and columns is not None:
                return {
                    "source": (*rows[0], *columns[0]),
                    "target": (rows[1], columns[1]),
                    "offset": (rows[2], columns[2]),
                }
        raise AssertionError("at its own size every pixel lies in some window")

    @classmethod
    def _window_around(
        cls, pixel: int, length: int, target: int, factor: float, where: float
    ) -> tuple[tuple[int, int], int, int] | None:
        """Return one of the windows of `_window` that keep a pixel, or None where scaling loses it in all of them."""
        (first, last), scaled, padded = cls._window(length, target, factor, where)
        kept = last - first
        # which of its pixels a window keeps, asked of the function that will scale it
        line = np.arange(kept, dtype=np.float32)[None]
        kept_pixels = cv2.resize(line, (scaled, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0].astype(int)
        firsts = np.unique(pixel - kept_pixels)
        firsts = firsts[(firsts >= 0) & (firsts <= length - kept)]
        if not len(firsts):
            return None
        first = int(firsts[int(where * len(firsts))])
        return (first, first + kept), scaled, padded

    @staticmethod
    def _window(length: int, target: int, factor: float, where: float) -> tuple[tuple[int, int], int, int]:
        """Return (first, last + 1) source pixel, the pixels they become, and how many are padded before them."""
        scaled = max(round(length * factor), 1)
        if scaled <= target:
            return (0, length), scaled, int(where * (target - scaled + 1))
        kept = min(max(round(target / factor), 1), length)
        first = int(where * (length - kept + 1))
        return (first, first + kept), target, 0

    def _cut(self, array: np.ndarray, params: dict[str, Any], interpolation: int, fill: Sequence[float]) -> np.ndarray:
        first_row, last_row, first_column, last_column = params["source"]
        target_height, target_width = params["target"]
        top, left = params["offset"]
        array = interpolate(
            array[first_row:last_row, first_column:last_column], (target_height, target_width), interpolation
        )
        if (target_height, target_width) == (self.height, self.width):
            return array
        if len(fill) > 4:  # more than OpenCV fills
            padded = np.empty((self.height, self.width, len(fill)), array.dtype)
            padded[:] = fill
            padded[top : top + target_height, left : left + target_width] = array
            return padded
        bottom, right = self.height - target_height - top, self.width - target_width - left
        padded = cv2.copyMakeBorder(array, top, bottom, left, right, borderType=cv2.BORDER_CONSTANT, value=fill)
        return np.asarray(padded).reshape(self.height, self.width, *array.shape[2:])

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """Cut the window out of an image."""
        fill = IMAGENET_MEAN if self.fill is None else self.fill
        if len(fill) != img.shape[2]:
            raise ValueError(f"RandomScaleCrop: fill {list(fill)} must be a number a band, {img.shape[2]} of them")
        return self._cut(img, params, cv2.INTER_LINEAR, fill)

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        """Cut the same window out of a mask, every label from the pixel at the same place."""
        return self._cut(mask, params, cv2.INTER_NEAREST_EXACT, [IGNORE])


class FastColorJitter(A.ImageOnlyTransform):  # type: ignore[misc]
    """Change brightness, contrast, saturation and hue at random, all in one 3×4 matrix: 30 times faster than by parts.

    Brightness multiplies; contrast stretches around mid-grey; saturation blends with luma (ITU-R BT.601); hue turns the
    colours around the grey axis. Values are cut off at 0 and 255 once, at the end.

    Args:
        brightness: factor 1 ± this.
        contrast: factor 1 ± this.
        saturation: factor 1 ± this.
        hue: turn by ± this part of a full circle, 0..0.5.
        p: probability.

    Raises:
        ValueError: a strength below 0.

    """

    def __init__(
        self,
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.03,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        for name, value in {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }.items():
            if not 0 <= value <= (0.5 if name == "hue" else 1):
                raise ValueError(f"{name}: {value} is not in 0..{0.5 if name == 'hue' else 1}")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def get_params(self) -> dict[str, Any]:
        """Draw the four changes and multiply them into one matrix."""
        draw = self.py_random.uniform
        brightness = draw(1 - self.brightness, 1 + self.brightness)
        contrast = draw(1 - self.contrast, 1 + self.contrast)
        saturation = draw(1 - self.saturation, 1 + self.saturation)
        return {"matrix": color_matrix(brightness, contrast, saturation, draw(-self.hue, self.hue))}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """Multiply every pixel by the matrix."""
        if img.dtype != np.uint8 or img.shape[2] != 3:
            raise ValueError("it changes 8-bit RGB alone; take seg.data.transforms.BandJitter for other images")
        return np.asarray(cv2.transform(img, matrix))


class BandJitter(A.ImageOnlyTransform):  # type: ignore[misc]
    """Change brightness and contrast of every band at random, for images that are not 8-bit RGB.

    A normalised value v becomes contrast · v + brightness. Integers are rounded and cut off where their type ends.

    Args:
        brightness: shift by ± this, in the data's standard deviations, drawn for every band.
        contrast: factor 1 ± this, around the data's mean, drawn for every band.
        p: probability.

    Raises:
        ValueError: a strength below 0, or a contrast above 1.

    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, p: float = 1.0) -> None:
        super().__init__(p=p)
        if brightness < 0 or not 0 <= contrast <= 1:
            raise ValueError(f"brightness: {brightness} must be at least 0, contrast: {contrast} in 0..1")
        self.brightness, self.contrast = brightness, contrast
        self.mean, self.std = np.asarray(IMAGENET_MEAN), np.asarray(IMAGENET_STD)

    def suit(self, mean: Sequence[float], std: Sequence[float], whole: bool) -> None:
        """Take mean and deviation of the data; `Augment` calls this."""
        self.mean, self.std = np.asarray(mean), np.asarray(std)

    def get_params(self) -> dict[str, Any]:
        """Draw the change of every band, and put it as values: factor · value + shift."""
        draw = self.py_random.uniform
        factor = np.array([draw(1 - self.contrast, 1 + self.contrast) for _ in self.mean])
        brightness = np.array([draw(-self.brightness, self.brightness) for _ in self.mean])
        shift = (1 - factor) * self.mean + brightness * self.std
        return {"factor": factor.astype(np.float32), "shift": shift.astype(np.float32)}

    def apply(self, img: np.ndarray, factor: np.ndarray, shift: np.ndarray, **params: Any) -> np.ndarray:
        """Multiply and add, band by band."""
        changed = img * factor + shift
        if img.dtype.kind == "u":
            np.rint(changed, out=changed).clip(0, np.iinfo(img.dtype).max, out=changed)
        return np.asarray(changed, dtype=img.dtype)


_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def color_matrix(brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """Return the float32 (3, 4) matrix that takes (red, green, blue, 1) to the changed colour.

    Args:
        brightness: factor.
        contrast: factor, around mid-grey.
        saturation: factor; 0 gives grey.
        hue: part of a full circle.

    """
    angle = 2 * math.pi * hue
    # Rodrigues' rotation around the grey axis (1, 1, 1)/√3.
    cosine, sine = math.cos(angle), math.sin(angle) / math.sqrt(3)
    turn = cosine * np.eye(3) + (1 - cosine) / 3 + sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    saturate = saturation * np.eye(3) + (1 - saturation) * _LUMA
    matrix = brightness * contrast * (saturate @ turn)
    return np.hstack([matrix, np.full((3, 1), 127.5 * (1 - contrast))]).astype(np.float32)


def default_augmentation(crop: tuple[int, int], rgb: bool = True) -> list[A.BasicTransform | A.BaseCompose]:
    """Return the default: scale 0.5 to 2, a random crop, a horizontal flip, and a jitter of colours or bands.

    Args:
        crop: (height, width) of what is trained on, in pixels.
        rgb: whether images are 8-bit RGB.

    """
    return [RandomScaleCrop(*crop), A.HorizontalFlip(p=0.5), FastColorJitter() if rgb else BandJitter()]
