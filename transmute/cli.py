"""The command line: one function per command."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from pydantic import Field

import transmute
from transmute.run import Run
from transmute.settings import Settings, UserError, width_and_height

HELP = """usage: transmute COMMAND ...

Turns two folders of pictures into a translator between them.

  transmute demo                              train and judge a small example that makes its own pictures
  transmute train DATA --run RUN              train on two folders of pictures; the same command again goes on
  transmute translate PICTURES --model RUN    translate pictures, folders or globs
  transmute report RUN                        write the run's page anew: curves, samples, recipe

transmute COMMAND --help says more; transmute --version names the version."""

Arguments = TypeVar("Arguments", bound=Settings)


def main() -> None:
    """Runs the command in `sys.argv`, and exits: 0 done, 1 some pictures failed, 2 something given was wrong, 128 + N stopped by signal N."""
    try:
        sys.exit(run_command(sys.argv[1:]))
    except UserError as error:
        from transmute.images import PictureError  # not above: it loads numpy, and --help must be quick

        if os.environ.get("RANK", "0") == "0" or isinstance(error, PictureError):  # to others all processes of torchrun come together
            print(f"transmute: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # no permission, no space left, ...
        print(f"transmute: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def run_command(arguments: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if arguments[0] == "--version":
        print(f"transmute {transmute.__version__}")
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        close = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"perhaps you meant {close[0]}" if close else f"choose one of {', '.join(COMMANDS)}"
        raise UserError(f"there is no command {arguments[0]!r}: {hint}")
    return command(arguments[1:])


def train(arguments: list[str]) -> int:
    """Reads the flags of `transmute train` over the recipe that they choose, and trains."""
    from transmute.recipes import RECIPES, recipe_from
    from transmute.training.config import TrainConfig

    rest, file, _ = _taken(arguments, "--config")
    rest, method, _ = _taken(rest, "--method")
    recipe = recipe_from(method, Path(file) if file else None)
    changed = True
    while changed:  # choosing one kind may bring settings that have kinds of their own
        changed = False
        for place in _kinds(recipe.model_dump()):
            rest, kind, given = _taken(rest, f"--{place}")
            if given:
                recipe, changed = recipe_from(recipe.method.name, None, _nested(recipe.model_dump(), place, kind)), True
    if any(word.split("=")[0] == "--steps" for word in rest) and any(word.split("=")[0] == "--epochs" for word in rest):
        raise UserError("give the length either in --steps or in --epochs, not in both")
    if any(word.split("=")[0] == "--epochs" for word in rest):
        recipe = recipe.replace(steps=None)
    kinds = "; ".join(f"--{place} KIND" for place in _kinds(recipe.model_dump()))
    description = (
        f"Trains a translator between two domains of pictures. --method NAME chooses {' or '.join(RECIPES)}, --config FILE lays a YAML file "
        f"(or a run's recipe.json) over it, and these choose another kind, whose settings --help then shows: {kinds}."
    )
    config = _parsed(TrainConfig, rest, "train", description=description, default=TrainConfig(recipe=recipe))

    from transmute.training.train import train as train_with

    stopped_by = train_with(config.with_run())
    return 128 + stopped_by if stopped_by else 0


class TranslateArguments(Settings):
    """Translates pictures with a trained model."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")] = ()
    """Pictures, folders (their tree is kept) and quoted globs."""
    model: Annotated[str, tyro.conf.arg(metavar="RUN|FILE")]
    """Run folder or model file."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("translated")
    """Folder for the translations; they keep names, formats and sizes."""
    direction: Literal["a_to_b", "b_to_a"] | None = None
    """Which way, where the run has both; None takes a_to_b if there."""
    size: Annotated[str | None, tyro.conf.arg(metavar="training|N|WxH")] = None
    """Pixels to work at and to give back: `training` for the size of the training. None keeps each picture's size."""
    half: Literal["left", "right"] | None = None
    """Which half of pictures that are pairs side by side; None takes the whole picture."""
    skip_existing: bool = False
    """Leave out pictures whose translation is there already."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto takes a GPU where there is one."""


def translate(arguments: list[str]) -> int:
    """Translates pictures, folders and globs."""
    given = _parsed(TranslateArguments, arguments, "translate")
    if not given.inputs:
        raise UserError("name the pictures to translate: files, folders or globs")
    if given.size not in (None, "training"):
        width_and_height(given.size)
    if given.out.exists() and not given.out.is_dir():
        raise UserError(f"--out {given.out} is a file: name a folder")

    from rich.console import Console
    from rich.progress import track

    from transmute.translation.files import find_inputs, translate_file
    from transmute.translation.translator import Translator

    translator = Translator(given.model, direction=given.direction, device=given.device)
    card, console = translator.card, Console(stderr=True, highlight=False, soft_wrap=True)
    size = card.size if given.size == "training" else given.size
    targets = find_inputs(list(given.inputs), given.out)
    way = f"{card.source} to {card.target} ({card.direction}, {card.method}, step {card.step})"
    console.print(f"{way}: {len(targets)} pictures to {given.out}", markup=False)
    problems = []
    for source, target in track(targets.items(), "translating", len(targets), console=console, disable=not console.is_terminal):
        problem = translate_file(translator, source, target, size=size, half=given.half, skip_existing=given.skip_existing)
        problems += [problem] if problem else []
    for problem in problems:
        console.print(f"transmute: {problem}", markup=False)
    if problems:
        console.print(f"transmute: {len(problems)} of {len(targets)} pictures could not be translated", markup=False)
    return 1 if problems else 0


class DemoArguments(Settings):
    """Makes pictures of plain and striped animals, trains a translator between them and judges it."""

    run: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/demo")
    """Folder for all that is made; a demo there that was stopped goes on. Its pictures lie beside it."""
    quick: bool = False
    """The same path in seconds: too short to learn anything."""
    seed: int = Field(default=0, ge=0)
    """Seed of the training."""


def demo(arguments: list[str]) -> int:
    """The embedded example."""
    given = _parsed(DemoArguments, arguments, "demo")

    from transmute.demo.demo import run_demo

    stopped_by = run_demo(given.run, quick=given.quick, seed=given.seed)
    return 128 + stopped_by if stopped_by else 0


class ReportArguments(Settings):
    """Writes report.html of a run anew."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""


def report(arguments: list[str]) -> int:
    """Writes the page of a run."""
    from transmute.report import write_report

    run = Run(_parsed(ReportArguments, arguments, "report").run)
    if not run.exists():
        raise UserError(f"{run.folder} is no run folder: it has no recipe.json")
    write_report(run)
    print(run.report_file)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {"demo": demo, "train": train, "translate": translate, "report": report}


def _parsed(settings: type[Arguments], arguments: list[str], command: str, **options: Any) -> Arguments:
    """What tyro makes of the arguments; its boxed errors become one sentence."""
    said = io.StringIO()
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(settings, args=arguments, prog=f"transmute {command}", config=markers, **options)
    except SystemExit as error:
        if error.code != 2:
            raise
    raise UserError(f"{_sentence(said.getvalue())} (transmute {command} --help lists all)")


def _sentence(box: str) -> str:
    """The gist of an error in a box (of lines, or of dashes where there is no Unicode): what follows its title, and the flags that may be meant."""
    paragraphs = re.split("[─-]{10,}", re.sub("[│╭╮╰╯]", " ", box))
    gist = " ".join(paragraphs[1].split())
    meant = re.findall(r"(?:^|\s)(--[\w.-]+)", " ".join(part for part in paragraphs[2:] if "Perhaps you meant" in part))
    return gist + (f"; perhaps you meant {' or '.join(dict.fromkeys(meant))}" if meant else "")


def _taken(arguments: list[str], flag: str) -> tuple[list[str], str, bool]:
    """The arguments without `flag VALUE` or `flag=VALUE`, its last value, and whether it was there."""
    rest, value, given = [], "", False
    words = iter(arguments)
    for word in words:
        if word.startswith(f"{flag}="):
            value, given = word.removeprefix(f"{flag}="), True
        elif word == flag:
            value, given = next(words, "--"), True
            if value.startswith("--"):
                raise UserError(f"{flag} needs a value")
        else:
            rest.append(word)
    return rest, value, given


def _kinds(values: dict[str, Any], place: str = "") -> list[str]:
    """The places in nested settings where another kind can be chosen by name, outermost first."""
    found = [place] if place not in ("", "method") and "name" in values else []
    return found + [one for key, value in values.items() if isinstance(value, dict) for one in _kinds(value, f"{place}.{key}" if place else key)]


def _nested(values: dict[str, Any], place: str, kind: str) -> dict[str, Any]:
    """The values with only the kind's name at a place: its settings are that kind's defaults."""
    key, _, below = place.partition(".")
    return values | {key: _nested(values[key], below, kind) if below else {"name": kind}}
