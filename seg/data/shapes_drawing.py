"""How an image of the Shapes data set is drawn: outlines, textures, scenes.

Seven kinds of objects lie on textured grounds under uneven light, overlap, throw shadows and are cut off by the edge of
the picture. Colour and texture say nothing about the class: only the outline does. Hearts are small and rare.

The same seed gives the same pixels on every machine: random numbers come from the frozen Mersenne Twister stream, and
the arithmetic is + − × ÷ √ in float64, one operation an array pass, whose last bits no library is free to choose.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from seg.convert.palette import Color
from seg.data.classes import IGNORE

NAMES = ("background", "circle", "square", "triangle", "star", "ring", "cross", "heart")
COLORS: tuple[Color, ...] = (
    (38, 42, 56),
    (239, 108, 96),
    (86, 156, 214),
    (250, 190, 88),
    (167, 129, 214),
    (94, 196, 164),
    (178, 214, 102),
    (232, 72, 148),
)
SIZES = ((96, 128), (128, 96), (112, 112), (128, 160), (160, 128), (135, 151))
"""Heights and widths in pixels; few, so that images of one size can share a batch, and one of them odd."""

HEART = NAMES.index("heart")
HEART_SHARE = 0.5  # of the images hold a heart
BORDER = 1.0  # pixels on either side of an outline that are void, as in Pascal VOC

Rng = np.random.RandomState
Field = np.ndarray  # float64 (H, W)
Paint = tuple[float, float, float]

# Paints of objects: pleasant, and apart from each other.
PAINTS = (
    (231, 76, 60), (241, 143, 31), (247, 201, 72), (122, 182, 72), (39, 138, 100), (46, 163, 184), (52, 111, 186),
    (98, 84, 178), (160, 82, 158), (226, 106, 146), (244, 236, 219), (53, 59, 72), (150, 98, 66), (166, 206, 227),
)  # fmt: skip
RIM = (250, 246, 236)
# Grounds: two muted tones each, mixed by noise.
GROUNDS = (
    ((190, 176, 148), (150, 134, 106)), ((168, 187, 166), (118, 148, 126)), ((156, 176, 194), (108, 132, 160)),
    ((94, 102, 116), (60, 66, 82)), ((184, 150, 132), (142, 106, 92)), ((160, 164, 172), (118, 124, 136)),
    ((108, 92, 84), (74, 62, 60)), ((134, 160, 158), (84, 116, 120)), ((190, 178, 200), (148, 136, 168)),
)  # fmt: skip


def between(rng: Rng, low: float, high: float) -> float:
    """Draw from low..high; RandomState.uniform multiplies and adds in C, which some compilers fuse and round once."""
    return low + (high - low) * float(rng.random_sample())


def pick(rng: Rng, number: int) -> int:
    """Draw from 0..number - 1."""
    return int(rng.random_sample() * number)


def direction(rng: Rng) -> tuple[float, float]:
    """Draw a point of the unit circle without sine or cosine: a point of the disc, pushed out to its edge."""
    while True:
        x, y = between(rng, -1.0, 1.0), between(rng, -1.0, 1.0)
        length = root(x * x + y * y)
        if 0.1 < length <= 1.0:
            return x / length, y / length


def root(value: float) -> float:
    """Return the square root, correctly rounded everywhere."""
    return float(np.sqrt(np.float64(value)))


# ---- outlines: signed distances in units of the object's radius, negative inside ------------------------------------


def polygon(points: list[tuple[float, float]]) -> Callable[[Field, Field], Field]:
    """Return the signed distance to a closed polygon: to its nearest edge, negative where a ray crosses it oddly."""

    def distance(x: Field, y: Field) -> Field:
        nearest = np.full(x.shape, 1e9)
        inside = np.zeros(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            ex, ey = bx - ax, by - ay
            px, py = x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
            dx, dy = px - ex * along, py - ey * along
            nearest = np.minimum(nearest, dx * dx + dy * dy)
            inside ^= ((ay > y) != (by > y)) & ((px * ey < ex * py) == (ey < 0))
        nearest = np.sqrt(nearest)
        return np.asarray(np.where(inside, -nearest, nearest))

    return distance


def circle(x: Field, y: Field) -> Field:
    """Return the signed distance to the circle of radius 0.92."""
    return np.asarray(np.sqrt(x * x + y * y) - 0.92)


def ring(x: Field, y: Field) -> Field:
    """Return the signed distance to the band between the circles of radius 0.5 and 1."""
    return np.asarray(np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.25)


def heart(x: Field, y: Field) -> Field:
    """Return the signed distance to a square standing on its tip with a half disc on each of its upper sides."""
    # In units where the square's diagonal is 1 and its tip the origin; the left half mirrors the right one.
    x, y = np.abs(x) * 0.6, 0.55 - y * 0.6
    lobe = np.sqrt((x - 0.25) * (x - 0.25) + (y - 0.75) * (y - 0.75)) - root(0.125)
    foot = np.maximum(x + y, 0.0) * 0.5  # of the perpendicular on the lower side, which runs along x = y
    side = (x - foot) * (x - foot) + (y - foot) * (y - foot)
    notch = x * x + (y - 1.0) * (y - 1.0)
    below = np.sqrt(np.minimum(side, notch))
    return np.asarray(np.where(x + y > 1.0, lobe, np.where(x > y, below, -below)) / 0.6)


def _star() -> list[tuple[float, float]]:
    """Return a five-pointed star's corners; sines and cosines of 36° steps as the square roots they are."""
    five = root(5.0)
    c72, s72 = (five - 1.0) / 4.0, root(10.0 + 2.0 * five) / 4.0
    c36, s36 = (five + 1.0) / 4.0, root(10.0 - 2.0 * five) / 4.0
    outer = [(0.0, -1.0), (s72, -c72), (s36, c36), (-s36, c36), (-s72, -c72)]
    inner = [(s36, -c36), (s72, c72), (0.0, 1.0), (-s72, c72), (-s36, -c36)]
    return [(a * f, b * f) for o, i in zip(outer, inner, strict=True) for (a, b), f in ((o, 1.08), (i, 0.48))]


_T = 0.34  # half the width of the cross's arms
_CROSS = [
    (-_T, -1), (_T, -1), (_T, -_T), (1, -_T), (1, _T), (_T, _T),
    (_T, 1), (-_T, 1), (-_T, _T), (-1, _T), (-1, -_T), (-_T, -_T),
]  # fmt: skip
OUTLINES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": circle,
    "square": polygon([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),
    "triangle": polygon([(0.0, -1.05), (0.93, 0.58), (-0.93, 0.58)]),
    "star": polygon(_star()),
    "ring": ring,
    "cross": polygon(_CROSS),
    "heart": heart,
}


# ---- textures -------------------------------------------------------------------------------------------------------


def value_noise(rng: Rng, height: int, width: int, cell: int) -> Field:
    """Return smooth noise of 0..1: random values on a lattice of `cell` pixels, blended with 3t² − 2t³ in between."""
    lattice = rng.random_sample((height // cell + 2, width // cell + 2))
    y, x = np.arange(height), np.arange(width)
    ty, tx = ((y % cell) / cell)[:, None], ((x % cell) / cell)[None, :]
    ty, tx = ty * ty * (3.0 - 2.0 * ty), tx * tx * (3.0 - 2.0 * tx)
    rows = lattice[y // cell] * (1.0 - ty) + lattice[y // cell + 1] * ty
    return np.asarray(rows[:, x // cell] * (1.0 - tx) + rows[:, x // cell + 1] * tx)


def texture(rng: Rng, x: Field, y: Field, noise: Field) -> Field:
    """Return a pattern of −1..1 in the coordinates given (pixels): plain, stripes, checks, dots or clouds."""
    kind, period = pick(rng, 5), between(rng, 5.0, 10.0)
    u, v = x / period, y / period
    u, v = u - np.floor(u), v - np.floor(v)
    if kind == 0:
        return np.zeros_like(x)
    if kind == 1:
        return np.asarray(np.clip((np.abs(u - 0.5) - 0.25) * period, -1.0, 1.0))
    if kind == 2:
        return np.asarray(np.clip((np.abs(u - 0.5) - 0.25) * (np.abs(v - 0.5) - 0.25) * period * 8.0, -1.0, 1.0))
    if kind == 3:
        radius = np.sqrt((u - 0.5) * (u - 0.5) + (v - 0.5) * (v - 0.5))
        return np.asarray(np.clip((0.3 - radius) * period, -1.0, 1.0))
    return noise * 2.0 - 1.0


def ground(rng: Rng, x: Field, y: Field) -> tuple[list[Field], Field]:
    """Return a ground's three channels, 0..255, and the noise that mottles it."""
    height, width = x.shape
    noise = value_noise(rng, height, width, 32) * 0.55
    noise = noise + value_noise(rng, height, width, 13) * 0.3 + value_noise(rng, height, width, 5) * 0.15
    one, two = GROUNDS[pick(rng, len(GROUNDS))]
    cos, sin = direction(rng)
    pattern = texture(rng, (x * cos + y * sin) * 0.6, (y * cos - x * sin) * 0.6, noise)
    share = np.clip(noise * 1.6 - 0.3 + pattern * between(rng, 0.05, 0.25), 0.0, 1.0)
    return [a + (b - a) * share for a, b in zip(one, two, strict=True)], noise


# ---- the scene ------------------------------------------------------------------------------------------------------


class Thing(NamedTuple):
    """An object of a scene, known within its box: signed distance to its outline in pixels, and its own axes."""

    label: int
    box: tuple[slice, slice]
    distance: Field
    u: Field
    v: Field


def place(rng: Rng, label: int, height: int, width: int) -> Thing:
    """Put an object of a class somewhere into a picture, turned anyhow."""
    radius = between(rng, 7.5, 9.5) if label == HEART else between(rng, 10.0, 17.0)
    margin = radius if label == HEART else 0.45 * radius  # larger ones may be cut off by the edge
    left, top = between(rng, margin, width - margin), between(rng, margin, height - margin)
    cos, sin = direction(rng)
    cos, sin = abs(cos) + 0.5, sin * 0.4  # more or less upright: within 40°, mostly less
    length = root(cos * cos + sin * sin)
    cos, sin = cos / length, sin / length
    reach = 1.2 * radius + 10  # room for the outline's corners, the shadow and the border
    rows = slice(max(int(top - reach), 0), min(int(top + reach), height))
    columns = slice(max(int(left - reach), 0), min(int(left + reach), width))
    y, x = (axis.astype(np.float64) for axis in np.mgrid[rows, columns])
    px, py = x - left, y - top
    u, v = px * cos + py * sin, py * cos - px * sin
    return Thing(label, (rows, columns), OUTLINES[NAMES[label]](u / radius, v / radius) * radius, u, v)


def shifted(field: Field, down: int, right: int) -> Field:
    """Return the field moved by whole pixels; what comes in at the edge repeats the edge."""
    height, width = field.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return np.asarray(field[rows][:, columns])


def scene(rng: Rng, height: int, width: int) -> list[Thing]:
    """Choose the objects, farthest first, so that of each at least three quarters stay in sight."""
    wanted = [1 + pick(rng, HEART - 1) for _ in range(height * width // 2000 + pick(rng, 5))]
    if rng.random_sample() < HEART_SHARE:
        wanted.append(HEART)  # on top of the others: there are few enough of its pixels
    things: list[Thing] = []
    owner = np.full((height, width), -1)  # which of the things one sees
    whole: list[int] = []
    for label in wanted:
        for _ in range(12):
            thing = place(rng, label, height, width)
            body = thing.distance < 0
            after = owner.copy()
            after[thing.box][body] = len(things)
            left = np.bincount(after.ravel() + 1, minlength=len(things) + 2)[1:]
            if all(4 * int(now) >= 3 * before for now, before in zip(left, whole, strict=False)):
                owner = after
                whole.append(int(np.count_nonzero(body)))
                things.append(thing)
                break
    return things


def generate(index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image and its mask; the same two numbers give the same bits on every machine.

    Args:
        index: which image, 0 or more.
        seed: of the whole set, 0..2³² − 1.

    Returns:
        image uint8 (H, W, 3), mask uint8 (H, W) with 255 along the outlines; H, W one of `SIZES`.

    """
    rng = Rng([seed, index])
    height, width = SIZES[pick(rng, len(SIZES))]
    y, x = (axis.astype(np.float64) for axis in np.mgrid[:height, :width])
    picture, noise = ground(rng, x, y)
    mask = np.zeros((height, width), dtype=np.uint8)

    light = direction(rng)
    for thing in scene(rng, height, width):
        distance, box = thing.distance, thing.box
        throw = between(rng, 2.0, 4.0)
        shadow = shifted(distance, down=round(throw * light[1]), right=round(throw * light[0]))
        dark = 1.0 - 0.45 * np.clip(0.5 - shadow / 5.0, 0.0, 1.0)
        cover = np.clip(0.5 - distance, 0.0, 1.0)

        paint, other = PAINTS[pick(rng, len(PAINTS))], PAINTS[pick(rng, len(PAINTS))]
        pattern = texture(rng, thing.u, thing.v, noise[box]) * 0.5 + 0.5
        strength = between(rng, 0.15, 0.5)
        rim = np.clip(distance + 2.5, 0.0, 1.0)  # a sticker: cut out with a pale edge
        for channel in range(3):
            inner = paint[channel] + (other[channel] - paint[channel]) * (pattern * strength)
            inner = inner + (RIM[channel] - inner) * rim
            picture[channel][box] = picture[channel][box] * dark * (1.0 - cover) + inner * cover

        mask[box][distance < BORDER] = IGNORE
        mask[box][distance < -BORDER] = thing.label

    # Light falls from one side; then the sensor adds its noise, near enough to a bell with three numbers a pixel.
    slope = (x / width - 0.5) * light[0] + (y / height - 0.5) * light[1]
    level = between(rng, 0.85, 1.05) - slope * between(rng, 0.2, 0.6)
    grain = between(rng, 3.0, 9.0)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        random = rng.random_sample((3, height, width))
        noisy = picture[channel] * level + (random[0] + random[1] + random[2] - 1.5) * grain * 2.0
        image[:, :, channel] = np.clip(noisy + 0.5, 0.0, 255.0).astype(np.uint8)
    return image, mask
