"""The `seg` command: one line a subcommand here, the work and its imports in the modules named."""

import sys

COMMANDS = {
    "fit": "train, then test the best checkpoint (python train.py does the same)",
    "validate": "score a checkpoint on the validation split",
    "test": "score a checkpoint on the test split",
    "models": "networks compared: parameters, GMACs, receptive fields, memory and time of a step",
    "convert": "annotations from one format to another",
    "score": "two folders of masks in, scores out; needs no model",
    "doctor": "is this data set fit to train on? is this set-up able to learn?",
    "predict": "images in, masks and overlays out; needs nothing but a checkpoint",
}


def main() -> None:
    """Run `seg <command> …`; help and mistakes are answered without importing torch."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("fit", "validate", "test"):
        from seg.cli import main as run

        run()
    elif command == "predict":
        from seg.predict import main as predict

        predict(sys.argv[2:])
    elif command == "score":
        from seg.score import main as score

        score(sys.argv[2:])
    elif command == "convert":
        from seg.convert.command import main as convert

        convert(sys.argv[2:])
    elif command == "models":
        from seg.models_command import main as models

        models(sys.argv[2:])
    elif command == "doctor":
        from seg.doctor.command import main as doctor

        doctor(sys.argv[2:])
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
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += ["", "seg <command> --help tells the options of a command."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
