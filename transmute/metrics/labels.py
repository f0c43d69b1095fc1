"""Label maps: which class a pixel has, and how far two maps agree."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from PIL import ImageColor
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from transmute.images import normalize
from transmute.settings import UserError, first_line
from transmute.tensors import Images


def read_palette(path: Path) -> dict[str, tuple[int, int, int]]:
    """Colors in 0..255 by the names of their classes, from YAML lines such as `road: "#804080"`.

    Raises:
        UserError: If something there is no color, or two classes share one.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the palette {path} cannot be read: {first_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f'the palette {path} should hold a line for each class, such as road: "#804080", but holds something else')
    colors: dict[str, tuple[int, int, int]] = {}
    for name, color in values.items():
        try:
            colors[str(name)] = ImageColor.getrgb(str(color))[:3]
        except ValueError:
            raise UserError(f'{path}: the color of {name} should be written "#rrggbb" with its quotes, but is {color!r}') from None
    if len(colors) < 2 or len(set(colors.values())) < len(colors):
        raise UserError(f"{path} should give two or more classes, each a color of its own")
    return colors


def nearest_class(images: Images, palette: Tensor) -> Tensor:
    """The class of each pixel: that whose color is nearest.

    Args:
        images: (batch, 3, height, width) in [-1, 1].
        palette: (classes, 3) in 0..255.

    Returns:
        (batch, height, width), whole numbers.
    """
    colors = normalize(palette.to(images.device))
    distances = torch.stack([(images - color[:, None, None]).square().sum(1) for color in colors], 1)
    return distances.argmin(1)


def confusion(labels: Tensor, found: Tensor, classes: int) -> Tensor:
    """How many pixels of each class (rows) were found to be of which (columns)."""
    return multiclass_confusion_matrix(found.flatten(), labels.flatten(), classes)


def scores(counts: Tensor) -> tuple[float, float, float]:
    """Pixel accuracy, class accuracy and mean IoU of a confusion matrix (Long et al. 2015, "Fully Convolutional Networks", section 5).

    Classes that occur in neither map do not count.
    """
    counts = counts.double()
    right, there, found = counts.diag(), counts.sum(1), counts.sum(0)
    occurring, either = there > 0, there + found > 0
    ious = right[either] / (there + found - right)[either]
    return float(right.sum() / counts.sum()), float((right[occurring] / there[occurring]).mean()), float(ious.mean())
