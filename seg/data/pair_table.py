"""A table of images and masks: a CSV file with the columns image and mask, and if wanted split and group."""

import csv
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seg.data.dataset import Pair


class Row(NamedTuple):
    """A line of the table; split and group are empty where there is no such column."""

    pair: Pair
    split: str
    group: str


def read_table(path: Path, root: Path) -> list[Row]:
    """Read a table of pairs.

    Columns are told by their heading, in any order; others do not matter. Commas, semicolons or tabs separate them.

    Args:
        path: the CSV file.
        root: folder that relative paths in it start from.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming file and line: no text, a column that is missing, an empty cell, an image twice, or a group
            that is in two splits.

    """
    if not path.is_file():
        raise FileNotFoundError(f"table: there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        heading = text.partition("\n")[0]
        separator = max(",;\t", key=heading.count)
        lines = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        cells = [(lines.line_num, line) for line in lines if any(cell.strip() for cell in line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8 ({error})") from error
    columns = [column.strip().lower() for column in cells[0][1]] if cells else []
    if missing := [column for column in ("image", "mask") if column not in columns]:
        found = ", ".join(columns) or "nothing"
        raise ValueError(
            f"{path} lacks the column {' and '.join(missing)}: its first line must name image and mask, and may name "
            f"split and group; found: {found}"
        )
    rows: list[Row] = []
    seen: dict[str, int] = {}
    split_of_group: dict[str, str] = {}
    for number, line in cells[1:]:
        values = dict(zip(columns, (cell.strip() for cell in line), strict=False))
        if lacking := [column for column in dict.fromkeys(columns) if column in _OWN and not values.get(column)]:
            raise ValueError(f"{path}, line {number}: nothing stands under {' and '.join(lacking)}")
        if "\0" in values["image"] + values["mask"]:
            raise ValueError(f"{path}, line {number}: a path holds a zero byte")
        image, mask = (values[column].replace("\\", "/") for column in ("image", "mask"))
        name = str(PurePosixPath(image).with_suffix("")) if PurePosixPath(image).name else image
        if (first := seen.setdefault(name, number)) != number:
            raise ValueError(f"{path}, line {number}: the image {image} stands in line {first} already")
        split, group = values.get("split", ""), values.get("group", "")
        if group and (other := split_of_group.setdefault(group, split)) != split:
            raise ValueError(
                f"{path}, line {number}: group '{group}' is in the splits {other} and {split}; what belongs together "
                "must be in one, or the score tells nothing"
            )
        rows.append(Row(Pair(name, str(root / image), str(root / mask)), split, group))
    return rows


_OWN = ("image", "mask", "split", "group")
