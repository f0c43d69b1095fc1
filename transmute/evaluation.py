"""Evaluation of translators: translations of held-out images, compared with real ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from transmute.config.base import width_and_height
from transmute.config.data import SourceConfig
from transmute.config.metrics import METRICS, MetricsConfig
from transmute.data.layout import Source, recognize
from transmute.device import select_device
from transmute.errors import UserError
from transmute.images import require_images
from transmute.metrics.evaluator import Evaluator, Opener, evenly_spaced
from transmute.metrics.metric import DESCRIPTIONS, Metric
from transmute.metrics.translated import Translated
from transmute.translation.model import ModelCard
from transmute.translation.translator import translators

FEW = 1000
"""With fewer images, FID is too biased to be compared between different numbers of images."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model, or of finished translations.

    Attributes:
        inputs: The arguments of the evaluation by name, and the model's step.
        descriptions: A line of text for each direction.
        metrics: The metrics of each direction.
        warnings: Limits of the metrics, and metrics that were omitted.
    """

    inputs: dict[str, Any]
    descriptions: dict[str, str]
    metrics: dict[str, list[Metric]]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation in plain values, as `transmute evaluate --json` prints it."""
        return {
            **self.inputs,
            "directions": self.descriptions,
            "metrics": asdict(self)["metrics"],
            "warnings": self.warnings,
        }

    def to_json(self) -> str:
        """`to_dict` as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_text(self) -> str:
        """A table for each direction, and the warnings, as `transmute evaluate` prints them."""
        row = "{:14}  {:>9}  {:20}  {:6}  {:14}  {}"
        header = row.format("metric", "value", "95 % interval", "better", "images", "description")
        lines = []
        for direction, metrics in self.metrics.items():
            lines += [self.descriptions[direction], header]
            for metric in metrics:
                line = row.format(
                    metric.name,
                    f"{metric.value:.4g}",
                    "" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}",
                    METRICS.get(metric.name, ""),
                    f"{metric.fake}" + (f" and {metric.real}" if metric.real else ""),
                    DESCRIPTIONS.get(metric.name, "custom metric"),
                )
                lines.append(line)
            for features in dict.fromkeys(metric.features for metric in metrics if metric.features):
                names = ", ".join(metric.name for metric in metrics if metric.features == features)
                lines.append(f"  features of {names}: {features}")
            lines.append("")
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])


def evaluate_model(
    model: str | Path,
    data: str | Path,
    *,
    config: MetricsConfig,
    step: int | str = "newest",
    generator: str | None = None,
    split: Literal["test", "train"] = "test",
    swap: bool = False,
    skip_bad: bool = False,
    paired: bool | None = None,
    size: int | str | None = None,
    device: str = "auto",
) -> Evaluation:
    """Evaluates a model on the held-out images of a data set.

    Args:
        model: Run folder, folder of model files, or model file.
        data: Folder of the data set.
        config: The metrics to measure.
        step, generator: As in `translators`.
        split: Images to use: the held-out ones, or the training images.
        swap: Exchange the domains of the data set.
        skip_bad: Skip unpaired images of paired data.
        paired: Compare images pair by pair. By default, models of paired methods do so.
        size: Pixels to which images are resized first (N or WIDTHxHEIGHT), or `training` for the
            size used in training. By default, each image keeps its size.
        device: auto, cpu or cuda.

    Raises:
        UserError: If the model or the data cannot be used, or a network cannot be loaded.
    """
    models = translators(model, step=step, generator=generator, device=device)
    card = next(iter(models.values())).card
    paired = card.paired if paired is None else paired
    size = card.size if size == "training" else size
    dataset = recognize(
        Path(data),
        SourceConfig(swap=swap, skip_bad=skip_bad),
        paired=paired,
        one_domain=card.colors == "lab",
    )
    _require_same_domains(card, dataset.names, data)
    sides = dataset.test if split == "test" else dataset.train
    if not sides[0]:
        raise UserError(
            f"{data} has no held-out images. Set `split=train` to evaluate on training images"
        )
    a, b = (_openers(side, size, card.preprocess.background) for side in sides)
    evaluator = Evaluator(config, torch.device(select_device(device)))
    metrics = evaluator.both_directions(models, a, b, paired=paired)
    return Evaluation(
        {"model": str(model), "step": card.step, "data": str(data), "split": split, "size": size},
        {
            direction: f"{translator.card.source} to {translator.card.target}"
            for direction, translator in models.items()
        },
        metrics,
        [*warnings(metrics), *evaluator.notes],
    )


def evaluate_folders(
    real: str | Path,
    fake: str | Path,
    *,
    config: MetricsConfig,
    paired: bool = False,
    skip_bad: bool = False,
    size: int | str | None = None,
    device: str = "auto",
) -> Evaluation:
    """Compares a folder of finished translations with a folder of real images.

    Args:
        real, fake: The folders. If one is inside the other, its images count once.
        config: The metrics to measure.
        paired: Match images by name, and compare them pair by pair too.
        skip_bad: Skip unpaired images of paired data.
        size: Pixels to which images are resized first (N or WIDTHxHEIGHT). By default, each image
            keeps its size.
        device: auto, cpu or cuda.

    Raises:
        UserError: If the folders cannot be used, or a network cannot be loaded.
    """
    if size == "training":
        raise UserError("`size=training` needs a model. Set `size` to a number of pixels")
    if paired:
        folders = SourceConfig(a=Path(real), b=Path(fake), skip_bad=skip_bad)
        sides = recognize(None, folders, paired=True).train
    else:
        sides = _images_apart(Path(real), Path(fake)), _images_apart(Path(fake), Path(real))
    evaluator = Evaluator(config, torch.device(select_device(device)))
    reals, fakes = (
        evenly_spaced(_openers(side, size, "white"), config.max_images) for side in sides
    )
    translations = (
        Translated(opener(), target=reals[index]() if paired else None)
        for index, opener in enumerate(fakes)
    )
    metrics = {"fake": evaluator.measure(translations, reals)}
    return Evaluation(
        {"real": str(real), "fake": str(fake), "size": size},
        {"fake": f"{fake} compared with {real}"},
        metrics,
        [*warnings(metrics), *evaluator.notes],
    )


def warnings(metrics: Mapping[str, Sequence[Metric]]) -> list[str]:
    """Sentences about the limits of metrics, which are grouped by direction."""
    measured = [metric for each in metrics.values() for metric in each]
    counts = [min(metric.fake, metric.real) for metric in measured if metric.name == "fid"]
    fewest = min(counts, default=FEW)
    notes = (
        (
            fewest < FEW,
            f"FID of fewer than {FEW:,} images ({fewest} here) is too high, by an amount that "
            "depends on their number. Compare it only with FID of as many images, or compare KID, "
            "which is unbiased",
        ),
        (
            any(metric.features == "texture" for metric in measured),
            "texture features describe colors and edges, not objects. Use "
            "`metrics.features=inception` for metrics to compare with others",
        ),
    )
    return [note for applies, note in notes if applies]


def _require_same_domains(card: ModelCard, names: tuple[str, str], data: str | Path) -> None:
    domains = (
        (card.target, card.source) if card.direction == "b_to_a" else (card.source, card.target)
    )
    if domains[0] != domains[1] and domains == names[::-1]:
        raise UserError(
            f"the model's domains are {' and '.join(domains)}, but those of {data} are "
            f"{' and '.join(names)}. Set `swap` to exchange them"
        )


def _images_apart(folder: Path, other: Path) -> list[Source]:
    """The images in a folder, without those in the other folder if that is inside it."""
    paths = [
        path
        for path in require_images(folder)
        if folder not in other.parents or other not in path.parents
    ]
    if not paths:
        raise UserError(f"{folder} contains no images except those in {other}")
    return [Source(path) for path in paths]


def _openers(sources: Sequence[Source], size: object, background: str) -> list[Opener]:
    """Functions that open images, and resize them if a size is set."""
    pixels = None if size is None else width_and_height(size)
    return [partial(_open, source, pixels, background) for source in sources]


def _open(source: Source, size: tuple[int, int] | None, background: str) -> Image.Image:
    image, _ = source.open(background=background)
    return image if size is None else image.resize(size, Image.Resampling.BICUBIC)
