"""What an examination says: findings, each with its severity, the places it was seen at, and the cure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from seg.data.dataset import Pair

Severity = Literal["skip", "pass", "warn", "fail"]
_ORDER: tuple[Severity, ...] = ("skip", "pass", "warn", "fail")


class Place(NamedTuple):
    """Where something was found.

    `where` is a file, or a class; `pair` and `other` are the images that show it, `box` (left, top, right, bottom) the
    pixels of the upright image that matter, `outline` a shape x, y, x, y, … drawn on it.
    """

    where: str
    note: str = ""
    pair: Pair | None = None
    other: Pair | None = None
    box: tuple[int, int, int, int] | None = None
    outline: tuple[float, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Hold what a check found.

    Args:
        check: name of the check.
        severity: skip, it was not looked at; pass; warn, one may train; or fail, one should not, or cannot.
        text: what was found.
        cure: what to do about it.
        places: where, all of them.

    """

    check: str
    severity: Severity
    text: str
    cure: str = ""
    places: Sequence[Place] = ()

    def plain(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        where = [{"where": place.where, "note": place.note} for place in self.places]
        for entry, place in zip(where, self.places, strict=True):
            if place.other is not None:
                entry["other"] = place.other.image
        return {
            "check": self.check,
            "severity": self.severity,
            "text": self.text,
            "cure": self.cure,
            "count": len(self.places),
            "places": where,
        }


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 image, 2 images, 2 classes."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def worst(findings: Sequence[Finding]) -> Severity:
    """Return the highest severity among findings, "pass" where there are none."""
    return max((finding.severity for finding in findings), key=_ORDER.index, default="pass")
