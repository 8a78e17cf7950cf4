"""What the pixels of a data set are: bands, type and range; stated once, and the same in every image."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seg.data.classes import IGNORE
from seg.data.images import Channels
from seg.data.transforms import IMAGENET_MEAN, IMAGENET_STD


class Pixels(NamedTuple):
    """Bands, type and statistics that all images of a data set share.

    Args:
        channels: what files are read as, see `read_image`.
        bands: number of bands.
        dtype: uint8, uint16 or float32.
        mean: of every band, in the files' values.
        std: of every band.
        clip: lowest and highest value of every band, beyond which values are cut off; None cuts nothing off.
        source: the file that bands and type were seen in, for errors.

    """

    channels: Channels = "rgb"
    bands: int = 3
    dtype: str = "uint8"
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    clip: Sequence[Sequence[float]] | None = None
    source: str = ""

    @property
    def are_rgb(self) -> bool:
        """Whether they are 8-bit red, green and blue, which colour augmentation is made for."""
        return self.channels == "rgb"

    def check(self, image: np.ndarray, path: str) -> None:
        """Refuse an image of other bands or another type.

        Raises:
            ValueError: naming both files.

        """
        if image.shape[2] != self.bands or image.dtype != self.dtype:
            expected = f"{self.source} has" if self.source else "the network takes"
            raise ValueError(
                f"image {path} has {image.shape[2]} bands of {image.dtype}, but {expected} {self.bands} of "
                f"{self.dtype}; all images of a data set must be of one kind (channels: {self.channels})"
            )

    def fill(self, image: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Replace, in place, what is missing in a float image by the mean, and in its mask by "ignore".

        Args:
            image: (H, W, N); NaN and infinite values are missing. The mean becomes 0 when it is normalised.
            mask: uint8 (H, W); pixels that every band lacks are neither trained on nor scored.

        """
        if image.dtype != np.float32:
            return
        missing = ~np.isfinite(image)
        if not missing.any():
            return
        np.copyto(image, np.asarray(self.mean, np.float32), where=missing)
        if mask is not None:
            mask[missing.all(axis=2)] = IGNORE


class PixelFacts:
    """What a data module says of its pixels, in the plain values that are linked to network and task."""

    @property
    @abstractmethod
    def pixels(self) -> Pixels:
        """What the pixels are, and how they are normalised."""

    @property
    def in_channels(self) -> int:
        """The number of bands."""
        return self.pixels.bands

    @property
    def mean(self) -> list[float]:
        """The mean of every band, in the files' values."""
        return list(self.pixels.mean)

    @property
    def std(self) -> list[float]:
        """The standard deviation of every band."""
        return list(self.pixels.std)

    @property
    def clip(self) -> list[list[float]] | None:
        """The lowest and highest value of every band, beyond which values are cut off, if any are."""
        return None if self.pixels.clip is None else [list(pair) for pair in self.pixels.clip]

    @property
    def image_kind(self) -> list[str]:
        """What images are read as, and the type of their values."""
        return [self.pixels.channels, self.pixels.dtype]
