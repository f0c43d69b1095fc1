"""`transmute translate` and `transmute demo`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transmute.cli.parsing import parse
from transmute.config.base import Argument, Settings, width_and_height
from transmute.errors import UserError


class TranslateArguments(Settings):
    """Translates images with a trained model."""

    inputs: Annotated[tuple[str, ...], Argument("IMAGES", positional=True)] = ()
    """Images, folders (with their subfolders) and quoted glob patterns."""
    model: Annotated[str, Argument("RUN|FILE")]
    """Run folder or model file."""
    out: Annotated[Path, Argument("DIR")] = Path("translated")
    """Output folder. Translations keep the names and formats of their inputs."""
    direction: Literal["a_to_b", "b_to_a"] | None = None
    """Direction, if the run has both. If omitted, a_to_b if there is one, otherwise b_to_a."""
    step: Annotated[str, Argument("newest|best|N")] = "newest"
    """Which checkpoint of a run to use: the newest, the best in evaluations, or that of a step."""
    size: Annotated[str | None, Argument("training|N|WxH")] = None
    """Size in pixels at which images are translated and written. 'training' is the training size.
    If omitted, each image keeps its size."""
    half: Literal["left", "right"] | None = None
    """Half of side-by-side images to translate. If omitted, the whole image is translated."""
    skip_existing: bool = False
    """Skip images whose output file exists."""
    noise: bool = False
    """Keep dropout active (as in pix2pix), so that repeated translations differ."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device. auto uses a GPU if there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network. auto uses bfloat16 where it is fast, which changes pixels by
    about one level of 255."""
    generator: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Config class of the model's generator, if it is user-defined."""


def translate(argv: list[str]) -> int:
    """Translates images, folders and glob patterns."""
    arguments = parse(TranslateArguments, argv, "translate")
    if not arguments.inputs:
        raise UserError("IMAGES is required. Pass files, folders or quoted glob patterns")
    if arguments.size not in (None, "training"):
        width_and_height(arguments.size)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise UserError(f"`out={arguments.out}` is a file. Choose a folder")

    from rich.console import Console
    from rich.progress import track

    from transmute.translation.files import find_inputs, translate_file
    from transmute.translation.translator import Translator

    translator = Translator(
        arguments.model,
        direction=arguments.direction,
        step=arguments.step,
        device=arguments.device,
        noise=arguments.noise,
        precision=arguments.precision,
        generator=arguments.generator,
    )
    card = translator.card
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    targets = find_inputs(list(arguments.inputs), arguments.out)
    console.print(
        f"{card.source} to {card.target} ({card.direction}, {card.method}, step {card.step}): "
        f"{len(targets)} images to {arguments.out}, in {translator.precision} "
        f"({translator.precision_reason})"
    )
    outcomes = [
        translate_file(
            translator,
            source,
            target,
            size=card.size if arguments.size == "training" else arguments.size,
            half=arguments.half,
            skip_existing=arguments.skip_existing,
        )
        for source, target in track(
            targets.items(), "translating", console=console, disable=not console.is_terminal
        )
    ]
    problems = list(filter(None, outcomes))
    for problem in problems:
        console.print(f"transmute: {problem}")
    if problems:
        console.print(
            f"transmute: {len(problems)} of {len(targets)} images could not be translated"
        )
    return 1 if problems else 0


class DemoArguments(Settings):
    """Generates images of plain and striped animals, then trains and evaluates a translator."""

    run: Annotated[Path, Argument("DIR")] = Path("runs/demo")
    """Run folder. An interrupted demo is resumed. The generated images are written next to it."""
    quick: bool = False
    """Run all parts of the demo in seconds, which is too short to learn anything."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the training run."""


def demo(argv: list[str]) -> int:
    """Runs the built-in example."""
    arguments = parse(DemoArguments, argv, "demo")

    from transmute.demo.demo import run_demo

    stopped_by = run_demo(arguments.run, quick=arguments.quick, seed=arguments.seed)
    if stopped_by:
        return 128 + stopped_by
    print(
        f"Translated images: {arguments.run / 'demo.png'}\n"
        f"Report: {arguments.run / 'report.html'}\n"
        "To train on your own images: transmute train FOLDER --run runs/mine\n"
        f"To translate images: transmute translate IMAGES --model {arguments.run}"
    )
    return 0
