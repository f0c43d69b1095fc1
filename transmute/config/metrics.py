"""Metrics and the networks that compute them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transmute.config.base import Argument, Settings

Better = Literal["lower", "higher"]

METRICS: dict[str, Better] = {
    "fid": "lower",
    "kid": "lower",
    "inception_score": "higher",
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
"""Built-in metrics, and which values are better."""


class MetricsConfig(Settings):
    """Metrics to compute, and the networks that compute them."""

    features: Annotated[str, Argument("NAME|FILE")] = "auto"
    """Network whose features FID and KID compare: inception, squeezenet, vgg16 or alexnet
    (downloaded once), texture (color and edge statistics, no weights needed), a weights file, or
    FILE.py:NAME, a function that returns a torch module. auto uses inception if its weights are on
    this machine, else texture. Metrics with different features are not comparable. The Inception
    Score is measured with inception only."""
    lpips: Annotated[str, Argument("NAME|FILE|none")] = "auto"
    """Network of LPIPS and of the structure distance: alexnet, vgg16, squeezenet, or a file with
    its weights. auto reuses the features network if possible, else one on this machine, else
    disables LPIPS."""
    palette: Annotated[Path | None, Argument("FILE")] = None
    """Colors of label maps: a YAML file with a line `NAME: "#rrggbb"` per class. If set, label
    accuracies and IoU are measured."""
    segmenter: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Segmentation network, for label maps translated to photos: a function that returns a torch
    module from images in [-1, 1] to (batch, classes, height, width)."""
    custom: Annotated[tuple[str, ...], Argument("FILE.py:NAME")] = ()
    """Custom metrics: functions f(fakes, reals) -> float over lists of PIL images, aligned by
    index for paired data. Lower is better, unless the function has an attribute better =
    "higher"."""
    max_images: int | None = Field(default=None, ge=2)
    """Number of images of each domain to measure on, evenly spaced. If omitted, all are used."""
