"""The command line: one class per command."""

import difflib
import os
import pkgutil
import sys

import transmute
from transmute.cli.parsing import run_and_exit
from transmute.errors import UserError

HELP = """usage: transmute COMMAND ...

Turns two folders of images into a translator between them.

  transmute demo                              train and evaluate an example
  transmute data COMMAND ...                  check, split or resize images
  transmute train DATA --run RUN              start or resume training
  transmute translate IMAGES --model RUN      translate images and folders
  transmute evaluate --model RUN --data DIR   measure the quality of a model
  transmute watch [RUNS]                      show runs live in a browser
  transmute report RUN ...                    write an HTML report for runs
  transmute bench --recipe NAME               measure the training speed
  transmute doctor [DIR]                      check that this machine can train
  transmute recipes [NAME]                    list the recipes, or print one
  transmute import PATH                       convert another tool's checkpoint
  transmute export RUN --out DIR              write models for other tools
  transmute pull [NAME]                       list or download models

transmute COMMAND --help lists a command's flags.
transmute --version prints the version."""

DATA_HELP = """usage: transmute data COMMAND ...

Checks and writes data sets.

  transmute data check DIR                    find damaged, duplicate or unpaired images
  transmute data combine A B --out DIR        join pairs of images side by side
  transmute data split DIR --out DIR          hold out images for evaluation
  transmute data resize DIR --size N --out DIR
                                              write smaller images
  transmute data pull [NAME]                  list or download data sets

transmute data COMMAND --help lists a command's flags."""

COMMANDS = {
    "demo": "transmute.cli.runs:DemoCommand",
    "data check": "transmute.cli.data:CheckCommand",
    "data combine": "transmute.cli.data:CombineCommand",
    "data split": "transmute.cli.data:SplitCommand",
    "data resize": "transmute.cli.data:ResizeCommand",
    "data pull": "transmute.cli.models:PullDataCommand",
    "train": "transmute.cli.runs:TrainCommand",
    "translate": "transmute.cli.translate:TranslateCommand",
    "evaluate": "transmute.cli.translate:EvaluateCommand",
    "report": "transmute.cli.runs:ReportCommand",
    "watch": "transmute.cli.runs:WatchCommand",
    "bench": "transmute.cli.machine:BenchCommand",
    "doctor": "transmute.cli.machine:DoctorCommand",
    "recipes": "transmute.cli.runs:RecipesCommand",
    "import": "transmute.cli.models:ImportCommand",
    "export": "transmute.cli.models:ExportCommand",
    "pull": "transmute.cli.models:PullCommand",
}
"""Subclasses of `transmute.cli.parsing.Command`. Only the one that runs is imported, because each
import delays `--help`."""


def main() -> None:
    """Runs the command in `sys.argv`, and exits.

    The status is 0 if everything succeeded, 1 if some images failed, 2 if the input is invalid, and
    128 + N if signal N stopped the command.
    """
    run_and_exit(lambda: run_command(sys.argv[1:]))


def run_command(argv: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if argv[:1] == ["--version"]:
        print(f"transmute {transmute.__version__}")
        return 0
    help, words = (DATA_HELP, 2) if argv[:1] == ["data"] else (HELP, 1)
    if len(argv) < words or argv[words - 1] in ("-h", "--help", "help"):
        print(help)
        return 0
    name = " ".join(argv[:words])
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Choose one of: {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}. {hint}")
    arguments = argv[words:]
    if "--" in arguments:  # argparse would take a path that begins with a dash as a flag
        end = arguments.index("--")
        paths = [os.path.join(".", word) if word[:1] == "-" else word for word in arguments[end:]]
        arguments = [*arguments[:end], *paths[1:]]
    return pkgutil.resolve_name(COMMANDS[name]).parsed(arguments, name).execute() or 0
