"""The command line: one function per command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import transmute
from transmute.cli.bench import bench
from transmute.cli.data import data
from transmute.cli.doctor import doctor
from transmute.cli.evaluate import evaluate
from transmute.cli.models import export_models, import_models
from transmute.cli.parsing import dispatched, finished
from transmute.cli.pull import pull
from transmute.cli.report import report, watch
from transmute.cli.train import recipes, train
from transmute.cli.translate import demo, translate

HELP = """usage: transmute COMMAND ...

Turns two folders of pictures into a translator between them.

  transmute demo                              train and judge a small example that makes its own pictures
  transmute data check DIR ...                look for what is wrong with pictures; combine, split or resize them
  transmute train DATA --run RUN              train on two folders of pictures; the same command again goes on
  transmute translate PICTURES --model RUN    translate pictures, folders or globs
  transmute evaluate --model RUN --data DIR   measure how good a model is, or how good finished pictures are
  transmute watch RUNS                        serve the page of all runs in a folder, live, to this machine
  transmute report RUN ...                    write the page of a run anew, or one that compares runs
  transmute bench --recipe NAME               time a training step on this machine, and say how long the recipe takes
  transmute doctor                            look whether this machine can train, and what would make it better
  transmute recipes [NAME]                    list the named recipes, or print one as YAML
  transmute import PATH                       turn another tool's checkpoint into model files
  transmute export RUN --out DIR              write models as other tools have them
  transmute pull [NAME]                       list published models, or fetch and import one

transmute COMMAND --help says more; transmute --version names the version."""

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "data": data,
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "report": report,
    "watch": watch,
    "bench": bench,
    "doctor": doctor,
    "recipes": recipes,
    "import": import_models,
    "export": export_models,
    "pull": pull,
}


def main() -> None:
    """Runs the command in `sys.argv`, and exits: 0 done, 1 some pictures failed, 2 something given was wrong, 128 + N stopped by signal N."""
    finished(lambda: run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if arguments[0] == "--version":
        print(f"transmute {transmute.__version__}")
        return 0
    return dispatched(COMMANDS, arguments)
