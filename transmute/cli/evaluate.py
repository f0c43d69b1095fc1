"""`transmute evaluate`: how good a model is, or how good finished pictures are."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from transmute.cli.parsing import parsed
from transmute.metrics.config import MetricsConfig
from transmute.settings import Settings, UserError, width_and_height

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from transmute.data.layout import Source
    from transmute.evaluation import Evaluator, Figure


class EvaluateArguments(Settings):
    """Measures how good a model is on held-out pictures (--model, --data), or how good finished pictures are (--real, --fake).

    Networks are fetched once and kept where torch keeps its own ($TORCH_HOME/hub/checkpoints); where there is no network, the error says
    which file to put where, and --features texture needs none.
    """

    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN|FILE")] = None
    """Run folder, folder of model files, or model file."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Data set; its held-out pictures are translated and compared with."""
    real: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of real pictures, in place of --model and --data."""
    fake: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of finished translations."""
    paired: bool = False
    """Pictures belong together in pairs, matched by name, and can be compared one by one; always so for models of paired methods."""
    swap: bool = False
    """Exchange the domains of --data, for a model that was trained with --data.swap."""
    skip_bad: bool = False
    """Leave out pictures without a partner in the other folder of a pair, in place of stopping."""
    split: Literal["test", "train"] = "test"
    """Which pictures of the data set."""
    step: Annotated[str, tyro.conf.arg(metavar="newest|best|N")] = "newest"
    """Which of a run's models."""
    size: Annotated[str | None, tyro.conf.arg(metavar="training|N|WxH")] = None
    """Pixels to which pictures are resized before: `training` for the size of the training. None keeps each picture's size."""
    metrics: Annotated[MetricsConfig, tyro.conf.arg(name="")] = MetricsConfig(features="inception")
    """What is measured."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """JSON file to write."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON in place of the table."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto takes a GPU where there is one."""


def evaluate(arguments: list[str]) -> int:
    """Measures a model or finished pictures."""
    given = parsed(EvaluateArguments, arguments, "evaluate")
    _require_one_way(given)

    import torch

    from transmute.devices import chosen_device
    from transmute.evaluation import Evaluator, warnings

    device = torch.device(chosen_device(given.device))
    evaluator = Evaluator(given.metrics, device)
    try:
        figures, about = (_of_model if given.model else _of_folders)(given, evaluator)
    except UserError as error:  # of training's flags, those that are called otherwise here
        raise type(error)(str(error).replace("--data.skip-bad", "--skip-bad").replace(", or two folders with --data.a and --data.b", "")) from None
    said = [*warnings(figures), *evaluator.notes]
    found = about | {"figures": {way: [asdict(figure) for figure in each] for way, each in figures.items()}, "warnings": said}
    text = json.dumps(found, indent=2)
    if given.json_:
        print(text)
    else:
        _print(figures, about, said)
    if given.out:
        from transmute.run import write_atomically

        write_atomically(given.out.resolve(), text + "\n")
    return 0


def _require_one_way(given: EvaluateArguments) -> None:
    model, folders = (given.model, given.data), (given.real, given.fake)
    if any(model) == any(folders) or not (all(model) or all(folders)):
        raise UserError("give either --model and --data, or --real and --fake")
    if given.size not in (None, "training"):
        width_and_height(given.size)
    if given.size == "training" and given.model is None:
        raise UserError("--size training is known of a --model only: give the size in pixels")
    if given.step not in ("newest", "best") and not given.step.isdecimal():
        raise UserError(f"--step should be newest, best or a number, but is {given.step!r}")
    if given.real and (given.step != "newest" or given.split != "test" or given.swap):
        raise UserError("--step, --split and --swap belong to --model and --data, not to --real and --fake")
    if given.out and (given.out.suffix != ".json" or (given.out.exists() and not _is_ours(given.out))):
        raise UserError(f"--out {given.out} should be a new file that ends in .json, or one of figures, which is then replaced")


def _is_ours(path: Path) -> bool:
    """Whether a file that exists is one of figures, and may be replaced."""
    try:
        return path.is_file() and "figures" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _of_model(given: EvaluateArguments, evaluator: Evaluator) -> tuple[dict[str, list[Figure]], dict[str, Any]]:
    from transmute.data.config import SourceConfig
    from transmute.data.layout import recognize
    from transmute.translation.translator import translators

    assert given.model is not None
    found = translators(given.model, step=given.step, device=given.device)
    card = next(iter(found.values())).card
    paired = given.paired or card.method in ("pix2pix", "colorization")
    data = recognize(given.data, SourceConfig(swap=given.swap, skip_bad=given.skip_bad), paired=paired, one_domain=card.colors == "lab")
    names = (card.source, card.target) if card.direction == "a_to_b" else (card.target, card.source)
    if names[0] != names[1] and names == data.names[::-1]:
        raise UserError(
            f"the model's domains are {' and '.join(names)}, but those of {given.data} {' and '.join(data.names)}: exchange them with --swap"
        )
    sides = data.test if given.split == "test" else data.train
    if not sides[0]:
        raise UserError(f"{given.data} holds no pictures to test with: measure on those it was trained with by --split train")
    size = card.size if given.size == "training" else given.size
    a, b = ([partial(_opened, source, size, card.preprocess.background) for source in side] for side in sides)
    figures = evaluator.both_ways(found, a, b, paired=paired)
    ways = {direction: f"{translate.card.source} to {translate.card.target}" for direction, translate in found.items()}
    about = {"model": str(given.model), "step": card.step, "data": str(given.data), "split": given.split, "size": size, "directions": ways}
    return figures, about


def _of_folders(given: EvaluateArguments, evaluator: Evaluator) -> tuple[dict[str, list[Figure]], dict[str, Any]]:
    from transmute.data.config import SourceConfig
    from transmute.data.layout import Source, recognize
    from transmute.evaluation import Shown
    from transmute.images import find_pictures

    assert given.real is not None and given.fake is not None  # noqa: PT018
    if given.paired:
        matched = recognize(None, SourceConfig(a=given.real, b=given.fake, skip_bad=given.skip_bad), paired=True).train
    else:
        matched = [
            [
                Source(path) for path in find_pictures(folder) if folder not in other.parents or other not in path.parents
            ]  # what lies in both counts once
            for folder, other in ((given.real, given.fake), (given.fake, given.real))
        ]
        for folder, sources in zip((given.real, given.fake), matched, strict=True):
            if not sources:
                raise UserError(f"{folder} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
    real, fake = (evaluator.chosen([partial(_opened, source, given.size, "white") for source in sources]) for sources in matched)
    shown = (Shown(opener(), target=real[place]() if given.paired else None) for place, opener in enumerate(fake))
    about = {"real": str(given.real), "fake": str(given.fake), "size": given.size, "directions": {"fake": f"{given.fake} beside {given.real}"}}
    return {"fake": evaluator.measure(shown, real)}, about


def _opened(source: Source, size: str | None, background: str) -> Image.Image:
    from PIL import Image

    from transmute.images import open_picture

    picture, _ = open_picture(source.path, background=background, half=source.half)
    return picture if size is None else picture.resize(width_and_height(size), Image.Resampling.BICUBIC)


def _print(figures: dict[str, list[Figure]], about: dict[str, Any], said: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from transmute.evaluation import ABOUT
    from transmute.metrics.config import FIGURES

    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, 110))
    for direction, each in figures.items():
        console.print(about["directions"][direction], markup=False)
        table = Table("figure", "value", "95 % interval", "better", "pictures", "what it is", box=None, pad_edge=False)
        for figure in each:
            pictures = f"{figure.fake}" + (f" and {figure.real}" if figure.real else "")
            interval = f"{figure.low:.4g} to {figure.high:.4g}"
            table.add_row(figure.name, f"{figure.value:.4g}", interval, FIGURES.get(figure.name, ""), pictures, ABOUT[figure.name])
        console.print(table)
        for features in dict.fromkeys(figure.features for figure in each if figure.features):
            by = ", ".join(figure.name for figure in each if figure.features == features)
            console.print(f"  features of {by}: {features}", markup=False)
        console.print()
    for line in said:
        console.print(f"note: {line}", markup=False)
