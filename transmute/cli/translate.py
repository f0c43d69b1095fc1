"""`transmute translate` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from transmute.cli.parsing import parsed
from transmute.settings import Settings, UserError, width_and_height


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
    step: Annotated[str, tyro.conf.arg(metavar="newest|best|N")] = "newest"
    """Which of a run's models: the newest, the best (where it was evaluated in training), or those of a step."""
    size: Annotated[str | None, tyro.conf.arg(metavar="training|N|WxH")] = None
    """Pixels to work at and to give back: `training` for the size of the training. None keeps each picture's size."""
    half: Literal["left", "right"] | None = None
    """Which half of pictures that are pairs side by side; None takes the whole picture."""
    skip_existing: bool = False
    """Leave out pictures whose translation is there already."""
    noise: bool = False
    """Keep dropout on, as pix2pix does: each translation is another."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the device is fast at it, which moves pixels by about one level of 255."""


def translate(arguments: list[str]) -> int:
    """Translates pictures, folders and globs."""
    given = parsed(TranslateArguments, arguments, "translate")
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

    translator = Translator(
        given.model, direction=given.direction, step=given.step, device=given.device, noise=given.noise, precision=given.precision
    )
    card, console = translator.card, Console(stderr=True, highlight=False, soft_wrap=True)
    size = card.size if given.size == "training" else given.size
    targets = find_inputs(list(given.inputs), given.out)
    way = f"{card.source} to {card.target} ({card.direction}, {card.method}, step {card.step})"
    console.print(f"{way}: {len(targets)} pictures to {given.out}, in {translator.precision} ({translator.why})", markup=False)
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
    given = parsed(DemoArguments, arguments, "demo")

    from transmute.demo.demo import run_demo

    stopped_by = run_demo(given.run, quick=given.quick, seed=given.seed)
    return 128 + stopped_by if stopped_by else 0
