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

import transmute
from transmute.settings import Size, UserError

HELP = """usage: transmute COMMAND ...

Turns two folders of pictures into a translator between them.

  transmute demo                              train and judge a small example that makes its own pictures
  transmute train DATA --run RUN              train on two folders of pictures; the same command again goes on
  transmute translate PICTURES --model RUN    translate pictures, folders or globs
  transmute report RUN                        write the run's page anew: curves, samples, recipe

transmute COMMAND --help says more; transmute --version names the version."""

Result = TypeVar("Result")


def main() -> None:
    """Runs the command in `sys.argv`, and exits: 0 done, 1 some pictures failed, 2 something given was wrong, 128 + N stopped by signal N."""
    try:
        sys.exit(run_command(sys.argv[1:]))
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":  # under torchrun, all processes come to the same error
            print(f"transmute: {error}", file=sys.stderr)
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
    kinds = "; ".join(f"--{place} KIND" for place in _kinds(recipe.model_dump()))
    description = (
        f"Trains a translator between two domains of pictures. --method NAME chooses {' or '.join(RECIPES)}, --config FILE lays a YAML file "
        f"(or a run's recipe.json) over it, and these choose another kind, whose settings --help then shows: {kinds}."
    )
    config = _parsed(TrainConfig, rest, "train", description, default=TrainConfig(recipe=recipe))

    from transmute.training.train import train as train_with

    stopped_by = train_with(config.with_run())
    return 128 + stopped_by if stopped_by else 0


def translate(arguments: list[str]) -> int:
    """Translates pictures, folders and globs."""
    return _parsed(_translate, arguments, "translate", "Translates pictures with a trained model.")


def _translate(
    inputs: tyro.conf.Positional[tuple[str, ...]],
    /,
    *,
    model: str,
    out: Path = Path("translated"),
    direction: Literal["a_to_b", "b_to_a"] | None = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="training|N|WxH")] = None,
    skip_existing: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> int:
    """Translates pictures with a trained model.

    Args:
        inputs: Pictures, folders (their tree is kept) and quoted globs.
        model: A run folder or a model file.
        out: Folder for the translations; they keep names, formats and sizes.
        direction: Which way, where the run has both; None takes a_to_b if there.
        size: Pixels to work at and to give back: `training` for the size of the training. None keeps each picture's size.
        skip_existing: Leave out pictures whose translation is there already.
        device: What computes; auto takes a GPU where there is one.
    """
    from rich.console import Console
    from rich.progress import track

    from transmute.translation.files import find_inputs, translate_file
    from transmute.translation.translator import Translator

    if not inputs:
        raise UserError("name the pictures to translate: files, folders or globs")
    translator = Translator(model, direction=direction, device=device)
    card, console = translator.card, Console(stderr=True, highlight=False, soft_wrap=True)
    working_size = card.size if size == "training" else tyro_size(size)
    targets = find_inputs(list(inputs), out)
    console.print(
        f"{card.source} to {card.target} ({card.direction}, {card.method}, step {card.step}): {len(targets)} pictures to {out}", markup=False
    )
    problems = []
    for source, target in track(targets.items(), "translating", len(targets), console=console, disable=not console.is_terminal):
        problem = translate_file(translator, source, target, size=working_size, skip_existing=skip_existing)
        problems += [problem] if problem else []
    for problem in problems:
        console.print(f"transmute: {problem}", markup=False)
    if problems:
        console.print(f"transmute: {len(problems)} of {len(targets)} pictures could not be translated", markup=False)
    return 1 if problems else 0


def demo(arguments: list[str]) -> int:
    """The embedded example."""
    return _parsed(_demo, arguments, "demo", "Makes pictures of plain and striped animals, trains a translator between them and judges it.")


def _demo(*, run: Path = Path("runs/demo"), quick: bool = False, seed: int = 0) -> int:
    """Makes pictures of plain and striped animals, trains a translator between them and judges it.

    Args:
        run: Folder for all that is made; a demo there that was stopped goes on.
        quick: The same path in seconds: too short to learn anything.
        seed: Seed of the training.
    """
    from transmute.demo.demo import run_demo

    stopped_by = run_demo(run, quick=quick, seed=seed)
    return 128 + stopped_by if stopped_by else 0


def report(arguments: list[str]) -> int:
    """Writes the page of a run."""
    return _parsed(_report, arguments, "report", "Writes report.html of a run anew.")


def _report(run: tyro.conf.Positional[Path], /) -> int:
    """Writes report.html of a run anew.

    Args:
        run: The run folder.
    """
    from transmute.report import write_report
    from transmute.run import Run

    if not Run(run).exists():
        raise UserError(f"{run} is no run folder: it has no recipe.json")
    write_report(Run(run))
    print(Run(run).report_file)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {"demo": demo, "train": train, "translate": translate, "report": report}


def tyro_size(size: str | None) -> Size | None:
    """A size as the settings write it, or None."""
    from pydantic import TypeAdapter, ValidationError

    from transmute.settings import sentence

    try:
        return TypeAdapter(Size | None).validate_python(size)
    except ValidationError as error:
        raise UserError(sentence(error)) from None


def _parsed(what: Callable[..., Result], arguments: list[str], command: str, description: str, **options: Any) -> Result:
    """What tyro makes of the arguments; its boxed errors become one sentence."""
    said = io.StringIO()
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(what, args=arguments, prog=f"transmute {command}", description=description, config=markers, **options)
    except SystemExit as error:
        if error.code != 2:
            raise
    raise UserError(f"{_sentence(said.getvalue())} (transmute {command} --help lists all)")


def _sentence(box: str) -> str:
    """The gist of an error in a box: its first paragraph, and the flags that may have been meant."""
    lines = [line.strip(" │") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = " ".join(lines).split("─" * 20)
    gist = " ".join(paragraphs[0].split())
    meant = re.findall(r"(?:^|\s)(--[\w.-]+)", " ".join(part for part in paragraphs[1:] if "Perhaps you meant" in part))
    return gist + (f"; perhaps you meant {' or '.join(dict.fromkeys(meant))}" if meant else "")


def _taken(arguments: list[str], flag: str) -> tuple[list[str], str, bool]:
    """The arguments without `flag VALUE` or `flag=VALUE`, its value, and whether it was there."""
    for place, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            return arguments[:place] + arguments[place + 1 :], word.removeprefix(f"{flag}="), True
        if word == flag:
            if place + 1 == len(arguments) or arguments[place + 1].startswith("--"):
                raise UserError(f"{flag} needs a value")
            return arguments[:place] + arguments[place + 2 :], arguments[place + 1], True
    return arguments, "", False


def _kinds(values: dict[str, Any], place: str = "") -> list[str]:
    """The places in nested settings where another kind can be chosen by name, outermost first."""
    found = [place] if place not in ("", "method") and "name" in values else []
    return found + [one for key, value in values.items() if isinstance(value, dict) for one in _kinds(value, f"{place}.{key}" if place else key)]


def _nested(values: dict[str, Any], place: str, kind: str) -> dict[str, Any]:
    """The values with only the kind's name at a place: its settings are that kind's defaults."""
    key, _, below = place.partition(".")
    return values | {key: _nested(values[key], below, kind) if below else {"name": kind}}
