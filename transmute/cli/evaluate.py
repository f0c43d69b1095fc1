"""`transmute evaluate`: measures the quality of a model, or of finished translations."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import transmute
from transmute.cli.parsing import as_flags, parse
from transmute.config.base import Argument, Settings
from transmute.config.metrics import METRICS, MetricsConfig
from transmute.errors import UserError
from transmute.files import write_text

if TYPE_CHECKING:
    from transmute.evaluation import Evaluation


class EvaluateArguments(Settings):
    """Evaluates a model on held-out images (--model, --data), or finished translations (--real,
    --fake).

    Feature networks are downloaded once, to torch's cache ($TORCH_HOME/hub/checkpoints). Without a
    network connection, the error says which file to download and where to put it. --features
    texture needs no download.
    """

    model: Annotated[Path | None, Argument("RUN|FILE")] = None
    """Run folder, folder of model files, or model file."""
    data: Annotated[Path | None, Argument("DIR")] = None
    """Data set whose held-out images are translated and compared."""
    real: Annotated[Path | None, Argument("DIR")] = None
    """Folder of real images, instead of --model and --data."""
    fake: Annotated[Path | None, Argument("DIR")] = None
    """Folder of finished translations."""
    paired: bool = False
    """Compare images in pairs, matched by name. Models of paired methods are always compared in
    pairs."""
    swap: bool = False
    """Exchange the domains of the data set, for a model trained with --data.swap."""
    skip_bad: bool = False
    """Skip unpaired images. By default, they are an error."""
    split: Literal["test", "train"] = "test"
    """Images to use. test: the held-out images. train: the training images."""
    step: Annotated[str, Argument("newest|best|N")] = "newest"
    """Which checkpoint of a run to use: the newest, the best in evaluations, or that of a step."""
    generator: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Config class of the model's generator, if it is user-defined."""
    size: Annotated[str | None, Argument("training|N|WxH")] = None
    """Size in pixels to which images are resized first. 'training' is the training size. If
    omitted, each image keeps its size."""
    metrics: Annotated[MetricsConfig, Argument(name="")] = MetricsConfig(features="inception")
    """The metrics."""
    out: Annotated[Path | None, Argument("FILE")] = None
    """JSON file to write."""
    json_: Annotated[bool, Argument(name="json")] = False
    """Print JSON instead of tables."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device. auto uses a GPU if there is one."""


def evaluate(arguments: list[str]) -> int:
    """Evaluates a model or finished translations."""
    usage = (
        "--model RUN --data DIR [flags]\n       transmute evaluate --real DIR --fake DIR [flags]"
    )
    settings = parse(EvaluateArguments, arguments, "evaluate", usage=usage)
    if settings.out and not _may_replace(settings.out):
        raise UserError(
            f"`out={settings.out}` should have the extension .json, and if it exists, contain the "
            "metrics of an earlier evaluation. Choose another file"
        )
    evaluation = transmute.evaluate(
        settings.model,
        settings.data,
        real=settings.real,
        fake=settings.fake,
        config=settings.metrics,
        step=settings.step,
        generator=settings.generator,
        split=settings.split,
        swap=settings.swap,
        paired=settings.paired or None,
        skip_bad=settings.skip_bad,
        size=settings.size,
        device=settings.device,
    )
    if settings.json_:
        print(evaluation.to_json())
    else:
        _print(evaluation)
    if settings.out:
        write_text(settings.out.resolve(), evaluation.to_json() + "\n")
    return 0


def _may_replace(path: Path) -> bool:
    """Returns True for a JSON file that does not exist yet or contains metrics."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return path.suffix == ".json" and (
            not path.exists() or "metrics" in json.loads(path.read_text(encoding="utf-8"))
        )
    return False


def _print(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from transmute.metrics.metric import DESCRIPTIONS

    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, 110))
    for direction, metrics in evaluation.metrics.items():
        console.print(evaluation.descriptions[direction], markup=False)
        table = Table(
            "metric",
            "value",
            "95 % interval",
            "better",
            "images",
            "description",
            box=None,
            pad_edge=False,
        )
        for metric in metrics:
            table.add_row(
                metric.name,
                f"{metric.value:.4g}",
                "" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}",
                METRICS.get(metric.name, ""),
                f"{metric.fake}" + (f" and {metric.real}" if metric.real else ""),
                DESCRIPTIONS.get(metric.name, "custom metric"),
            )
        console.print(table)
        for features in dict.fromkeys(metric.features for metric in metrics if metric.features):
            names = ", ".join(metric.name for metric in metrics if metric.features == features)
            console.print(f"  features of {names}: {features}", markup=False)
        console.print()
    for warning in evaluation.warnings:
        console.print(f"note: {as_flags(warning)}", markup=False)
