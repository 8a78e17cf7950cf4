"""A torch.export package read so that no code in it runs: torch itself unpickles and evaluates what it finds."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_EXTRA = "extra/"
_INPUTS = "data/sample_inputs/"
_PARTS = re.compile(
    r"models/model\.json|extra/.+|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|\.format_version|version|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
)
"""Members that a package of seg has; pickled objects and compiled libraries are none of them."""

_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save|load)\w+\.\w+|torch\.sym_\w+|_operator\.\w+|math\.\w+"
    r"|torch\.ops\.higher_order\.\w+"
)
_OPERATORS = re.compile(r"_operator\.(attrgetter|methodcaller|itemgetter|call|setitem|delitem|i\w+)")
_SYMBOL = re.compile(r"[a-z]{1,2}\d+")
_WORDS = {
    # sizes as sympy writes them
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv"),
    *("CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "IntTrueDiv"),
    *("FloatTrueDiv", "ToFloat", "FloatPow", "PowByNatural", "Abs", "Where", "And", "Or", "Not", "Eq", "Ne", "Lt"),
    *("Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan"),
    *("positive", "integer", "nonnegative", "negative", "precision", "real", "zero", "nonzero", "finite", "int_oo"),
    *("True", "False", "true", "false", "oo", "Infinity", "NegativeInfinity"),
    # conditions on sizes in Python
    *("L", "images", "size", "and", "or", "not", "max", "min", "abs", "e", "torch", "sym_max", "sym_min"),
}
"""All words that a size or a condition may be made of; torch hands both to `eval`."""
_CHARACTERS = re.compile(r"[\w\s()\[\],.'\"+\-*/%<>=!&|~^]*")


def read_package(path: Path) -> tuple["ExportedProgram", dict[str, str]]:
    """Return the program of a package, and the texts beside it.

    Only members that have been looked at reach torch, in an archive written anew: how two readers take a strange zip
    file does not matter then.

    Raises:
        ValueError: not a package, a damaged one, or one that holds what could run.

    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.partition("/")[2]: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
            stem = archive.namelist()[0].partition("/")[0]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, IndexError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a torch.export package, or is damaged: {error}") from error
    if "models/model.json" not in held:
        raise ValueError(
            f"{path} is not a torch.export package, or is damaged: it holds no model; give a file of seg export"
        )
    texts = {}
    for name, data in held.items():
        if strange := _refusal(name, data):
            raise ValueError(f"{path} is refused, for it could run code here: {strange}; give a file of seg export")
        if name.startswith(_EXTRA):
            texts[name.removeprefix(_EXTRA)] = data.decode(errors="replace")
    clean = io.BytesIO()
    with zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as archive:
        for name, data in held.items():
            archive.writestr(f"{stem}/{name}", data)
    clean.seek(0)
    try:
        return torch.export.load(clean), texts
    except Exception as error:  # whatever torch's reader comes across in a damaged file
        raise ValueError(
            f"{path} cannot be read by torch {torch.__version__}: it is damaged, or of a version too far from it "
            f"({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _refusal(name: str, data: bytes) -> str:
    """Return why a member must not reach torch, or an empty text."""
    if not _PARTS.fullmatch(name):
        return f"the member {name}"
    if name.startswith(_INPUTS):
        try:
            torch.load(io.BytesIO(data), weights_only=True)
        except Exception as error:  # pickles fail in many ways, and torch would then load it without restrictions
            return f"{name} holds other things than tensors ({str(error)[:80]})"
    if name.endswith(".json") and not name.startswith(_EXTRA):
        try:
            return next(_strange(json.loads(data)), "")
        except (ValueError, RecursionError) as error:
            return f"{name} is not JSON ({str(error)[:80]})"
    return ""


def _strange(value: Any, key: str = "") -> Iterator[str]:
    """Yield all of a parsed JSON file that torch would unpickle, call or evaluate, and that is not known."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _strange(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strange(inner, key)
    elif key == "use_pickle" and value:
        yield "a pickled weight"
    elif isinstance(value, str):
        known_target = _TARGET.fullmatch(value) and not _OPERATORS.fullmatch(value)
        evaluated = key in ("expr_str", "guards_code")
        words = re.findall(r"[^\W\d]\w*", value) if evaluated else []
        known_words = all(word in _WORDS or _SYMBOL.fullmatch(word) for word in words)
        if key == "target" and not known_target:
            yield f"a call of {value[:80]}"
        elif evaluated and not (known_words and _CHARACTERS.fullmatch(value)):
            yield f"the size {value[:80]}"
