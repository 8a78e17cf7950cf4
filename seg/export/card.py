"""What a network outside this project must be told beside its weights; part of every exported file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from seg import __version__

if TYPE_CHECKING:
    from seg.task import SegmentationTask

FORMAT = 1
"""Version of what is written here."""

Output = Literal["logits", "probabilities", "labels"]
OUTPUTS: tuple[str, ...] = get_args(Output)
DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Card:
    """Describe an exported network: what goes in, what comes out, what it means.

    Args:
        class_names: in the order of their index.
        class_colors: one [red, green, blue] of 0..255 a class.
        ignore_index: label of pixels that neither trained nor count.
        image_kind: what image files are read as (rgb, grey, native), and the type of the values that go in.
        mean: of every channel, in raw pixel values; subtracted inside the file.
        std: of every channel, in raw pixel values; divided by inside the file.
        clip: (lowest, highest) raw value of every channel, cut off inside the file, if at all.
        resize: (height, width) that images are brought to before they go in, if any; not done inside the file.
        output: logits float32 (B, C, H, W), probabilities of the same shape, or labels uint8 (B, H, W).
        precision: number format of the weights: fp32, fp16, bf16 or int8.
        network: class of the network.
        seg_version: version of seg that wrote the file.
        format: version of this description.

    """

    class_names: list[str]
    class_colors: list[list[int]]
    ignore_index: int
    image_kind: list[str]
    mean: list[float]
    std: list[float]
    clip: list[list[float]] | None
    resize: list[int] | None
    output: str
    precision: str
    network: str
    seg_version: str = __version__
    format: int = FORMAT

    @property
    def dtype(self) -> str:
        """The type of the pixel values that go in."""
        return self.image_kind[1]

    def entries(self) -> dict[str, str]:
        """Return every fact as a JSON text, the form that ONNX and torch.export keep beside a network."""
        return {f"seg.{name}": json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}

    def text(self, **further: Any) -> str:
        """Return the description, and what else is told, as the JSON of the file beside the network."""
        return json.dumps({**asdict(self), **further}, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def of_task(cls, task: "SegmentationTask", output: str, precision: str) -> "Card":
        """Return the card of a task's network, with an output and in a precision."""
        pixels = task.pixels
        lowest, highest = pixels.lowest.flatten().tolist(), pixels.highest.flatten().tolist()
        return cls(
            class_names=list(task.class_names),
            class_colors=[list(color) for color in task.class_colors],
            ignore_index=task.ignore_index,
            image_kind=list(task.image_kind),
            mean=pixels.mean.flatten().tolist(),
            std=pixels.std.flatten().tolist(),
            clip=[list(pair) for pair in zip(lowest, highest, strict=True)] if pixels.clips else None,
            resize=None if task.resize is None else list(task.resize),
            output=output,
            precision=precision,
            network=type(task.net).__name__,
        )

    @classmethod
    def of_entries(cls, entries: dict[str, str], path: Path) -> "Card":
        """Return what a file says of itself.

        Raises:
            ValueError: it says nothing, not all, or what cannot be; or a later version wrote it.

        """
        held = {name.removeprefix("seg."): text for name, text in entries.items() if name.startswith("seg.")}
        if not held:
            raise ValueError(
                f"{path} does not say what its classes and pixels are: it was not written by seg export; "
                "export the checkpoint again with it"
            )
        try:
            facts: dict[str, Any] = {name: json.loads(text) for name, text in held.items()}
            written = int(facts["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: what it says of itself is damaged ({error!r}); export it again") from error
        if written > FORMAT:
            raise ValueError(f"{path} has format {written}, this version of seg reads up to {FORMAT}; update seg")
        try:
            card = cls(**{name: facts[name] for name in cls.__dataclass_fields__})
            card._check()
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path}: what it says of itself is damaged ({error!r}); export it again") from error
        return card

    def _check(self) -> None:
        """Refuse facts that contradict each other, which would otherwise come out as wrong pixels."""
        channels, classes = len(self.mean), len(self.class_names)
        pairs = [[0.0, 0.0]] * channels if self.clip is None else self.clip
        numbers = [*self.mean, *self.std, *(value for pair in pairs for value in pair)]
        colors = [value for color in self.class_colors for value in color]
        sound = {
            "class_names": 2 <= classes <= 255 and all(isinstance(name, str) for name in self.class_names),
            "class_colors": [len(color) for color in self.class_colors] == [3] * classes
            and all(isinstance(value, int) and 0 <= value <= 255 for value in colors),
            "mean, std, clip": len(self.std) == channels > 0
            and [len(pair) for pair in pairs] == [2] * channels
            and all(isinstance(value, int | float) for value in numbers),
            "ignore_index": isinstance(self.ignore_index, int),
            "image_kind": len(self.image_kind) == 2
            and self.image_kind[0] in ("rgb", "grey", "native")
            and self.dtype in DTYPES,
            "resize": self.resize is None
            or (len(self.resize) == 2 and all(isinstance(side, int) and side > 0 for side in self.resize)),
            "output": self.output in OUTPUTS,
        }
        for name, is_sound in sound.items():
            if not is_sound:
                raise ValueError(name)
