"""What is measured, and with what. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from transmute.settings import Settings

FIGURES: dict[str, Literal["lower", "higher"]] = {
    "fid": "lower",
    "kid": "lower",
    "cycle": "lower",
    "structure": "lower",
    "l1": "lower",
    "psnr": "higher",
    "ssim": "higher",
    "lpips": "lower",
    "pixel_accuracy": "higher",
    "class_accuracy": "higher",
    "iou": "higher",
}
"""The figures by which one model is better than another, and which way."""


class MetricsConfig(Settings):
    """What is measured, and with what."""

    features: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "auto"
    """Network whose features FID and KID compare: inception, squeezenet, vgg16, alexnet (fetched once), texture (color and edge statistics,
    which need no weights), a file of weights, or FILE.py:NAME, which makes a torch module. auto is inception if it lies on this machine, else
    texture. Figures with different features cannot be compared."""
    lpips: Annotated[str, tyro.conf.arg(metavar="NAME|FILE|none")] = "auto"
    """Network of LPIPS and of the structure distance: alexnet, vgg16, squeezenet or a file with its weights. auto takes that of the features
    where it will do, else what lies on this machine, else none."""
    palette: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Colors of label maps: a YAML file with a line `NAME: "#rrggbb"` for each class. Given, accuracies and IoU are measured."""
    segmenter: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """What says of a photo which class each pixel has, where translations of label maps are photos: FILE.py:NAME makes a torch module from
    pictures in [-1, 1] to (batch, classes, height, width)."""
    max_pictures: int | None = Field(default=None, ge=2)
    """Pictures of each domain to measure on, evenly chosen; None takes all."""
