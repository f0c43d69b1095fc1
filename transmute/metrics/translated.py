"""A translation with the images it is compared with, and its metrics."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from transmute.images.decode import from_array
from transmute.images.ranges import to_tensor
from transmute.metrics.features import resize_antialiased
from transmute.metrics.perceptual import LPIPS, structure_distance
from transmute.tensors import Images

SSIM_WINDOW = 11
"""Side of the window of SSIM, in pixels."""


@dataclass(frozen=True)
class Translated:
    """A translation, and the images it is compared with.

    Attributes:
        fake: The translation.
        source: The image that was translated.
        target: The true output, in paired data.
        back: The translation translated back.
    """

    fake: Image.Image
    source: Image.Image | None = None
    target: Image.Image | None = None
    back: Image.Image | None = None


@torch.inference_mode()
def image_metrics(
    item: Translated, previous: Image.Image | None, lpips: LPIPS | None, device: torch.device
) -> dict[str, float]:
    """The metrics of one translation.

    Args:
        item: The translation.
        previous: The translation before it, if there is one.
        lpips: LPIPS on the device. Without it, metrics that need it are omitted.
        device: Device to compute on.

    Returns:
        The values by name, without those for which the images are too small. `cycle` and `l1` are
        in levels of 255.
    """
    values: dict[str, float | None] = {}
    for image, other, metrics in (
        (previous, item.fake, {"diversity": lpips}),
        (item.fake, item.source, {"change": lpips}),
        (item.back, item.source, {"cycle": l1}),
        (item.fake, item.target, {"l1": l1, "psnr": psnr, "ssim": ssim, "lpips": lpips}),
    ):
        if image is not None and other is not None:
            pair = as_tensor(image, device), as_tensor(other, device, like=image)
            values |= {name: metric(*pair) for name, metric in metrics.items() if metric}
    if item.source is not None and lpips is not None:
        pair = [resize_antialiased(image, 224).to(device) for image in (item.source, item.fake)]
        values["structure"] = structure_distance(lpips.backbone, *pair).item()
    return {name: value for name, value in values.items() if value is not None}


def l1(one: Images, two: Images) -> float:
    """Mean absolute difference, in levels of 255."""
    return (127.5 * (one - two)).abs().mean().item()


def psnr(one: Images, two: Images) -> float:
    """PSNR in dB, at most 100, which equal images have."""
    ratio = peak_signal_noise_ratio(one.double(), two.double(), data_range=2.0)
    return ratio.clamp(max=100).item()


def ssim(one: Images, two: Images) -> float | None:
    """SSIM. None for images smaller than its window."""
    if min(one.shape[2:]) < SSIM_WINDOW:
        return None
    # SSIM's constants assume values in [0, data_range].
    pair = [(images.double() + 1) / 2 for images in (one, two)]
    similarity = structural_similarity_index_measure(pair[0], pair[1], data_range=1.0)
    return torch.as_tensor(similarity).item()


def as_tensor(
    image: Image.Image,
    device: torch.device,
    *,
    like: Image.Image | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Images:
    """An image as (1, 3, height, width) in [-1, 1].

    Args:
        image: The image.
        device: Device of the result.
        like: Image whose size is used, and without whose colors, if it is gray, none are compared.
        resample: Filter if the sizes differ.
    """
    if like is not None:
        image = image.convert(like.mode).resize(like.size, resample)
    return to_tensor(from_array(np.asarray(image.convert("RGB")), "an image")).to(device)
