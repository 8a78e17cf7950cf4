"""The settings that say how pixels are normalised, and what they come to once the training split is looked at."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seg.data.dataset import Pair, Reader
from seg.data.images import Channels
from seg.data.pixels import Pixels
from seg.data.statistics import pixel_statistics

logger = logging.getLogger(__name__)

CLIP_PERCENTILES = (0.5, 99.5)
"""Where values of more than 8 bits are cut off unless told otherwise: a few hot pixels must not decide the range."""


@dataclass(frozen=True)
class Normalisation:
    """Hold the settings of a data module; see `SegmentationData` for what each means.

    Raises:
        ValueError: settings that cannot be, or contradict each other.

    """

    channels: Channels = "rgb"
    stats: Literal["imagenet", "auto"] | None = None
    clip_percentiles: list[float] | None = None
    clip: list[list[float]] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std", "clip"):
            values = getattr(self, name)
            if self.channels == "rgb" and values is not None and len(values) != 3:
                raise ValueError(f"{name}: {values} must be 3 numbers in pixel units (0..255), or 3 pairs of them")
        if self.std is not None and min(self.std, default=0) <= 0:
            raise ValueError(f"std: {self.std} must be above 0, a number a band")
        if self.clip is not None and not all(len(pair) == 2 and pair[0] < pair[1] for pair in self.clip):
            raise ValueError(f"clip: {self.clip} must be a pair [lowest, highest] a band")
        if self.clip is not None and self.clip_percentiles:
            raise ValueError(f"clip_percentiles: {self.clip_percentiles} and clip contradict each other; give one")
        shares = self.clip_percentiles
        if shares and not (len(shares) == 2 and 0 <= shares[0] < shares[1] <= 100):
            raise ValueError(f"clip_percentiles: {shares} must be [lower, upper] within 0..100, or [] for none")
        if self.stats == "imagenet" and self.channels != "rgb":
            raise ValueError(
                f"stats: imagenet knows 8-bit RGB alone, not channels: {self.channels}; leave it out (auto), or give "
                "mean and std"
            )

    @property
    def needs_files(self) -> bool:
        """Whether bands, type or statistics have to be looked up in the training split."""
        return self.channels != "rgb" or self.stats == "auto" or bool(self.clip_percentiles)

    def pixels(self, training: Callable[[], list[Pair]], reader: Reader, root: Path) -> Pixels:
        """Return what the settings come to.

        Args:
            training: gives the files of the training split; called where they are needed.
            reader: how files become pixels.
            root: folder of the data set, beside which statistics are kept.

        Raises:
            FileNotFoundError: the training split is not there.
            ValueError: it is empty, holds images of several kinds, or does not fit what is typed by hand.

        """
        pixels = Pixels()._replace(clip=self.clip)
        if self.needs_files:
            pairs = training()
            if not pairs:
                raise ValueError(f"the training split of {root} is empty: no image with a mask is listed")
            first = reader.image(pairs[0])
            pixels = Pixels(self.channels, first.shape[2], str(first.dtype), clip=self.clip, source=pairs[0].image)
            computed = self.stats == "auto" or (self.channels != "rgb" and None in (self.mean, self.std))
            if computed or self.clip_percentiles:
                found = pixel_statistics(pairs, reader, pixels, root, self._percentiles(pixels, computed), self.clip)
                logger.info("pixel statistics of the training split: %s", found)
                pixels = pixels._replace(**(found._asdict() if computed else {"clip": found.clip}))
        typed = {name: value for name in ("mean", "std") if (value := getattr(self, name)) is not None}
        pixels = pixels._replace(**typed)
        for name in ("mean", "std", "clip"):
            values = getattr(pixels, name)
            if values is not None and len(values) != pixels.bands:
                raise ValueError(f"{name}: {values} must have an entry a band, and {pixels.source} has {pixels.bands}")
        if pixels.clip and not all(low <= m <= high for m, (low, high) in zip(pixels.mean, pixels.clip, strict=True)):
            raise ValueError(f"mean: {list(pixels.mean)} must lie within clip, {pixels.clip}")
        return pixels

    def _percentiles(self, pixels: Pixels, computed: bool) -> tuple[float, ...] | None:
        if self.clip is not None or self.clip_percentiles == []:
            return None
        if self.clip_percentiles is None:
            return CLIP_PERCENTILES if computed and pixels.dtype != "uint8" else None
        return tuple(self.clip_percentiles)
