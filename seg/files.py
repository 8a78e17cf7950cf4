"""Writing a file whole or not at all, and reading the lists that people write."""

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, of the same suffix, and rename it to `path` once all went well.

    The folder is made where it is missing. After an error the temporary file is gone and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def short_name(name: str, most: int = 200) -> str:
    """Return a file's name, without its suffix, as file systems take it: at most so many of the 255 bytes they allow.

    The rest is for the suffix and for the temporary name of `replacing`. What is cut ends with a checksum of the whole,
    so that two long names stay two.
    """
    whole = name.encode("utf-8", "replace")
    if len(whole) <= most:
        return name
    return f"{whole[: most - 9].decode('utf-8', 'ignore')}-{zlib.crc32(whole):08x}"


def sweep(folder: Path) -> None:
    """Delete the temporary files of `replacing` that killed processes left in a folder; those of living ones stay."""
    for path in folder.glob(".*.tmp*"):
        found = re.fullmatch(r"\..*\.(\d+)\.tmp(\..*)?", path.name)
        if found and not alive(int(found[1])):
            path.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Tell whether another process of this number runs on this machine."""
    if os.name == "nt":  # where asking would end it
        return process != os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return process != os.getpid()


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file, a byte order mark and carriage returns left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8.

    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8 ({error}); save it as UTF-8") from error
