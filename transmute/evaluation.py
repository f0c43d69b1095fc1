"""How good a translator is: translations of held-out pictures beside real ones, in figures that say on how many, and by what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from transmute.images import normalize, to_tensor
from transmute.metrics.config import MetricsConfig
from transmute.metrics.distances import bootstrap, frechet_distance, kernel_distance
from transmute.metrics.features import called, chosen_features, made, resized
from transmute.metrics.labels import confusion, nearest_class, read_palette, scores
from transmute.metrics.perceptual import structure_distance
from transmute.settings import UserError
from transmute.tensors import Images
from transmute.translation.translator import Translator

Thing = TypeVar("Thing")
Opener = Callable[[], Image.Image]
"""Opens a picture, as RGB."""

FEW = 1000
"""Below so many pictures, FID is too biased to be compared with figures of other numbers of pictures."""


@dataclass(frozen=True)
class Figure:
    """A figure that can be read alone.

    Attributes:
        name: See `ABOUT`.
        value: Over all pictures.
        low, high: The 95 % interval of it, by drawing pictures anew; of KID, from its spread over random subsets.
        features: The network that it stands on; "" where it stands on pixels.
        fake, real: How many translations, and how many real pictures (0: none are needed) it is of.
    """

    name: str
    value: float
    low: float
    high: float
    features: str
    fake: int
    real: int = 0


ABOUT = {
    "fid": "Frechet distance to real pictures",
    "kid": "kernel distance to real pictures",
    "diversity": "LPIPS between translations",
    "diversity_real": "LPIPS between real pictures",
    "change": "LPIPS from input to output",
    "structure": "structure lost from input to output",
    "cycle": "L1 after the way back, of 255",
    "l1": "L1 to the true picture, of 255",
    "psnr": "PSNR to the true picture, dB",
    "ssim": "SSIM to the true picture",
    "lpips": "LPIPS to the true picture",
    "pixel_accuracy": "pixels with the true label",
    "class_accuracy": "the same, mean over classes",
    "iou": "intersection over union",
}
"""All figures, in the order in which they are shown."""


@dataclass(frozen=True)
class Shown:
    """A translation, and what belongs to it.

    Attributes:
        fake: The translation.
        source: What was translated.
        target: What it should be, where pictures come in pairs.
        back: What the other direction makes of the translation.
    """

    fake: Image.Image
    source: Image.Image | None = None
    target: Image.Image | None = None
    back: Image.Image | None = None


class Evaluator:
    """Measures translators on the same pictures, as often as asked.

    Args:
        config: What is measured, and with what.
        device: What computes.

    Raises:
        UserError: If networks that are asked for cannot be had.
    """

    def __init__(self, config: MetricsConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.features, self.lpips = chosen_features(config)
        self.palette = read_palette(config.palette) if config.palette else None
        self.segmenter = made(config.segmenter).to(device) if config.segmenter else None
        if self.segmenter is not None and self.palette is None:
            raise UserError("a segmenter needs --palette too, which says what color each of its classes has in the label maps")
        for network in (self.features.network, self.lpips):
            if network is not None:
                network.to(device)
        self.notes: dict[str, None] = {}  # what is left out, and why
        self._real: dict[tuple[str, tuple[Opener, ...]], Tensor] = {}

    def chosen(self, pictures: Sequence[Opener]) -> Sequence[Opener]:
        """As many as the config asks for, evenly spread."""
        count = min(len(pictures), self.config.max_pictures or len(pictures))
        return [pictures[round(place)] for place in np.linspace(0, len(pictures) - 1, count)]

    def both_ways(self, translators: Mapping[str, Translator], a: Sequence[Opener], b: Sequence[Opener], *, paired: bool) -> dict[str, list[Figure]]:
        """The figures of each direction that there is.

        Args:
            translators: By direction, a_to_b or b_to_a; with both, each one's translations are also translated back.
            a, b: Held-out pictures of the domains; of paired ones, those of equal index belong together.
        """
        a, b = self.chosen(a), self.chosen(b)
        found = {}
        for direction, translate in translators.items():
            sources, targets = (a, b) if direction == "a_to_b" else (b, a)
            back = translators.get("b_to_a" if direction == "a_to_b" else "a_to_b")
            found[direction] = self.measure(_translated(translate, back, sources, targets if paired else None), targets)
        return found

    def measure(self, translations: Iterable[Shown], reals: Sequence[Opener]) -> list[Figure]:
        """All figures that can be had of translations and of real pictures of their domain."""
        values: dict[str, list[float]] = defaultdict(list)
        counts: list[Tensor] = []
        features = []
        previous: Image.Image | None = None
        mode = "RGB"
        for some in _groups(translations):
            mode = some[0].fake.mode
            features.append(self.features.of([shown.fake for shown in some], self.device))
            for shown in some:
                for name, value in self._of_one(shown).items():
                    values[name].append(value)
                if previous is not None and self._sees(shown.fake, previous):
                    values["diversity"].append(self._lpips(shown.fake, previous))
                counts += self._labels(shown)
                previous = shown.fake
        fake = torch.cat(features)
        real = self._features_of(reals, mode)
        figures = self._of_sets(fake, real)
        if self.lpips is not None:
            opened = (opener().convert(mode) for opener in reals[: len(fake)])
            found = [self._lpips(one, two) for one, two in pairwise(opened) if self._sees(one, two)]
            values |= {"diversity_real": found} if found else {}
        lpips = self.lpips.name if self.lpips is not None else ""
        of_pixels = ("cycle", "l1", "psnr", "ssim")
        for name, each in values.items():
            figures.append(
                _mean(
                    name,
                    np.array(each),
                    "" if name in of_pixels else lpips,
                    len(fake) if "diversity" in name else len(each),
                    len(real) if name == "diversity_real" else 0,
                )
            )
        if counts:
            figures += _of_labels(torch.stack(counts))
        elif self.palette is not None:
            self.notes["no label map was compared: the palette fits neither the inputs nor, in pairs, the true pictures (see --segmenter)"] = None
        return sorted(figures, key=lambda figure: list(ABOUT).index(figure.name))

    def _features_of(self, pictures: Sequence[Opener], mode: str) -> Tensor:
        """The features of real pictures, computed once."""
        key = mode, tuple(pictures)
        if key not in self._real:
            opened = (opener().convert(mode) for opener in pictures)
            self._real[key] = torch.cat([self.features.of(some, self.device) for some in _groups(opened)])
        return self._real[key]

    def _of_sets(self, fake: Tensor, real: Tensor) -> list[Figure]:
        counts, name = (len(fake), len(real)), self.features.name
        figures = []
        if min(counts) < 4:
            self.notes[f"FID needs two pictures of either side and KID four, but there are {counts[0]} and {counts[1]}"] = None
        if min(counts) > 1:
            times = min(100, max(10, 40_000 // max(counts)))  # with thousands of pictures, each takes seconds, and they hardly differ
            low, high = bootstrap(lambda one, two: frechet_distance(fake[one], real[two]), counts, times=times)
            figures.append(Figure("fid", frechet_distance(fake, real), max(0.0, low), high, name, *counts))
        if min(counts) > 3:
            mean, spread = kernel_distance(fake, real)
            subset = min(1000, min(counts) // 2)
            error = 1.96 * spread * (subset / (min(counts) - subset)) ** 0.5  # the spread is that of halves; smaller subsets vary more than the whole
            figures.append(Figure("kid", mean, mean - error, mean + error, name, *counts))
        return figures

    @torch.inference_mode()
    def _of_one(self, shown: Shown) -> dict[str, float]:
        found: dict[str, float] = {}
        fake = self._tensor(shown.fake)
        if shown.source is not None and self.lpips is not None:
            if self._sees(shown.fake):
                found["change"] = self.lpips(self._tensor(shown.source, like=shown.fake), fake).item()
            both = (resized(picture, 224).to(self.device) for picture in (shown.source, shown.fake))
            found["structure"] = structure_distance(self.lpips.backbone, *both).item()
        if shown.back is not None and shown.source is not None:
            found["cycle"] = _levels(self._tensor(shown.source, like=shown.back) - self._tensor(shown.back)).abs().mean().item()
        if shown.target is not None:
            target = self._tensor(shown.target, like=shown.fake)
            found["l1"] = _levels(fake - target).abs().mean().item()
            found["psnr"] = -20 * np.log10(max(1e-5, _levels(fake - target).square().mean().sqrt().item() / 255))  # equal pictures have 100
            if min(fake.shape[2:]) > 10:  # its window
                pair = [(images.double() + 1) / 2 for images in (fake, target)]  # its constants are meant for values from 0
                found["ssim"] = float(structural_similarity_index_measure(pair[0], pair[1], data_range=1.0))  # pyright: ignore[reportArgumentType]
            if self.lpips is not None and self._sees(shown.fake):
                found["lpips"] = self.lpips(fake, target).item()
        return found

    def _sees(self, *pictures: Image.Image) -> bool:
        """Whether LPIPS can be told of pictures: its networks halve them five times."""
        if self.lpips is None:
            return False
        large = all(min(picture.size) >= 32 for picture in pictures)
        if not large:
            self.notes["LPIPS is left out where a side is below 32 pixels, which its network needs"] = None
        return large

    def measurable(self, *, paired: bool, both_ways: bool, counts: tuple[int, int]) -> set[str]:
        """The figures by which models can be compared, of as many pictures of a and of b."""
        fewest = min(counts) if self.config.max_pictures is None else min(*counts, self.config.max_pictures)
        found = {"fid"} if fewest > 1 else set()
        found |= {"kid"} if fewest > 3 else set()
        found |= {"cycle"} if both_ways else set()
        found |= {"l1", "psnr", "ssim"} if paired else set()
        found |= {"structure"} if self.lpips is not None else set()
        found |= {"lpips"} if self.lpips is not None and paired else set()
        return found | ({"pixel_accuracy", "class_accuracy", "iou"} if self.palette is not None and (paired or self.segmenter is not None) else set())

    @torch.inference_mode()
    def _lpips(self, one: Image.Image, two: Image.Image) -> float:
        assert self.lpips is not None
        return self.lpips(self._tensor(one), self._tensor(two, like=one)).item()

    @torch.inference_mode()
    def _labels(self, shown: Shown) -> list[Tensor]:
        """The confusion of a translation with the truth: none where neither side of it is a label map."""
        if self.palette is None:
            return []
        palette = torch.tensor(list(self.palette.values()))
        classes = len(palette)
        if shown.target is not None and self._is_map(shown.target, palette):
            truth, found = (nearest_class(self._tensor(one, like=shown.fake, resample="nearest"), palette) for one in (shown.target, shown.fake))
        elif self.segmenter is not None and shown.source is not None and self._is_map(shown.source, palette):
            truth = nearest_class(self._tensor(shown.source, like=shown.fake, resample="nearest"), palette)
            found = _segmented(self.segmenter, self._tensor(shown.fake), classes, truth.shape[1:])
        else:
            return []
        return [confusion(truth.cpu(), found.cpu(), classes)]

    def _is_map(self, picture: Image.Image, palette: Tensor) -> bool:
        """Whether most pixels have a color of the palette, give or take what JPEG does to it."""
        images = self._tensor(picture)
        nearest = normalize(palette.to(self.device))[nearest_class(images, palette)].permute(0, 3, 1, 2)
        return _levels(images - nearest).abs().amax(1).median().item() < 24

    def _tensor(self, picture: Image.Image, *, like: Image.Image | None = None, resample: str = "bicubic") -> Images:
        if like is not None:
            picture = picture.convert(like.mode)  # beside gray, colors do not count
            picture = picture if picture.size == like.size else picture.resize(like.size, Image.Resampling[resample.upper()])
        return to_tensor(picture.convert("RGB")).to(self.device)


def _translated(translate: Translator, back: Translator | None, sources: Sequence[Opener], targets: Sequence[Opener] | None) -> Iterator[Shown]:
    for place, opener in enumerate(sources):
        source = opener()
        fake = translate(source)
        yield Shown(fake, source, targets[place]() if targets else None, back(fake) if back else None)


def _mean(name: str, values: np.ndarray, features: str, fake: int, real: int) -> Figure:
    """The mean over pictures, or pairs of them, as a figure."""
    low, high = bootstrap(lambda drawn, _: float(values[drawn].mean()), (len(values), 1))
    return Figure(name, float(values.mean()), low, high, features, fake, real)


def _of_labels(counts: Tensor) -> list[Figure]:
    """Accuracies and IoU of the sum of confusion matrices (pictures, classes, classes)."""
    figures = []
    for place, name in enumerate(("pixel_accuracy", "class_accuracy", "iou")):
        low, high = bootstrap(lambda drawn, _, place=place: scores(counts[torch.from_numpy(drawn)].sum(0))[place], (len(counts), 1))
        figures.append(Figure(name, scores(counts.sum(0))[place], low, high, "", len(counts)))
    return figures


def _segmented(segmenter: nn.Module, images: Images, classes: int, size: Sequence[int]) -> Tensor:
    logits = called(segmenter, images, "the segmenter")
    if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[1] != classes:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"the segmenter gives {shape}: expected (pictures, {classes}, height, width), a score for each class of the palette")
    return F.interpolate(logits.float(), tuple(size), mode="bilinear").argmax(1)


def _levels(difference: Images) -> Images:
    return 127.5 * difference


def warnings(figures: Mapping[str, Sequence[Figure]]) -> list[str]:
    """What should be said beside these figures."""
    said = []
    fewest = min((min(figure.fake, figure.real) for each in figures.values() for figure in each if figure.name == "fid"), default=FEW)
    if fewest < FEW:
        said.append(
            f"FID of fewer than {FEW:,} pictures ({fewest} here) is too high by an amount that depends on their number: "
            "compare it with figures of as many pictures alone, or compare KID, which has no such bias"
        )
    if any(figure.features == "texture" for each in figures.values() for figure in each):
        said.append("texture features see colors and edges, not things: give --features inception for figures to compare with others")
    return said


def _groups(things: Iterable[Thing], size: int = 16) -> Iterator[list[Thing]]:
    several = iter(things)
    while group := list(islice(several, size)):
        yield group
