"""What a user sees when something is wrong: one message with the cure instead of a traceback."""

import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
USER_ERRORS = (ValueError, OSError, ImportError)
"""What seg raises for mistakes that a user can cure."""
SAID_OTHERWISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own call, of no use to whoever runs it
    r"Checkpoint directory .* exists and is not empty",  # resuming continues in its folder
)
"""Warnings that tell a user nothing, by the beginning of their text."""


def quiet() -> None:
    """Leave out Lightning's lines that seg says itself, and the warnings above; all others stay."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    for message in SAID_OTHERWISE:
        warnings.filterwarnings("ignore", message=message)


def told(action: Callable[[], object], training: bool = False) -> None:
    """Run an action; print errors that seg raised for its users as a message, exit 2. Others keep their traceback.

    Ctrl-C ends it with a line, exit 130; training has its own ways of being stopped. SEG_TRACEBACK=1 in the environment
    shows the traceback of every error.

    Args:
        action: what a command does.
        training: the command takes the settings of the Trainer, which cures may name.

    """
    try:
        action()
    except KeyboardInterrupt:
        if training:
            raise
        sys.stdout.flush()
        print("stopped: files that were finished stay, half-written ones are gone", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = message_for_user(error, training)
        if message is None or os.environ.get("SEG_TRACEBACK"):
            raise
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr)
        if worker_died(error):
            # torch raises whenever it hears of a dead worker, of the next one while this process ends
            with suppress(AttributeError, ValueError):  # no such signal here; not the main thread
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.exit(2)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, see `told`: temporary files are removed."""
    before = None
    with suppress(ValueError):  # not the main thread
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def message_for_user(error: BaseException, training: bool = False) -> str | None:
    """Return the message of an error that seg itself raised, also in a loader's worker process, or None; see `told`."""
    text = str(error)
    if text.startswith("Caught ") and "in DataLoader worker process" in text:
        if f'File "{PACKAGE}' not in text.rpartition("raise ")[0]:
            return None
        _, _, message = text.rstrip().rpartition(f"\n{type(error).__name__}: ")
        return message or None
    if unwrapped := without_union(text):
        return unwrapped
    if text.startswith("Error(s) in loading state_dict"):
        return (
            "the checkpoint does not fit the network that is configured; leave out the settings in which the run's "
            f"config.yaml differs.\n{text[:800]}"
        )
    if told := of_the_machine(error, training):
        return told
    if type(error).__name__ == "MisconfigurationException":
        return text  # Lightning's word for settings of the Trainer that cannot be
    if not isinstance(error, USER_ERRORS):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    return text if frames and Path(frames[-1].filename).is_relative_to(PACKAGE) else None


def of_the_machine(error: BaseException, training: bool = False) -> str | None:
    """Return what to tell where memory or disk failed or ran out, or a worker process died; None for any other error.

    Where the command trains, it is told how to go on, see `told`. What the run adds to the error about its own settings
    (`seg.memory`) comes with it.
    """
    text, notes = str(error), "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for seg's lighter commands
        return f"the GPU's memory is full: {text.partition(chr(10))[0][:300]}{notes}"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return f"the memory of this machine is full{notes}"
    if worker_died(error):
        return (
            f"a process that reads the data died: {text.partition(chr(10))[0][:200]}\nMostly the machine ran out of "
            "memory or of /dev/shm: lower data.num_workers or data.batch_size, or set data.cache: none. 0 workers show "
            "the error of a reader that crashes" + (". Go on with --ckpt_path last" if training else "")
        )
    if not isinstance(error, OSError):
        return None
    place = error.filename2 or error.filename  # of two, the one that a file was to be renamed to
    if isinstance(error, PermissionError) and place:
        elsewhere = ". A place for runs that may be written is chosen with --trainer.default_root_dir"
        return f"{place}: {error.strerror}; this user may not read or write it" + (elsewhere if training else "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        elsewhere = " with --trainer.default_root_dir, then go on with --ckpt_path last" if training else ""
        return (
            f"cannot write{f' {place}' if place else ''}: {error.strerror}. What was written before stays; make room "
            f"or choose another place{elsewhere}"
        )
    return f"{place}: {error.strerror or error}" if place else None


def worker_died(error: BaseException) -> bool:
    """Tell whether an error says that a process which reads the data has died."""
    text = str(error)
    return "DataLoader worker" in text and ("exited unexpectedly" in text or "killed by signal" in text)


def without_union(text: str) -> str | None:
    """Return the message inside the parser's report that a value fits none of several types, or None.

    The data module is optional to Lightning, so that every error of its constructor arrives as the first of two.
    """
    _, found, rest = text.partition("Errors:\n  - ")
    if not text.startswith("Does not validate against any of the Union subtypes") or not found:
        return None
    message, _, _ = rest.partition("\n  - Expected a <class 'NoneType'>")
    return message.replace("\n    ", "\n")
