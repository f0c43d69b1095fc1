"""Evaluation of translators: translations of held-out images, compared with real ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from transmute.config.base import width_and_height
from transmute.config.data import Range, SourceConfig
from transmute.config.metrics import METRICS, MetricsConfig
from transmute.config.networks import GeneratorConfig
from transmute.data.layout import recognize
from transmute.data.source import Source
from transmute.data.values import checked, find_channels, find_values, open_normalized
from transmute.device import out_of_memory_reported, select_device
from transmute.errors import UserError
from transmute.images.decode import count_pages
from transmute.images.find import images_outside
from transmute.images.raster import Raster
from transmute.metrics.evaluator import Evaluator, Opener, evenly_spaced
from transmute.metrics.metric import DESCRIPTIONS, Metric
from transmute.metrics.translated import Translated
from transmute.translation.model import model_files
from transmute.translation.translator import Translator

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
        lines = []
        for direction, metrics in self.metrics.items():
            rows = [("metric", "value", "95 % interval", "better", "images", "description")]
            for metric in metrics:
                row = (
                    metric.name,
                    f"{metric.value:.4g}",
                    "" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}",
                    METRICS.get(metric.name, ""),
                    f"{metric.fake}" + (f" and {metric.real}" if metric.real else ""),
                    DESCRIPTIONS.get(metric.name, "custom metric"),
                )
                rows.append(row)
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines.append(self.descriptions[direction])
            for row in rows:
                cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
                cells[1] = row[1].rjust(widths[1])
                lines.append("  ".join(cells).rstrip())
            for features in dict.fromkeys(metric.features for metric in metrics if metric.features):
                names = ", ".join(metric.name for metric in metrics if metric.features == features)
                lines.append(f"  features of {names}: {features}")
            lines.append("")
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])


@out_of_memory_reported("Use a smaller `size`, or `metrics.features=texture`")
def evaluate(
    model: str | Path | None = None,
    data: str | Path | None = None,
    *,
    real: str | Path | None = None,
    fake: str | Path | None = None,
    config: MetricsConfig | None = None,
    step: int | str = "newest",
    generator: str | type[GeneratorConfig] | None = None,
    split: Literal["test", "train"] = "test",
    swap: bool = False,
    side_by_side: bool = False,
    paired: bool | None = None,
    skip_bad: bool = False,
    size: int | str | None = None,
    reader: str | None = None,
    range: str | None = None,
    device: str = "auto",
) -> Evaluation:
    """Measures the quality of a model, or of finished translations, like `transmute evaluate`.

    Args:
        model: Run folder, folder of model files, or model file.
        data: Folder of the data set whose held-out images are translated.
        real: Folder of real images, instead of `model` and `data`.
        fake: Folder of finished translations. If inside `real`, its images count only as fakes.
        config: Metrics and their networks. By default, with Inception features.
        step: Which checkpoint of a run to use: newest, best, or a step.
        generator: Config class of a user-defined generator, or its FILE.py:NAME.
        split: Images of the data set: test (held out), or train.
        swap, side_by_side, skip_bad, reader: As in training (`data.swap`, ...).
        paired: Compare images in pairs. By default, True for models of paired methods.
        size: Size to which images are resized first: N or WIDTHxHEIGHT in pixels, or `training`.
        range: LOW:HIGH, black and white of `real` and `fake`. By default, found as in training.
        device: auto, cpu, cuda, or cuda:N for GPU N.

    Returns:
        The metrics of each direction, with confidence intervals.

    Raises:
        UserError: If any input is invalid, or a network cannot be loaded.

    >>> texture = MetricsConfig(features="texture")  # needs no download
    >>> transmute.evaluate("runs/h2z", "horse2zebra", config=texture).descriptions
    {'a_to_b': 'horse to zebra', 'b_to_a': 'zebra to horse'}
    """
    config = config or MetricsConfig(features="inception")
    source = SourceConfig(swap=swap, skip_bad=skip_bad, reader=reader, range_a=range)
    source = source.replace(side_by_side=side_by_side)
    if real is not None and fake is not None and model is None and data is None:
        if (step, split, swap, side_by_side, generator) != ("newest", "test", False, False, None):
            raise UserError(
                "`step`, `split`, `swap`, `side_by_side` and `generator` need a `model`"
            )
        measure = partial(_evaluate_folders, Path(real), Path(fake), source)
    elif model is not None and data is not None and real is None and fake is None:
        measure = partial(_evaluate_model, Path(model), Path(data), step, generator, split, source)
    else:
        raise UserError("pass either `model` and `data`, or `real` and `fake`")
    return measure(paired=paired, size=size, config=config, device=device)


def _evaluate_model(
    model: Path,
    data: Path,
    step: int | str,
    generator: str | type[GeneratorConfig] | None,
    split: str,
    source: SourceConfig,
    *,
    paired: bool | None,
    size: int | str | None,
    config: MetricsConfig,
    device: str,
) -> Evaluation:
    if source.range_a is not None:
        raise UserError("`range` needs `real` and `fake`. A model has that of its training")
    # In float32, so that metrics do not depend on the device.
    loaded = [
        Translator(file, device=device, precision="float32", generator=generator)
        for file in model_files(model, step)
    ]
    card = loaded[0].card
    paired = card.paired if paired is None else paired
    size = card.size if size == "training" else size
    dataset = recognize(data, source, paired=paired, one_domain=card.colors == "lab")
    if card.source != card.target and card.domains == dataset.names[::-1]:
        raise UserError(
            f"the model's domains are {' and '.join(card.domains)}, but those of {data} are "
            f"{' and '.join(dataset.names)}. Set `swap` to exchange them"
        )
    sides = dataset.test if split == "test" else dataset.train
    if not sides[0]:
        raise UserError(
            f"{data} has no held-out images. Set `split=train` to evaluate on training images"
        )
    order = 1 if card.direction == "a_to_b" else -1
    channels = (3, 3) if card.colors == "lab" else (card.in_channels, card.out_channels)[::order]
    background = card.preprocess.background
    a, b = (
        _openers(side, size, values, number, background)
        for side, values, number in zip(sides, card.preprocess.ranges, channels, strict=True)
    )
    evaluator = Evaluator(config, select_device(device))
    translators = {translator.card.direction: translator.normalized for translator in loaded}
    metrics = evaluator.measure_directions(translators, a, b, paired=paired)
    return Evaluation(
        {"model": str(model), "step": card.step, "data": str(data), "split": split, "size": size},
        {one.card.direction: f"{one.card.source} to {one.card.target}" for one in loaded},
        metrics,
        [*warnings(metrics), *evaluator.notes],
    )


def _evaluate_folders(
    real: Path,
    fake: Path,
    source: SourceConfig,
    *,
    paired: bool | None,
    size: int | str | None,
    config: MetricsConfig,
    device: str,
) -> Evaluation:
    if size == "training":
        raise UserError("`size=training` needs a model. Set `size` to a number of pixels")
    if paired:
        sides = recognize(None, source.replace(a=real, b=fake), paired=True).train
    else:
        sides = _sources(real, fake, source.reader), _sources(fake, real, source.reader)
    values, channels, notes = _values_of(sides[0], source.range_a, real)
    evaluator = Evaluator(config, select_device(device))
    reals, fakes = (
        evenly_spaced(_openers(side, size, values, channels, None), config.max_images)
        for side in sides
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
        [*warnings(metrics), *notes, *evaluator.notes],
    )


def warnings(metrics: Mapping[str, Sequence[Metric]]) -> list[str]:
    """Sentences about the limits of metrics, which are grouped by direction."""
    measured = [metric for each in metrics.values() for metric in each]
    counts = [min(metric.fake, metric.real) for metric in measured if metric.name == "fid"]
    fewest = min(counts, default=FEW)
    scored = [metric.fake for metric in measured if metric.name == "inception_score"]
    notes = (
        (
            fewest < FEW,
            f"FID of fewer than {FEW:,} images ({fewest} here) is too high, by an amount that "
            "depends on their number. Compare it only with FID of as many images, or compare KID, "
            "which is unbiased",
        ),
        (
            bool(scored),
            "the Inception Score depends neither on the inputs nor on real images, and is too low "
            f"for few images ({min(scored, default=0)} here). Compare it only with the score of as "
            "many images",
        ),
        (
            any(metric.features == "texture" for metric in measured),
            "texture features describe colors and edges, not objects. Use "
            "`metrics.features=inception` for metrics to compare with others",
        ),
    )
    return [note for applies, note in notes if applies]


def _sources(folder: Path, other: Path, reader: str | None) -> list[Source]:
    """All pages of the images in a folder, without those in the other folder."""
    return [
        Source(path, reader=reader, page=page)
        for path in images_outside(folder, other, any_extension=reader is not None)
        for page in range(1 if reader else count_pages(path))
    ]


def _values_of(
    sources: Sequence[Source], given: str | None, folder: Path
) -> tuple[Range, int, list[str]]:
    """The range and the channels (RGB for gray) of images, and a sentence if not of 8 bits."""
    first = sources[0].open()
    if given is None and first.depth == "uint8":
        return Range(), 3 if first.channels == 1 else first.channels, []

    images, unused = [], []
    for one in sources:
        image = one.open()
        images.append(checked(image, str(one), image.size, len(sources)))
    channels = find_channels(images, str(folder))
    values = find_values(images, channels, str(folder), given, unused.append)
    origin = "as set" if given else f"the 0.1 and 99.9 percentiles of {folder}"
    note = (
        f"values from {values} are compared ({origin}), others are clipped. Set `range` to choose"
    )
    return values, 3 if channels == 1 else channels, [note]


def _openers(
    sources: Sequence[Source], size: object, values: Range, channels: int, background: str | None
) -> list[Opener]:
    """Functions that open images, and resize them if a size is set."""
    pixels = None if size is None else width_and_height(size)

    def resize(image: Raster) -> Raster:
        return image.resized(pixels or image.size)

    return [partial(open_normalized, one, channels, background, values, resize) for one in sources]
