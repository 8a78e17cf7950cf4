"""The `seg` command: one line a subcommand here, the work and its imports in the modules named."""

import sys
from importlib import import_module

TRAINING = ("fit", "validate", "test")
"""Subcommands of the one command line that trains and evaluates; it reads their names itself."""

COMMANDS = {
    "fit": ("seg.cli:main", "train, then test the best checkpoint (python train.py does the same)"),
    "validate": ("seg.cli:main", "score a checkpoint on the validation split"),
    "test": ("seg.cli:main", "score a checkpoint on the test split"),
    "crossval": (
        "seg.crossval.command:main",
        "train once a fold: mean and spread of the scores, each image validated once",
    ),
    "models": (
        "seg.models_command:main",
        "networks compared: parameters, GMACs, receptive fields, memory and time of a step",
    ),
    "convert": ("seg.convert.command:main", "annotations from one format to another"),
    "score": ("seg.score:main", "two folders of masks in, scores out; needs no model"),
    "doctor": (
        "seg.doctor.command:main",
        "data: is this data set fit to train on? run: is this set-up able to learn?",
    ),
    "replay": ("seg.replay:main", "a training step that was not finite, run again: where does it begin?"),
    "report": ("seg.report.command:main", "a run folder in, one HTML page out: scores, curves, confusion, images"),
    "compare": ("seg.report.command:compare_main", "runs side by side in one HTML page"),
    "predict": ("seg.predict:main", "images in, masks and overlays out; needs nothing but a checkpoint"),
    "export": (
        "seg.export.command:main",
        "a checkpoint as ONNX or torch.export, quantised where asked for, with its mIoU compared",
    ),
}
"""Name -> where its main is, and what it is for."""


def main() -> None:
    """Run `seg <command> …`; help and mistakes are answered without importing torch."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in COMMANDS:
        module, _, function = COMMANDS[command][0].partition(":")
        run = getattr(import_module(module), function)
        run() if command in TRAINING else run(sys.argv[2:])
    elif command == "--version":
        from seg import __version__

        print(f"seg {__version__}")
    elif command in ("--help", "-h", "help"):
        print(usage())
    else:
        import difflib

        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"error: seg has no command '{command}'{hint}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)


def usage() -> str:
    """Return the list of commands."""
    lines = ["usage: seg <command> [options]", "", "commands:"]
    lines += [f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "seg <command> --help tells the options of a command."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
