"""Decoded samples in one memory-mapped file that all workers share: in memory for a run, or on disk across runs.

The file holds a checksum for each sample, a flag for each, then the pixels, at places computed from the images' sizes.
Its whole length is reserved before the first write, so that a full disk is found here and not by a crashing worker. A
sample's flag is set after its pixels are written: whoever is killed in between leaves a sample that counts as missing.
Two workers that write one sample at once write the same bytes.
"""

import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_SHARED_MEMORY = Path("/dev/shm")
_SHARE = 0.75  # of what is free at most: batches on their way from worker to trainer live in /dev/shm too
_PREFIX = "seg-cache-"


class Cache:
    """Hold decoded samples up to a number of bytes; what does not fit is simply not kept.

    Args:
        kind: "ram" is gone when the process ends; "disk" is found again by the next run.
        shapes: (height, width) of image and mask of each sample.
        limit: bytes at most.
        folder: where a disk cache lies.
        name: of a disk cache's purpose; an older cache of the same name and another key is deleted.
        key: what the decoded samples depend on, see `fingerprint`.
        bands: of every image.
        dtype: of every image.

    """

    def __init__(
        self,
        kind: Literal["ram", "disk"],
        shapes: Sequence[tuple[tuple[int, int], tuple[int, int]]],
        limit: int,
        folder: Path | None = None,
        name: str = "",
        key: str = "",
        bands: int = 3,
        dtype: str = "uint8",
    ) -> None:
        self.kind, self.shapes, self.bands, self.dtype = kind, list(shapes), bands, dtype
        self.depth = bands * np.dtype(dtype).itemsize  # bytes a pixel
        # Checksums find pixels that a power cut lost after the flag was saved; memory needs none.
        self.checked: set[int] | None = set() if kind == "disk" else None
        lengths = [self.depth * image[0] * image[1] + mask[0] * mask[1] for image, mask in self.shapes]
        head = 5 * len(lengths)
        if kind == "ram":
            folder = _memory_folder(head + sum(lengths), limit)
        assert folder is not None
        room = min(limit, int(_SHARE * _free(folder, kind)))
        ends = head + np.cumsum(lengths, dtype=np.int64)
        self.kept = int(np.searchsorted(ends, room, side="right"))
        self.starts = ends - lengths
        self.size = int(ends[self.kept - 1]) if self.kept else 0
        self.path: Path | None = None
        self._map: mmap.mmap | None = None
        self._flags: np.ndarray | None = None
        self._handle: int | None = None
        if self.kept:
            try:
                self.path = self._create_in_memory(folder) if kind == "ram" else self._create_on_disk(folder, name, key)
                self._open()
            except OSError as error:
                logger.warning(
                    "cache: %s does not take %.1f GiB (%s); going on without", folder, self.size / 2**30, error
                )
                self.kept, self.size = 0, 0
        if self.kept < len(lengths):
            logger.warning(
                "cache: %d of %d samples fit into %.2f GiB (all need %.2f); the rest is decoded each time. "
                "`cache_limit` sets the limit, %s has the room",
                *(self.kept, len(lengths), room / 2**30, int(ends[-1]) / 2**30, folder),
            )

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return copies of a sample's image, (H, W, N), and mask, uint8 (H, W); None where it is not there."""
        if index >= self.kept or self._flags is None or self._flags[index] != 1:
            return None
        image_view, mask_view, data = self._views(index)
        if self.checked is not None and index not in self.checked:
            if zlib.crc32(data.data) != self._sums[index]:
                self._flags[index] = 0
                return None
            self.checked.add(index)
        return image_view.copy(), mask_view.copy()

    def write(self, index: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Keep a sample, where it fits and has the shape that was announced."""
        if index >= self.kept or self._flags is None:
            return
        size, mask_size = self.shapes[index]
        if image.dtype != self.dtype or image.shape != (*size, self.bands) or mask.shape != mask_size:
            return
        image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
        if self._handle is not None:  # 4 times faster than through the map, whose pages would all be missing at first
            os.pwrite(self._handle, image.data, int(self.starts[index]))
            os.pwrite(self._handle, mask.data, int(self.starts[index]) + image.nbytes)
        else:
            image_view, mask_view, _ = self._views(index)
            image_view[...], mask_view[...] = image, mask
        if self.checked is not None:
            self._sums[index] = zlib.crc32(mask.data, zlib.crc32(image.data))
        self._flags[index] = 1

    def __len__(self) -> int:
        """Count the samples that are there."""
        return int(np.count_nonzero(self._flags[: self.kept])) if self._flags is not None else 0

    def _views(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        (height, width), (mask_height, mask_width) = self.shapes[index]
        start, middle = int(self.starts[index]), int(self.starts[index]) + self.depth * height * width
        data = self._bytes[start : middle + mask_height * mask_width]
        image = self._bytes[start:middle].view(self.dtype).reshape(height, width, self.bands)
        return image, data[middle - start :].reshape(mask_height, mask_width), data

    def _open(self) -> None:
        if self.path is None:
            return
        handle = os.open(self.path, os.O_RDWR)
        self._map = mmap.mmap(handle, self.size)
        if hasattr(os, "pwrite"):
            self._handle = handle
            weakref.finalize(self, os.close, handle)
        else:  # Windows
            os.close(handle)
        self._bytes = np.frombuffer(self._map, np.uint8)
        number = len(self.shapes)
        self._sums = np.frombuffer(self._map, "<u4", count=number)
        self._flags = self._bytes[4 * number : 5 * number]

    def _create_in_memory(self, folder: Path) -> Path:
        _sweep(folder)
        handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
        path = Path(name)
        weakref.finalize(self, _remove, path, handle, os.getpid())
        if fcntl is not None:  # held while this process or a child of it lives: others see that the file is in use
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _reserve(handle, self.size)
        return path

    def _create_on_disk(self, folder: Path, name: str, key: str) -> Path:
        path = folder / f"{name}-{key}-{self.size}.cache"
        for old in folder.glob(f"{name}-*.cache"):
            if old != path:
                old.unlink(missing_ok=True)
        if not (path.exists() and path.stat().st_size == self.size):
            handle, temporary = tempfile.mkstemp(prefix=f".{name}-", suffix=".tmp", dir=folder)
            try:
                _reserve(handle, self.size)
                os.replace(temporary, path)
            finally:
                os.close(handle)
                Path(temporary).unlink(missing_ok=True)
        return path

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_map", "_bytes", "_sums", "_flags", "_handle")
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map = self._flags = self._handle = None
        with contextlib.suppress(OSError):  # the run that made it has ended: decode as if nothing were kept
            self._open()


def fingerprint(settings: object, files: Sequence[str]) -> str:
    """Return 16 characters that change with the settings and with any file's path, length or time of change."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in files:
        status = os.stat(file)
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def disk_folder(root: Path) -> Path:
    """Return the folder for a data set's disk caches: `.cache` inside it, or the user's own where it is read-only."""
    inside = root / ".cache"
    try:
        inside.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=inside):
            return inside
    except OSError:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "seg" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _memory_folder(needed: int, limit: int) -> Path:
    """Return the folder that is kept in memory, or the one for temporary files where that has too little room."""
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK):
        _sweep(_SHARED_MEMORY)
        if min(needed, limit) <= _SHARE * shutil.disk_usage(_SHARED_MEMORY).free:
            return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _free(folder: Path, kind: str) -> int:
    free = shutil.disk_usage(folder).free
    if kind == "ram":
        with contextlib.suppress(OSError, StopIteration), open("/proc/meminfo") as file:
            free = min(free, next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable")))
    return free


def _reserve(handle: int, size: int) -> None:
    """Give a file its length and its blocks now: a page that cannot be had later kills the process that touches it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.write(handle, zeros[: size - start])


def _sweep(folder: Path) -> None:
    """Delete what killed runs left behind: caches that no living process has locked."""
    if fcntl is None:
        return
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _remove(path: Path, handle: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker that ends must not take the cache with it
        with contextlib.suppress(OSError):
            os.close(handle)
        path.unlink(missing_ok=True)
