"""One image of any size -> the class of every pixel and how sure the network is: whole or by tiles, averaged if wanted.

import seg
predictor = seg.load("best.ckpt")
labels, probabilities = predictor.predict("photo.jpg")
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg.data.images import read_image, resize_image
from seg.data.pixels import Pixels
from seg.labels import largest_class
from seg.models.blocks import SMALLEST_SIZE, upsample
from seg.models.profile import free_bytes
from seg.tiles import Band, Tiling, tiled
from seg.tta import Averaged

NO_PROBABILITIES = (
    "this network was exported with labels alone: it has no probabilities, and nothing that is made of them; "
    "export it anew with --output probabilities or logits"
)
BYTES_A_PIXEL = 4096
"""Memory that a network is taken to need; U-Net of width 64 needs half of it in float32."""
_CHUNK = 1 << 22  # scores that are turned into labels and probabilities at a time
_AT_ONCE = 1 << 26  # scores up to which those of a resized image are brought to its size all at once


class Network(Protocol):
    """What a predictor asks: raw pixel values (B, N, H, W) in, logits (B, C, H, W) out, and what the classes are."""

    class_names: list[str]
    class_colors: list[list[int]]
    image_kind: list[str]
    mean: list[float]
    std: list[float]
    clip: list[list[float]] | None
    resize: list[int] | None
    ignore_index: int
    device: torch.device

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) of images of raw pixel values, H and W at least 32."""
        ...


class Prediction(NamedTuple):
    """What is said of an image: labels uint8 (H, W), and probabilities float32 (C, H, W)."""

    labels: np.ndarray
    probabilities: np.ndarray


class Answer(NamedTuple):
    """What is said of some rows of an image: the first one's number, labels uint8 (h, W), scores (C, h, W).

    Scores are logits, or probabilities where several views were averaged; see `Predictor.probabilities`.
    """

    top: int
    labels: np.ndarray
    scores: Tensor


class Predictor:
    """Predict images of any size; any number of threads may ask at once.

    Args:
        network: see `Network`.
        tile: side of the tiles in pixels; 512 where not given. Giving it asks for tiles.
        overlap: share of a tile that its neighbour covers too.
        margin: pixels at a tile's inner edges that do not count, see `seg.tiles.Tiling`.
        batch_size: tiles that the network sees at once; 1 on CPUs and 8 on GPUs where not given.
        whole: never cut an image into tiles. Where neither this nor `tile` is given, images are cut that would need
            more than half of the memory that is free; their (height, width) are in `too_large` from then on, and all
            others of these are cut too.
        flips: average the views of mirror images, see `seg.tta.Averaged`.
        scales: average the views of these sizes.

    Raises:
        ValueError: a setting that cannot be.

    """

    def __init__(
        self,
        network: Network,
        tile: int | None = None,
        overlap: float = 0.25,
        margin: int | None = None,
        batch_size: int | None = None,
        whole: bool = False,
        flips: str = "none",
        scales: Sequence[float] = (1.0,),
    ) -> None:
        if whole and tile is not None:
            raise ValueError(f"--whole and --tile {tile} are two answers to one question; give one of them")
        if network.resize and tile is not None:
            raise ValueError(
                f"--tile {tile}: the network was trained on images resized to {network.resize[0]}×{network.resize[1]} "
                "(height × width) and sees every image so, as a whole; leave the option out"
            )
        self.network = network
        self.device = network.device
        batch_size = (1 if self.device.type == "cpu" else 8) if batch_size is None else batch_size
        self.tiling = Tiling(512 if tile is None else tile, overlap, margin, batch_size).checked()
        self.cut = False if whole else True if tile is not None else None
        averaged = Averaged(self.logits, flips, scales)
        self.averages = averaged.views > 1 or averaged.scales != [1.0]
        # all networks have them, but for files that were exported with labels alone
        self.has_probabilities = bool(getattr(network, "has_probabilities", True))
        if self.averages and not self.has_probabilities:
            raise ValueError(f"--tta, --scales: {NO_PROBABILITIES}")
        self.scores = averaged if self.averages else self.logits
        self.largest_view = max(1.0, *averaged.scales) ** 2
        self.too_large: set[tuple[int, int]] = set()
        channels, dtype = network.image_kind
        self.pixels = Pixels(channels, len(network.mean), dtype, network.mean, network.std, network.clip)  # type: ignore[arg-type]

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of their labels."""
        return self.network.class_names

    @property
    def class_colors(self) -> list[list[int]]:
        """A colour (red, green, blue) of 0..255 for each class."""
        return self.network.class_colors

    def predict(self, image: np.ndarray | str | Path) -> Prediction:
        """Return labels and probabilities of an image at its own size.

        Args:
            image: a file; or an array (H, W, N) of raw pixel values, of the bands and type that the network was trained
                on: for most, uint8 (H, W, 3), red first.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or the image of another kind.

        """
        pixels = self.read(image)
        labels = np.empty(pixels.shape[:2], np.uint8)
        probabilities = np.empty((len(self.network.class_names), *pixels.shape[:2]), np.float32)
        for answer in self.answers(pixels):
            rows = slice(answer.top, answer.top + len(answer.labels))
            labels[rows] = answer.labels
            probabilities[:, rows] = self.probabilities(answer.scores).cpu().numpy()
        return Prediction(labels, probabilities)

    def labels(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Return the labels uint8 (H, W) alone, see `predict`; probabilities are never computed."""
        pixels = self.read(image)
        labels = np.empty(pixels.shape[:2], np.uint8)
        for answer in self.answers(pixels):
            labels[answer.top : answer.top + len(answer.labels)] = answer.labels
        return labels

    def read(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Return the raw pixel values (H, W, N) of a file or an array, what is missing filled in; arrays stay as given.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or the image of another kind than the network was trained on.

        """
        if isinstance(image, np.ndarray):
            pixels = image[:, :, None] if image.ndim == 2 else image
            if pixels.ndim != 3 or not pixels.size:
                raise ValueError(f"an image is an array (H, W, N) of 1 pixel or more, not one of shape {image.shape}")
            self.pixels.check(pixels, "given as an array")
            if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
                pixels = pixels.copy()
        else:
            pixels = read_image(image, self.pixels.channels)
            self.pixels.check(pixels, str(image))
        self.pixels.fill(pixels)
        return pixels

    def answers(self, pixels: np.ndarray) -> Iterator[Answer]:
        """Yield what is said of an image (H, W, N), as read, some rows at a time, from top to bottom."""
        bands = self.bands(pixels)
        while True:
            with torch.inference_mode():  # a generator must not leave it on for whoever asks
                band = next(bands, None)
            if band is None:
                return
            classes, height, width = band.scores.shape
            rows = max(1, _CHUNK // (classes * width))
            for top in range(0, height, rows):
                with torch.inference_mode():
                    # contiguous is what finding the largest is fast for
                    scores = band.scores[:, top : top + rows].contiguous()
                    labels = largest_class(scores[None])[0].to(torch.uint8).cpu().numpy()
                yield Answer(band.top + top, labels, scores)
            del band, scores  # before the next row of tiles is made

    def bands(self, pixels: np.ndarray) -> Iterator[Band]:
        """Yield the scores of an image (H, W, N) at its own size, from top to bottom."""
        size = (pixels.shape[0], pixels.shape[1])
        if self.network.resize:
            shown = resize_image(pixels, (self.network.resize[0], self.network.resize[1]))
            yield from enlarged(self.scores(self.tensor(shown)[None].to(self.device))[0], size)
            return
        if self.whole(size):
            try:
                scores = self.scores(self.tensor(pixels)[None].to(self.device))[0]
            except torch.OutOfMemoryError:
                if self.cut is False:
                    raise
                self.too_large.add(size)
            else:
                yield Band(0, scores)
                return
        yield from tiled(self.scores, self.tensor(pixels), self.tiling, self.device)

    def whole(self, size: tuple[int, int]) -> bool:
        """Tell whether an image of this height and width is shown to the network as a whole."""
        if self.cut is not None:
            return not self.cut
        if max(size) <= self.tiling.size:
            return True
        needed = size[0] * size[1] * BYTES_A_PIXEL * self.largest_view
        if size not in self.too_large and needed <= free_memory(self.device) / 2:
            return True
        self.too_large.add(size)
        return False

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) of images (B, N, H, W) of raw pixel values on the device, of any size."""
        height, width = images.shape[-2:]
        return self.network(padded(images))[..., :height, :width]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities float32 (C, h, W) of an answer's scores.

        Raises:
            ValueError: of a network that was exported with labels alone.

        """
        if not self.has_probabilities:
            raise ValueError(NO_PROBABILITIES)
        return scores if self.averages else scores.float().softmax(0)

    def tensor(self, pixels: np.ndarray) -> Tensor:
        """Return an image (H, W, N) as a tensor (N, H, W) of its own type, without a copy where none is needed."""
        contiguous = pixels if all(stride >= 0 for stride in pixels.strides) else np.ascontiguousarray(pixels)
        if not contiguous.flags.writeable:
            contiguous = contiguous.copy()  # torch warns of what it could write to, though it never does
        return torch.from_numpy(contiguous).permute(2, 0, 1)


def padded(images: Tensor) -> Tensor:
    """Return images (B, N, H, W) with what lies at their edges repeated, up to the size that networks need."""
    below, right = (max(0, SMALLEST_SIZE - side) for side in images.shape[-2:])
    if not below and not right:
        return images
    return F.pad(images.float(), (0, right, 0, below), mode="replicate").to(images.dtype)


def enlarged(scores: Tensor, size: tuple[int, int]) -> Iterator[Band]:
    """Yield scores (C, h, w) stretched to (C, *size), some rows at a time where all would take much memory."""
    classes, height, width = scores.shape
    if (height, width) == size or classes * size[0] * size[1] <= _AT_ONCE:
        yield Band(0, scores if (height, width) == size else upsample(scores[None], size)[0])
        return
    rows = max(1, _CHUNK // (classes * size[1]))
    for top in range(0, size[0], rows):
        # rows between rows first, as bilinear interpolation is one axis after the other
        place = torch.arange(top, min(top + rows, size[0]), dtype=torch.float64, device="cpu")
        place = ((place + 0.5) * height / size[0] - 0.5).clamp(0, height - 1)
        above = place.long()
        share = (place - above).float().to(scores.device)[:, None]
        above = above.to(scores.device)
        between = torch.lerp(scores[:, above].float(), scores[:, (above + 1).clamp(max=height - 1)].float(), share)
        yield Band(top, upsample(between[None], (len(above), size[1]))[0])


def free_memory(device: torch.device) -> float:
    """Return the bytes that can be had on a device; infinity where nobody tells."""
    if device.type == "cuda":
        # what torch keeps of earlier images is free, too: how an image is shown must not depend on those before
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + kept)
    if device.type != "cpu":
        return math.inf
    free = free_bytes()
    return math.inf if free is None else float(free)
