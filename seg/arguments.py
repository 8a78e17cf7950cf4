"""Arguments of the command line: bare config names, a default subcommand, and errors that name the nearest key."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from seg.entry import absent

SUBCOMMANDS = ("fit", "validate", "test")
CHECKOUT = Path(__file__).resolve().parent.parent
"""Where `configs/` lies when seg is installed from a checkout."""


class Parser(LightningArgumentParser):
    """Lightning's parser, whose errors are short and name the nearest key that exists."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, the nearest valid key and where the help is; exit with status 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        lines = [f"error: {message}"]
        if suggestion := nearest(message, parser):
            lines.append(f"did you mean {suggestion}?")
        elif advice := cure(message):
            lines.append(advice)
        lines.append("all settings: python train.py --help")
        sys.stderr.write("\n".join(lines) + "\n")
        self.exit(2)
        raise AssertionError("exit does not return")


def cure(message: str) -> str:
    """Return what to give instead of what the parser refuses, where its message does not tell."""
    if "required: test." in message or "required: validate." in message:
        return "give --ckpt_path RUN/checkpoints/best.ckpt, whose run tells network and data, or a --config"
    if "arguments are required" in message:
        return "was --config forgotten? Such as --config shapes_unet, or another file of configs/"
    if re.match(r"Option '\w+' is not accepted", message):
        return "no class that has it is chosen there; a --config chooses, such as --config shapes_unet"
    given = re.search(r"(?:Given|Got) value: (.+)", message)
    if given and message.startswith('Parser key "data":') and Path(given.group(1)).exists():
        return f"the folder of a data set is --data.root {given.group(1)}, beside a --config"
    if given and re.search(r"Expected a <class '(list|tuple)'>", message) and not given.group(1).startswith("["):
        return f"lists are written in brackets, without blanks: [{given.group(1)},…]"
    return ""


def nearest(message: str, parser: LightningArgumentParser) -> str:
    """Return the valid key or class nearest to the one that an error message refuses, or nothing."""
    prefix, keys = "", list(parser.get_defaults(skip_validation=True).keys())
    keys += sorted({key.partition(".")[0] for key in keys} | {"model.net", "model.loss", "data"})
    if found := re.search(r"unrecognized arguments: --([\w.]+)", message):
        prefix = "--"
    elif found := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        keys = list(accepted(found.group(1)))
    elif found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        module = found.group(1)
        keys = [name for name in dir(importlib.import_module(module)) if name[0].isupper()]
        prefix = f"{module}."
    else:
        found = re.search(r"does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted", message)
    if not found:
        return ""
    word = [group for group in found.groups() if group][-1]
    lower = {key.lower(): key for key in keys}
    close = [lower[key] for key in difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)]
    if not close:  # the leaf alone, for a key that stands on the wrong branch
        leaves = {key.rpartition(".")[2]: key for key in keys}
        close = [leaves[leaf] for leaf in difflib.get_close_matches(word.rpartition(".")[2], leaves, n=1, cutoff=0.6)]
    return prefix + close[0] if close else ""


def accepted(class_path: str) -> Iterator[str]:
    """Yield the names of the arguments that a class accepts, those of its base classes included."""
    module, _, name = class_path.rpartition(".")
    for base in getattr(importlib.import_module(module), name).__mro__:
        if "__init__" in vars(base):
            yield from (key for key in inspect.signature(base.__init__).parameters if key != "self")


def expand(argv: list[str], default: str) -> list[str]:
    """Return argv with the default subcommand where none is given, and with bare config names looked up.

    A config is looked up as it stands, with .yaml appended, then both in ./configs and in the checkout's configs.
    Evaluating a run's checkpoint without --config takes the config of that run.

    Raises:
        FileNotFoundError: no such config; the ones that exist are listed. Or no such checkpoint, and no config.

    """
    if default and (not argv or argv[0] not in (*SUBCOMMANDS, "--help", "-h")):
        argv = [default, *argv]
    elif default and argv[0] in ("--help", "-h"):
        argv = [default, "--help"]
    argv = list(argv)
    for position, value in _config_values(argv):
        flag, _, _ = argv[position].rpartition("=") if argv[position].startswith("--") else ("", "", "")
        path = str(find_config(value))
        argv[position] = f"{flag}={path}" if flag else path
    if argv and argv[0] in SUBCOMMANDS and not list(configs_in(argv)):
        given = next(iter(_values(argv, ("--ckpt_path",))), (0, ""))[1]
        if argv[0] != "fit" and given not in ("", "last", "best") and not Path(given).is_file():
            raise absent(Path(given))
        saved = Path(given).resolve().parent.parent / "config.yaml" if given else None
        if saved and saved.is_file():
            argv[1:1] = ["--config", str(saved)]
    return argv


def find_config(name: str) -> Path:
    """Return the file that a config name means."""
    candidates = [Path(name), Path(f"{name}.yaml")]
    candidates += [folder / path.name for folder in (Path("configs"), CHECKOUT / "configs") for path in candidates[:2]]
    for path in candidates:
        if path.is_file():
            return path
    known = sorted({path.stem for folder in (Path("configs"), CHECKOUT / "configs") for path in folder.glob("*.yaml")})
    close = difflib.get_close_matches(Path(name).stem, known, n=1)
    raise FileNotFoundError(
        f"--config {name}: there is no such file, nor one of that name in configs/."
        + (f" Did you mean {close[0]}?" if close else "")
        + f" There are: {', '.join(known) or 'none'}"
    )


def configs_in(argv: list[str]) -> Iterator[str]:
    """Yield the config files that argv names."""
    yield from (value for _, value in _config_values(argv))


def _config_values(argv: list[str]) -> list[tuple[int, str]]:
    return _values(argv, ("--config", "-c"))


def _values(argv: list[str], flags: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (position, value) of an option, written as `--flag value` or `--flag=value`."""
    found = []
    for position, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag in flags and equals:
            found.append((position, value))
        elif word in flags and position + 1 < len(argv):
            found.append((position + 1, argv[position + 1]))
    return found


def typed_facts(config: Namespace, links: Mapping[str, str]) -> dict[str, Any]:
    """Return link target -> value for those targets that the configuration types by hand."""
    typed = {}
    for target in links.values():
        value = config.get(target)
        if value is not None and value != _signature_default(config, target):
            typed[target] = value
    return typed


def _signature_default(config: Namespace, target: str) -> Any:
    """Return the default of an argument such as model.net.init_args.in_channels in the class that takes it."""
    branch, _, leaf = target.rpartition(".")
    nested = branch.endswith(".init_args")
    class_path = config.get(branch.removesuffix(".init_args") + ".class_path") if nested else None
    module, _, name = (class_path or "seg.task.SegmentationTask").rpartition(".")
    owner = getattr(importlib.import_module(module), name)
    parameter = inspect.signature(owner).parameters.get(leaf)
    return None if parameter is None else parameter.default


def refuse_contradictions(typed: Mapping[str, Any], data: Any, links: Mapping[str, str]) -> None:
    """Refuse facts typed by hand that disagree with the data set.

    Raises:
        ValueError: naming the setting, both values and the cure.

    """
    for source, target in links.items():
        actual = getattr(data, source.removeprefix("data."))
        if target in typed and _plain(typed[target]) != _plain(actual):
            raise ValueError(
                f"{target.replace('.init_args', '')}: {typed[target]} is set by hand, but {type(data).__name__} has "
                f"{source.removeprefix('data.')} = {actual}; leave it out, the data set tells it"
            )


def _plain(value: Any) -> Any:
    """Return tuples as lists, as YAML knows them."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
