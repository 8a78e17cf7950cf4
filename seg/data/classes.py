"""What a data set's label values mean: names, colours and the value that means "ignore"."""

from collections.abc import Sequence
from dataclasses import dataclass

from seg.colors import safe_colors
from seg.convert.palette import Color

IGNORE = 255
"""The label of pixels that neither train nor score, in every mask of the project."""


@dataclass(frozen=True)
class Classes:
    """Hold the class names and colours of a data set; a class's index is its position.

    Args:
        names: 2 to 255 different names.
        colors: one (red, green, blue) of 0..255 a class; colours safe for colour-blind eyes where not given.

    Raises:
        ValueError: fewer than 2 or more than 255 classes, a name that appears twice, or another number of colours.

    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()

    def __init__(self, names: Sequence[str], colors: Sequence[Sequence[int]] | None = None) -> None:
        if isinstance(names, str):
            raise ValueError(f"classes: expected a list of names, got the text '{names}'; write [{names}, …]")
        names = tuple(str(name) for name in names)
        if not 2 <= len(names) <= 255:
            raise ValueError(
                f"classes: {len(names)} given ({', '.join(names)}); segmentation needs 2 to 255 classes. "
                "For one kind of object name the rest too, for example [background, object]"
            )
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"classes: {', '.join(twice)} appears twice; every name must be different")
        chosen = [tuple(int(value) for value in color) for color in colors] if colors else safe_colors(len(names))
        if len(chosen) != len(names):
            raise ValueError(
                f"colors: {len(chosen)} given for {len(names)} classes; give one (red, green, blue) a class"
            )
        for name, color in zip(names, chosen, strict=True):
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise ValueError(f"colors: {color} for class '{name}' is not (red, green, blue) with values 0..255")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colors", tuple(chosen))

    def __len__(self) -> int:
        return len(self.names)
