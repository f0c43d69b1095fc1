"""A translation with the images it is compared with, and its metrics."""

from dataclasses import dataclass

import torch
from PIL import Image
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from transmute.config.data import Range
from transmute.errors import UserError
from transmute.images.ranges import NORMALIZED, displayed, shown, to_tensor
from transmute.images.raster import Raster
from transmute.metrics.features import resize_antialiased
from transmute.metrics.perceptual import LPIPS, structure_distance
from transmute.tensors import Images

SSIM_WINDOW = 11
"""Side of the window of SSIM, in pixels."""


@dataclass(frozen=True)
class Translated:
    """A translation, and the images it is compared with.

    All are of 8 bits, or float32 in [-1, 1].

    Attributes:
        fake: The translation.
        source: The image that was translated.
        target: The true output, in paired data.
        back: The translation translated back.
    """

    fake: Raster
    source: Raster | None = None
    target: Raster | None = None
    back: Raster | None = None


@torch.inference_mode()
def image_metrics(
    item: Translated, previous: Raster | None, lpips: LPIPS | None, device: torch.device
) -> dict[str, float]:
    """The metrics of one translation: of pixels in all channels, LPIPS in the displayed ones.

    Args:
        item: The translation.
        previous: The translation before it, if there is one.
        lpips: LPIPS on the device. Without it, metrics that need it are omitted.
        device: Device to compute on.

    Returns:
        The values by name, without those for which the images are too small. `cycle` and `l1` are
        in levels of 255.

    Raises:
        UserError: If the numbers of channels differ.
    """
    values: dict[str, float | None] = {}
    for image, other, metrics in (
        (item.back, item.source, {"cycle": l1}),
        (item.fake, item.target, {"l1": l1, "psnr": psnr, "ssim": ssim}),
    ):
        if image is not None and other is not None:
            pair = as_tensor(image, device), as_tensor(other, device, like=image)
            values |= {name: metric(*pair) for name, metric in metrics.items()}
    if lpips is not None:
        fake, source, target, before = (
            None if image is None else displayed(image)
            for image in (item.fake, item.source, item.target, previous)
        )
        for image, other, name in (
            (before, fake, "diversity"),
            (fake, source, "change"),
            (fake, target, "lpips"),
        ):
            if image is not None and other is not None:
                values[name] = lpips(as_tensor(image, device), as_tensor(other, device, like=image))
        if item.source is not None:
            pair = [
                resize_antialiased(to_image(image), 224).to(device)
                for image in (item.source, item.fake)
            ]
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


def to_image(image: Raster) -> Image.Image:
    """The image that feature networks and custom metrics see, of mode L or RGB."""
    return shown(image, NORMALIZED)


def as_tensor(image: Raster, device: torch.device, *, like: Raster | None = None) -> Images:
    """An image as (1, channels, height, width) in [-1, 1]. Gray becomes three equal channels.

    Args:
        image: The image.
        device: Device of the result.
        like: Image whose size is used, and without whose colors, if it is gray, none are compared.

    Raises:
        UserError: If the other image has another number of channels.
    """
    if like is not None:
        if image.channels != like.channels and not {image.channels, like.channels} <= {1, 3}:
            raise UserError(
                f"images of {image.channels} and of {like.channels} channels cannot be compared. "
                "Convert one of them"
            )
        image = image.with_channels(like.channels).resized(like.size)
    image = image.with_channels(3) if image.channels == 1 else image
    return to_tensor(image, Range() if image.depth == "uint8" else NORMALIZED).to(device)
