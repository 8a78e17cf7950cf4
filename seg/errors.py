"""What a user sees when something is wrong: one message with the cure instead of a traceback."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
USER_ERRORS = (ValueError, OSError, ImportError)
"""What seg raises for mistakes that a user can cure."""


def told(action: Callable[[], object]) -> None:
    """Run an action; print errors that seg raised for its users as a message, exit 2. Others keep their traceback.

    SEG_TRACEBACK=1 in the environment shows the traceback of every error.
    """
    try:
        action()
    except USER_ERRORS as error:
        message = message_for_user(error)
        if message is None or os.environ.get("SEG_TRACEBACK"):
            raise
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def message_for_user(error: BaseException) -> str | None:
    """Return the message of an error that seg itself raised, also in a loader's worker process, or None."""
    text = str(error)
    if text.startswith("Caught ") and "in DataLoader worker process" in text:
        if f'File "{PACKAGE}' not in text.rpartition("raise ")[0]:
            return None
        _, _, message = text.rstrip().rpartition(f"\n{type(error).__name__}: ")
        return message or None
    if unwrapped := without_union(text):
        return unwrapped
    frames = traceback.extract_tb(error.__traceback__)
    return text if frames and Path(frames[-1].filename).is_relative_to(PACKAGE) else None


def without_union(text: str) -> str | None:
    """Return the message inside the parser's report that a value fits none of several types, or None.

    The data module is optional to Lightning, so that every error of its constructor arrives as the first of two.
    """
    _, found, rest = text.partition("Errors:\n  - ")
    if not text.startswith("Does not validate against any of the Union subtypes") or not found:
        return None
    message, _, _ = rest.partition("\n  - Expected a <class 'NoneType'>")
    return message.replace("\n    ", "\n")
