"""What an offline run of W&B holds, read from its .wandb file."""

import json
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a file, by the library's own reader where it has one (up to 0.2x), else by `raw`."""
    try:
        from wandb.sdk.internal.datastore import DataStore
    except ImportError:
        contents = raw(path.read_bytes())
    else:
        store = DataStore()
        store.open_for_scan(str(path))
        contents = iter(store.scan_data, None)
    for content in contents:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(bytes(content))
        yield record


def raw(data: bytes) -> Iterator[bytes]:
    """Yield the records of LevelDB's log format as W&B writes it, every checksum verified."""
    assert data[:4] == b":W&B"
    position, parts = HEADER, []
    while position < len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        checksum = int.from_bytes(data[position : position + 4], "little")
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        content = data[position + HEADER : position + HEADER + length]
        assert zlib.crc32(content, zlib.crc32(bytes([kind]))) == checksum, "damaged"
        position += HEADER + length
        parts.append(content)
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
    assert not parts, "ends within a record"


def _so_far(path: Path) -> list[Any]:
    """Return the records of a file, none of it while it ends within one."""
    try:
        return list(records(path))
    except AssertionError:
        return []


class OfflineRun:
    """A run as its file has it: history, summary, config, metrics, artifacts; `ended` is its exit code."""

    def __init__(self, folder: Path) -> None:
        [path] = folder.glob("*.wandb")
        until = time.monotonic() + 20
        # W&B's own process writes on for a moment after the run has finished here
        while time.monotonic() < until and not any(r.WhichOneof("record_type") == "exit" for r in _so_far(path)):
            time.sleep(0.1)
        self.folder, self.id, self.ended = folder, "", None
        self.history: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.metrics: list[Any] = []
        self.artifacts: dict[str, Any] = {}
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.id = record.run.run_id
                self._update(self.config, record.run.config.update)
            elif kind == "config":
                self._update(self.config, record.config.update)
            elif kind == "summary":
                self._update(self.summary, record.summary.update)
            elif kind == "metric":
                self.metrics.append(record.metric)
            elif kind == "artifact":
                self.artifacts[record.artifact.type + "/" + record.artifact.name] = record.artifact
            elif kind == "exit":
                self.ended = record.exit.exit_code
            elif kind == "history":
                row: dict[str, Any] = {}
                self._update(row, record.history.item)
                for key in {key.rpartition("/_type")[0] or key for key in row}:
                    value = {name.removeprefix(f"{key}/"): row[name] for name in row if name.startswith(f"{key}/")}
                    self.history[key].append((row.get("trainer/global_step"), value or row[key]))

    @staticmethod
    def _update(held: dict[str, Any], items: Any) -> None:
        for item in items:
            held[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)

    def steps(self, key: str) -> list[int]:
        """Return the optimiser steps at which something was logged."""
        return [step for step, _ in self.history[key]]

    def media(self, key: str) -> list[Path]:
        """Return the files of what was logged under a key."""
        return [self.folder / "files" / value["path"] for _, value in self.history[key]]
