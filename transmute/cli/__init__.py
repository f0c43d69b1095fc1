"""The command line: one function per command."""

import sys

import transmute
from transmute.cli.parsing import dispatch, run_and_exit

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

COMMANDS = {
    "demo": "transmute.cli.translate:demo",
    "data": "transmute.cli.data:data",
    "train": "transmute.cli.train:train",
    "translate": "transmute.cli.translate:translate",
    "evaluate": "transmute.cli.evaluate:evaluate",
    "report": "transmute.cli.report:report",
    "watch": "transmute.cli.report:watch",
    "bench": "transmute.cli.bench:bench",
    "doctor": "transmute.cli.doctor:doctor",
    "recipes": "transmute.cli.train:recipes",
    "import": "transmute.cli.models:import_models",
    "export": "transmute.cli.models:export_models",
    "pull": "transmute.cli.models:pull",
}
"""Functions that take the arguments after the command and return the exit status. Only the one
that runs is imported, because each import delays `--help`."""


def main() -> None:
    """Runs the command in `sys.argv`, and exits.

    The status is 0 if everything succeeded, 1 if some images failed, 2 if the input is invalid, and
    128 + N if signal N stopped the command.
    """
    run_and_exit(lambda: run_command(sys.argv[1:]))


def run_command(argv: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if argv[0] == "--version":
        print(f"transmute {transmute.__version__}")
        return 0
    return dispatch(COMMANDS, argv)
