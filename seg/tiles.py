"""Images of any size by tiles: overlapping, smoothly blended, in memory bounded by one row of tiles.

Three properties, each of which is a choice below:

* Tiles begin at multiples of `GRID`, so that poolings fall on the same pixels as in the whole image. The last tile of a
  row or column ends at the image's edge, up to `GRID` − 1 pixels larger than the others; nothing is padded.
* A logit near a tile's edge has seen zeros where the image goes on. Weights are zero within a margin of such edges, so
  that a network whose logits depend on no pixel farther away than the margin gives what it gives for the whole image.
* Tiles are blended by moving what is there towards what comes (`lerp`), never by summing and dividing: where tiles
  agree, every bit is kept.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 32
"""Where tiles may begin: the stride of the networks' coarsest maps."""


class Tiling(NamedTuple):
    """How an image is cut.

    Args:
        size: height and width of a tile in pixels; rounded up to a multiple of 32.
        overlap: share of a tile that its neighbour covers too, 0 to 0.75.
        margin: pixels along a tile's inner edges that do not count; half of what tiles share at most, three eighths
            where not given, so that a quarter is left to blend in. Networks of a receptive field up to twice the margin
            (`seg models` tells it) do not notice that there are tiles.
        batch: tiles that the network sees at once.

    Raises:
        ValueError: by `checked`, a number that cannot be.

    """

    size: int = 512
    overlap: float = 0.25
    margin: int | None = None
    batch: int = 1

    def checked(self) -> "Tiling":
        """Return the same with every length a number of pixels that fits the grid."""
        if self.size < 2 * GRID:
            raise ValueError(f"--tile {self.size}: tiles need {2 * GRID} pixels a side or more, such as 512")
        if not 0 <= self.overlap <= 0.75:
            raise ValueError(f"--overlap {self.overlap}: a share of the tile from 0 to 0.75 is expected, such as 0.25")
        if self.batch < 1:
            raise ValueError(f"--batch-size {self.batch}: 1 or more tiles are expected")
        size = -(-self.size // GRID) * GRID
        tiling = self._replace(size=size)
        most = tiling.shared // 2
        if self.margin is not None and not 0 <= self.margin <= most:
            raise ValueError(
                f"--margin {self.margin}: at most half of what tiles of {size} pixels share is expected, 0 to {most}; "
                "raise --overlap or --tile"
            )
        return tiling._replace(margin=3 * tiling.shared // 8 if self.margin is None else self.margin)

    @property
    def step(self) -> int:
        """Pixels from the beginning of a tile to that of the next."""
        return max(GRID, int(self.size * (1 - self.overlap)) // GRID * GRID)

    @property
    def shared(self) -> int:
        """Pixels that a tile has in common with the next."""
        return self.size - self.step


class Band(NamedTuple):
    """Rows of an image that are finished: the first one's number, and scores float32 (C, rows, W)."""

    top: int
    scores: Tensor


def spans(length: int, size: int, step: int) -> list[tuple[int, int]]:
    """Return (begin, end) of the tiles along an axis: begins are multiples of the step, or of `GRID` for the last."""
    if length <= size:
        return [(0, length)]
    last = (length - size) // GRID * GRID
    begins = [*range(0, last, step), last]
    return [(begin, min(begin + size, length)) for begin in begins[:-1]] + [(last, length)]


def tiled(network: Callable[[Tensor], Tensor], image: Tensor, tiling: Tiling, device: torch.device) -> Iterator[Band]:
    """Yield the scores of an image from top to bottom, as soon as no tile can change them.

    Args:
        network: from pixels (B, N, h, w) on the device to scores (B, C, h, w).
        image: pixels (N, H, W), anywhere.
        tiling: how the image is cut; `checked`.
        device: where tiles go; scores are blended there, too.

    """
    height, width = image.shape[-2:]
    rows, columns = (spans(length, tiling.size, tiling.step) for length in (height, width))
    down, across = (shares(found, tiling.margin or 0, device) for found in (rows, columns))
    kept: Tensor | None = None  # what the rows of tiles above have said of this one's first pixels
    for index, (top, bottom) in enumerate(rows):
        strip = _strip(network, image[:, top:bottom], columns, across, tiling.batch, device)
        if kept is not None:
            shared = kept.shape[1]
            strip[:, :shared] = kept.lerp_(strip[:, :shared], down[index][:shared, None])
        following = rows[index + 1][0] if index + 1 < len(rows) else bottom
        kept = strip[:, following - top :].clone() if following < bottom else None
        yield Band(top, strip[:, : following - top])
        del strip  # before the next one is made


def _strip(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    columns: list[tuple[int, int]],
    across: list[Tensor],
    batch: int,
    device: torch.device,
) -> Tensor:
    """Return the scores float32 (C, h, W) of a row of tiles."""
    strip: Tensor | None = None
    done = 0  # columns that some tile has filled
    for group in _batches(columns, batch):
        pixels = torch.stack([image[:, :, left:right] for left, right in group]).to(device)
        for scores, (left, right) in zip(network(pixels), group, strict=True):
            if strip is None:
                strip = torch.empty((*scores.shape[:2], image.shape[-1]), dtype=torch.float32, device=scores.device)
            shared = max(0, done - left)
            weights = across[columns.index((left, right))][:shared]
            strip[:, :, left : left + shared].lerp_(scores[:, :, :shared].float(), weights)
            strip[:, :, left + shared : right] = scores[:, :, shared:]
            done = right
    assert strip is not None
    return strip


def _batches(columns: list[tuple[int, int]], number: int) -> Iterator[list[tuple[int, int]]]:
    """Yield tiles of one size together, `number` at most."""
    group: list[tuple[int, int]] = []
    for left, right in columns:
        if group and (len(group) == number or right - left != group[0][1] - group[0][0]):
            yield group
            group = []
        group.append((left, right))
    yield group


def shares(tiles: list[tuple[int, int]], margin: int, device: torch.device) -> list[Tensor]:
    """Return of each tile along an axis the share (size,) that it has in the mean of itself and all tiles before.

    Moving the mean of the earlier tiles by that share towards the tile gives the mean that all of them weigh in with a
    Gaussian around their centres, of an eighth of their size. In the margins weights are zero, and so that they begin
    smoothly there, a Gaussian counts by what it is above its value at the margin.

    Args:
        tiles: (begin, end) of each, in order.
        margin: pixels at inner edges, see `Tiling`.
        device: where the shares are wanted.

    """
    length = tiles[-1][1]
    total = torch.zeros(length, dtype=torch.float64)
    found = []
    for begin, end in tiles:
        size = end - begin
        place = torch.arange(size, dtype=torch.float64) + 0.5
        weights = torch.exp(-0.5 * ((place - size / 2) / (size / 8)) ** 2)
        if margin:
            # along the image's own edges no other tile takes over: a little is left of every weight
            weights = (weights - math.exp(-0.5 * ((margin - size / 2) / (size / 8)) ** 2)).clamp(min=1e-6)
        if begin > 0:
            weights[:margin] = 0
        if end < length:
            weights[size - margin :] = 0
        total[begin:end] += weights
        # what nothing has weighed yet is taken as it is, and overwritten by whoever does weigh
        found.append((weights / total[begin:end]).nan_to_num(nan=1.0).float().to(device))
    return found
