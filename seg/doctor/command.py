"""The `seg doctor` command: one line an examination here, options and work in the module named."""

import sys
from importlib import import_module

EXAMINATIONS = {
    "data": ("seg.doctor.data_command", "is this data set fit to train on?"),
    "run": ("seg.doctor.run_command", "is this set-up able to learn?"),
}
"""Name -> module and help; the module has main(argv)."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg doctor <examination> …`."""
    words = sys.argv[2:] if argv is None else argv
    if not words or words[0] in ("--help", "-h"):
        print(usage())
    elif words[0] in EXAMINATIONS:
        import_module(EXAMINATIONS[words[0]][0]).main(words[1:])
    else:
        print(f"error: seg doctor examines {' or '.join(EXAMINATIONS)}, not '{words[0]}'\n\n{usage()}", file=sys.stderr)
        sys.exit(2)


def usage() -> str:
    """Return the list of examinations."""
    lines = ["usage: seg doctor <examination> [options]", "", "examinations:"]
    lines += [f"  {name:<10}{text}" for name, (_, text) in EXAMINATIONS.items()]
    return "\n".join([*lines, "", "seg doctor <examination> --help tells the options."])
