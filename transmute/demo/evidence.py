"""Did it work? Measured with the masks of the animals, which the training never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Evidence:
    """What a translation did, as means over pictures.

    Attributes:
        moved: Inside the animals: how far their look went from their own domain (0) to the other one (1).
        moved_untranslated: The same for the pictures as they were (0 but for rounding).
        ground_changed: Outside: mean absolute difference to the input, in levels of 255.
        ground_of_another: Outside: the same to another picture's ground, to compare with.
    """

    moved: float
    moved_untranslated: float
    ground_changed: float
    ground_of_another: float


def measure(
    real: Sequence[Image.Image],
    translated: Sequence[Image.Image],
    masks: Sequence[Image.Image],
    other: Sequence[Image.Image],
    other_masks: Sequence[Image.Image],
) -> Evidence:
    """Compares translations of pictures with the pictures themselves and with the other domain.

    The look of an animal is the mean of its red, green and blue and the contrast of its brightness; the way from the mean
    look of its domain to that of the other, in units of the spread within the domains, is the axis on which `moved` is measured.

    Args:
        real, translated, masks: Pictures of one domain, what became of them, and their animals' masks (L), all of one size.
        other, other_masks: Pictures of the other domain.
    """
    looks = np.stack([_look(picture, mask) for picture, mask in zip(real, masks, strict=True)])
    translated_looks = np.stack([_look(picture, mask) for picture, mask in zip(translated, masks, strict=True)])
    other_looks = np.stack([_look(picture, mask) for picture, mask in zip(other, other_masks, strict=True)])
    spread = np.sqrt((looks.var(axis=0) + other_looks.var(axis=0)) / 2)
    way = (other_looks.mean(axis=0) - looks.mean(axis=0)) / spread

    def moved(to: np.ndarray) -> float:
        return float((((to - looks.mean(axis=0)) / spread) @ way / (way @ way)).mean())

    changed = [_ground_difference(one, two, mask) for one, two, mask in zip(real, translated, masks, strict=True)]
    neighbors = [*real[1:], real[0]]
    another = [_ground_difference(one, two, mask) for one, two, mask in zip(real, neighbors, masks, strict=True)]
    return Evidence(moved(translated_looks), moved(looks), float(np.mean(changed)), float(np.mean(another)))


def _look(picture: Image.Image, mask: Image.Image) -> np.ndarray:
    """Mean red, green and blue, and the standard deviation of brightness, well inside the animal."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)[np.asarray(mask) == 255]
    return np.array([*pixels.mean(axis=0), pixels.mean(axis=1).std()])


def _ground_difference(one: Image.Image, two: Image.Image, mask: Image.Image) -> float:
    difference = np.abs(np.asarray(one.convert("RGB"), dtype=np.float64) - np.asarray(two.convert("RGB"), dtype=np.float64))
    return float(difference[np.asarray(mask) == 0].mean())
