"""What of a configuration was chosen: the settings that differ from the defaults of the classes that take them."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

MISSING = object()
"""Stands for "has no default": the setting must be given."""
KNOWN = (
    *("seg", "torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning", "lightning_fabric"),
    *("segmentation_models_pytorch", "timm", "albumentations"),
)
"""What is imported to look up defaults. To look at a run must not run whatever else its config.yaml names."""


def differences(config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (setting, value, default) of the settings of a run's config.yaml that differ from their defaults.

    Classes are shown as a setting of their own where they were chosen. The default is `MISSING` where there is none,
    where the class cannot be imported here, and where it is of none of the `KNOWN` libraries.
    """
    from seg.cli import DEFAULTS
    from seg.task import SegmentationTask
    from seg.trainer import Trainer

    rows: list[tuple[str, Any, Any]] = []
    for name, value in config.items():
        if name == "model" and isinstance(value, Mapping):
            rows += _compared("model", value, defaults_of(SegmentationTask))
        elif name == "trainer" and isinstance(value, Mapping):
            # Lightning's own defaults are None where it decides later; seg's Trainer has defaults of its own
            rows += _compared("trainer", value, defaults_of(Trainer) | DEFAULTS)
        elif name == "seed_everything":
            rows += _compared("", {name: value}, {name: 0})
        else:
            rows += _compared("", {name: value}, {name: None})
    return rows


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a configuration as dotted name -> value, `init_args` left out of the names."""
    if isinstance(config, Mapping) and config:
        found: dict[str, Any] = {}
        for name, value in config.items():
            inner = prefix if name == "init_args" else f"{prefix}.{name}" if prefix else str(name)
            found |= flat(value, inner)
        return found
    if isinstance(config, list) and any(isinstance(item, Mapping) for item in config):
        return {k: v for index, item in enumerate(config) for k, v in flat(item, f"{prefix}[{index}]").items()}
    return {prefix: config}


def _compared(prefix: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        setting = f"{prefix}.{name}" if prefix else str(name)
        default = defaults.get(name, MISSING)
        yield from _one(setting, value, default)


def _one(setting: str, value: Any, default: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        class_path, given = value["class_path"], value.get("init_args") or {}
        yield setting, class_path, MISSING if setting in ("model.net", "data") else default
        settings = given if isinstance(given, Mapping) else {}
        yield from _compared(setting, settings, defaults_of(imported(class_path)))
        if extra := value.get("dict_kwargs"):
            yield from _compared(setting, extra, {})
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _one(f"{setting}[{index}]", item, MISSING)
    elif isinstance(value, Mapping) and any(isinstance(item, Mapping) for item in value.values()):
        for name, item in value.items():
            yield from _one(f"{setting}.{name}", item, MISSING)
    elif default is MISSING or plain(value) != plain(default):
        yield setting, value, default


def imported(class_path: str) -> Any:
    """Return a class of `KNOWN` libraries, or None where it cannot be imported here."""
    module, _, name = class_path.rpartition(".")
    if module.partition(".")[0] not in KNOWN:
        return None
    try:
        return getattr(importlib.import_module(module), name)
    except Exception:  # another version, a library that does not load: the page is made without the default
        return None


def defaults_of(owner: Any) -> dict[str, Any]:
    """Return the defaults of a class's arguments, those that its base classes take included."""
    found: dict[str, Any] = {}
    for base in reversed(inspect.getmro(owner)) if inspect.isclass(owner) else []:
        if "__init__" not in vars(base):
            continue
        with suppress(ValueError, TypeError):  # written in C, it may tell none
            for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
                found[name] = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    return found


def plain(value: Any) -> Any:
    """Return tuples as lists, as YAML knows them."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
