"""Measuring translators on held-out images."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, pairwise, zip_longest
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from transmute import plugins
from transmute.config.metrics import METRICS, Better, MetricsConfig
from transmute.errors import UserError
from transmute.images.ranges import displayed, displayed_part
from transmute.images.raster import Raster
from transmute.metrics.features import call
from transmute.metrics.labels import LabelComparison, label_metrics
from transmute.metrics.metric import (
    DESCRIPTIONS,
    Metric,
    distance_metrics,
    inception_score_metric,
    mean_metric,
)
from transmute.metrics.perceptual import MIN_SIZE
from transmute.metrics.pretrained import load_features
from transmute.metrics.translated import SSIM_WINDOW, Translated, image_metrics, to_image

T = TypeVar("T")
Opener = Callable[[], Raster]
"""Opens an image, as `transmute.images.ranges.normalized` returns it."""
Translate = Callable[[Raster], Raster]
"""Translates such an image, as `transmute.Translator.normalized`."""
PIXEL_METRICS = ("cycle", "l1", "psnr", "ssim")
"""Means over images that need no network."""
CustomMetric = Callable[[list[Image.Image], list[Image.Image]], float]
"""A custom metric of translations and real images of the target domain."""


class Evaluator:
    """Measures translators, any number of times on the same images.

    Args:
        config: The metrics to measure, and the networks for them.
        device: Device of the networks.

    Attributes:
        notes: Sentences about metrics that were omitted or saw some channels only, as keys.

    Raises:
        UserError: If a network, the palette or a custom metric cannot be loaded.
    """

    def __init__(self, config: MetricsConfig, device: torch.device) -> None:
        if config.segmenter and not config.palette:
            raise UserError(
                "`metrics.segmenter` needs the colors of its classes. Set `metrics.palette` too"
            )
        self.config, self.device = config, device
        self.features, self.lpips = load_features(config, device)
        self.labels = (
            LabelComparison(config.palette, config.segmenter, device) if config.palette else None
        )
        self.custom = load_custom_metrics(config.custom)
        self.notes: dict[str, None] = {}
        self.features_of = cache(self._features_of)

    def measurable(
        self, *, paired: bool, both_directions: bool, counts: tuple[int, int]
    ) -> dict[str, Better]:
        """The metrics by which models can be compared, and which of their values are better.

        Args:
            paired: Whether images come in pairs.
            both_directions: Whether translations are translated back.
            counts: Number of images of a and of b.
        """
        fewest = min(*counts, self.config.max_images or min(counts))
        possible = {
            "fid": fewest > 1,
            "kid": fewest > 3,
            "inception_score": fewest > 1 and self.features.classifier is not None,
            "cycle": both_directions,
            "structure": self.lpips is not None,
            **dict.fromkeys(("l1", "psnr", "ssim"), paired),
            "lpips": self.lpips is not None and paired,
            **dict.fromkeys(
                ("pixel_accuracy", "class_accuracy", "iou"),
                self.labels is not None and (paired or self.labels.segmenter is not None),
            ),
        }
        return {
            **{name: METRICS[name] for name in METRICS if possible[name]},
            **{name: better for name, (_, better) in self.custom.items()},
        }

    def measure_directions(
        self,
        translators: Mapping[str, Translate],
        a: Sequence[Opener],
        b: Sequence[Opener],
        *,
        paired: bool,
    ) -> dict[str, list[Metric]]:
        """Measures translators on the images of both domains.

        Args:
            translators: Translators by direction, a_to_b or b_to_a. If both are present,
                translations are also translated back.
            a, b: Images of the domains.
            paired: Whether images of equal index are pairs.

        Returns:
            The metrics of each direction.
        """
        a, b = (evenly_spaced(images, self.config.max_images) for images in (a, b))
        domains = {"a_to_b": (a, b, "b_to_a"), "b_to_a": (b, a, "a_to_b")}
        metrics = {}
        for direction, translate in translators.items():
            sources, targets, reverse = domains[direction]
            translations = (
                _translated(translate, translators.get(reverse), *pair)
                for pair in zip_longest(sources, targets if paired else ())
            )
            metrics[direction] = self.measure(translations, targets)
        return metrics

    def measure(self, translations: Iterable[Translated], reals: Sequence[Opener]) -> list[Metric]:
        """Measures all metrics that translations and real images of their domain allow.

        Args:
            translations: The translations. They are consumed one by one, and kept in memory only
                for custom metrics.
            reals: Real images of the translations' domain.
        """
        values: dict[str, list[float]] = defaultdict(list)
        features, confusions, kept = [], [], []
        previous, smallest = None, math.inf
        for items in _chunks(translations):
            features.append(self.features.of([to_image(item.fake) for item in items]))
            for item in items:
                metrics = image_metrics(item, previous, self.lpips, self.device)
                for name, value in metrics.items():
                    values[name].append(value)
                confusions += self.labels.confusions(item) if self.labels else []
                kept += [to_image(item.fake)] if self.custom else []
                self._note_channels(item.fake, item.source)
                previous, smallest = item.fake, min(smallest, *item.fake.size)
        fake, is_gray = torch.cat(features), previous is not None and previous.channels < 3
        real = self.features_of(tuple(reals), is_gray)
        if self.lpips:
            for one, two in pairwise(self._real(one, is_gray) for one in reals[: len(fake)]):
                diversity = image_metrics(Translated(two), one, self.lpips, self.device)
                values["diversity_real"] += diversity.values()
        counts = {"diversity": (len(fake), 0), "diversity_real": (len(fake), len(real))}
        lpips = self.lpips.name if self.lpips else ""
        metrics = [
            *distance_metrics(fake, real, self.features.name),
            *(
                mean_metric(
                    name,
                    each,
                    "" if name in PIXEL_METRICS else lpips,
                    counts.get(name, (len(each), 0)),
                )
                for name, each in values.items()
                if each
            ),
            *(label_metrics(torch.stack(confusions)) if confusions else ()),
        ]
        probabilities = self.features.probabilities(fake)
        if probabilities is not None and len(fake) > 1:
            metrics.append(inception_score_metric(probabilities, self.features.name))
        metrics.sort(key=lambda metric: list(DESCRIPTIONS).index(metric.name))
        paired, labels = "l1" in values, bool(confusions)
        self._note_missing(len(fake), len(real), smallest, labels=labels, paired=paired)
        images = [to_image(self._real(one, is_gray)) for one in reals] if self.custom else []
        return metrics + [
            measure_custom(name, function, kept, images)
            for name, (function, _) in self.custom.items()
        ]

    def _note_missing(
        self, fake: int, real: int, smallest: float, *, labels: bool, paired: bool
    ) -> None:
        """Notes which metrics could not be measured, or not of all images."""
        notes = (
            (
                min(fake, real) < 4,
                f"FID needs two images on each side and KID four, but there are {fake} and {real}",
            ),
            (
                self.labels is not None and not labels,
                "no label map was compared, because the palette fits neither the inputs nor the "
                "true images of pairs. Photos need `metrics.segmenter`",
            ),
            (
                self.lpips is not None and smallest < MIN_SIZE,
                f"LPIPS is omitted for images with a side below {MIN_SIZE} pixels",
            ),
            (
                paired and smallest < SSIM_WINDOW,
                f"SSIM is omitted for images with a side below {SSIM_WINDOW} pixels",
            ),
        )
        self.notes |= {note: None for applies, note in notes if applies}

    def _features_of(self, openers: tuple[Opener, ...], is_gray: bool) -> Tensor:
        """Features of real images. `features_of` computes them once."""
        images = (to_image(self._real(opener, is_gray)) for opener in openers)
        return torch.cat([self.features.of(chunk) for chunk in _chunks(images)])

    def _real(self, opener: Opener, is_gray: bool) -> Raster:
        """The displayed channels of a real image, in gray or RGB like the translations."""
        image = opener()
        self._note_channels(image)
        return displayed(image).with_channels(1 if is_gray else 3)

    def _note_channels(self, *images: Raster | None) -> None:
        """Notes which channels the networks see, if not all."""
        for image in images:
            if image is not None and (part := displayed_part(image.channels)):
                note = (
                    f"FID, KID, LPIPS, label maps and custom metrics see {part}. cycle, l1, psnr "
                    "and ssim use all"
                )
                self.notes[note] = None


def evenly_spaced(images: Sequence[T], count: int | None) -> Sequence[T]:
    """A subsample of `count` images; all of them if there are fewer or it is None."""
    count = min(len(images), count or len(images))
    return [images[round(index)] for index in np.linspace(0, len(images) - 1, count)]


def load_custom_metrics(references: Sequence[str]) -> dict[str, tuple[CustomMetric, Better]]:
    """Loads custom metrics.

    Args:
        references: FILE.py:NAME of functions. An attribute `better = "higher"` of a function says
            that higher values are better.

    Returns:
        The functions by name, and which of their values are better.

    Raises:
        UserError: If one cannot be loaded or is not a function, or a name is taken.
    """
    metrics: dict[str, tuple[CustomMetric, Better]] = {}
    for reference in references:
        name = reference.rpartition(":")[2]
        function: Any = plugins.load(reference)
        better: Any = getattr(function, "better", "lower")
        for wrong, problem in (
            (
                not callable(function),
                f"{reference} is not a function. Define it with two parameters",
            ),
            (
                better not in ("lower", "higher"),
                f"{reference}.better is {better!r}. Set it to 'lower' or 'higher'",
            ),
            (
                name in metrics or name in DESCRIPTIONS,
                f"there is already a metric {name}. Rename the function {reference}",
            ),
        ):
            if wrong:
                raise UserError(problem)
        metrics[name] = function, better
    return metrics


def measure_custom(
    name: str, function: CustomMetric, fakes: list[Image.Image], reals: list[Image.Image]
) -> Metric:
    """Measures a custom metric, without an interval: resampling could take very long.

    Raises:
        UserError: If the function fails or does not return a finite number.
    """
    value = call(lambda: float(function(fakes, reals)), description=f"the metric {name} failed")
    if not math.isfinite(value):
        raise UserError(f"the metric {name} returned {value}. It must return a finite number")
    return Metric(name, value, None, None, "", len(fakes), len(reals))


def _translated(
    translate: Translate, back: Translate | None, source: Opener, target: Opener | None
) -> Translated:
    """Translates an image. Unpaired data has no target."""
    image = source()
    fake = translate(image)
    return Translated(fake, image, target() if target else None, back(fake) if back else None)


def _chunks(items: Iterable[T], size: int = 16) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
