"""Pixel values of any type, and the range [-1, 1] of the networks."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from transmute.config.data import Range
from transmute.images.raster import Depth, ImageError, Raster, alpha_as

if TYPE_CHECKING:
    import torch

    from transmute.tensors import Images

PERCENTILES = (0.1, 99.9)
NORMALIZED = Range(depth="float32", low=(-1.0,), high=(1.0,), origin="set")
"""The range of the networks."""
_FULL: dict[Depth, tuple[float, float]] = {
    "uint8": (0, 255),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
}


def full_range(depth: Depth) -> Range:
    """All values of an integer type."""
    low, high = _FULL[depth]
    return Range(depth=depth, low=(low,), high=(high,))


def bounds(values: Range) -> tuple[np.ndarray, np.ndarray]:
    """The values of -1 and of 1 for each channel, as float32."""
    return np.asarray(values.low, np.float32), np.asarray(values.high, np.float32)


def require_channels(values: Range, channels: int, name: str) -> None:
    """Checks that a range is for a number of channels.

    Raises:
        ImageError: If it is for another number.
    """
    if len(values.low) not in (1, channels):
        raise ImageError(
            f"the range {values} is for {len(values.low)} channels, but {name} has {channels}. Set "
            "one LOW:HIGH for all, or one for each channel"
        )


def range_for(raster: Raster, known: Range, name: str) -> Range:
    """The range by which an image is read where images with another range are expected.

    Args:
        raster: The image.
        known: The range of the domain.
        name: Subject of the error message.

    Raises:
        ImageError: If the image's values cannot be compared with those of the domain.
    """
    if raster.depth == known.depth or known.origin == "set":
        return known
    if known.is_8_bit and raster.depth == "uint16":
        return full_range("uint16")
    raise ImageError(
        f"{name} has values of type {raster.depth}, but {known.depth} values from {known} are "
        "expected. Convert it, or set its values of black and white when it is translated "
        "(`range=LOW:HIGH`)"
    )


def range_in(values: Range, depth: Depth) -> Range:
    """The values of -1 and 1 in outputs of a type, where those of the domain are `values`."""
    return values if depth in (values.depth, "float32") else full_range(depth)


def pack(raster: Raster, values: Range) -> "torch.Tensor":
    """Converts an image to (channels, height, width): uint8 for 8 bits, else float32 in [-1, 1]."""
    import torch

    pixels = raster.pixels
    if not (raster.depth == "uint8" and values.is_8_bit):
        low, high = bounds(values)
        pixels = ((pixels - low) * (2 / (high - low)) - 1).clip(-1, 1)
    # A copy in one pass: two would take four times as long where the image is mirrored.
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def normalize(pixels: "torch.Tensor") -> "Images":
    """Converts uint8 of any shape to float32 in [-1, 1]. Other tensors stay as they are."""
    import torch

    return pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def to_tensor(raster: Raster, values: Range | None = None) -> "Images":
    """Converts an image to float32 (1, channels, height, width) in [-1, 1].

    Args:
        raster: The image.
        values: The values that are -1 and 1; by default all values of 8 bits.
    """
    return normalize(pack(raster, values or Range()))[None]


def clipped_fraction(pixels: np.ndarray, values: Range) -> float:
    """Fraction of the values (any shape, channels last) that are outside of a range."""
    if values.origin == "full":
        return 0.0
    low, high = bounds(values)
    return float(((pixels < low) | (pixels > high)).mean())


def to_raster(images: "Images", values: Range | None = None, depth: Depth | None = None) -> Raster:
    """Converts one image in [-1, 1], rounding to the nearest value of integer types.

    Args:
        images: (channels, height, width) or (1, channels, height, width).
        values: The values of -1 and 1; by default all values of 8 bits.
        depth: Type of the result. If it is an integer type that differs from that of the range,
            the range becomes all values of the type.
    """
    values = values or Range()
    depth = depth or values.depth
    low, high = bounds(range_in(values, depth))
    array = images.detach().float().reshape(images.shape[-3:]).permute(1, 2, 0).cpu().numpy()
    pixels = (array + 1) * ((high - low) / 2) + low
    if depth != "float32":
        pixels = np.nan_to_num(pixels).round().clip(*_FULL[depth])
    known = {"uint8": np.uint8, "uint16": np.uint16}.get(depth, np.float32)
    return Raster(np.ascontiguousarray(pixels.astype(known)), depth=depth)


def normalized(raster: Raster, values: Range, name: str) -> Raster:
    """Converts an image to float32 in [-1, 1], without alpha. One of 8 bits keeps its values.

    Args:
        raster: The image.
        values: The range of its domain.
        name: Subject of the error message.

    Raises:
        ImageError: If the image's values cannot be compared with those of the domain.
    """
    values = range_for(raster, values, name)
    if raster.depth == "uint8" and values.is_8_bit:
        return Raster(raster.pixels)
    return to_raster(to_tensor(raster, values), NORMALIZED)


def to_pil(images: "Images") -> Image.Image:
    """Converts one image in [-1, 1] to an image to show: see `shown`."""
    return shown(to_raster(images))


def shown(raster: Raster, values: Range | None = None) -> Image.Image:
    """Converts to an image of mode L or RGB (LA or RGBA with alpha) for people to see.

    Of images with other numbers of channels, those of `displayed`.

    Args:
        raster: The image.
        values: The values of black and white, unless the image has 8 bits.
    """
    alpha = raster.alpha
    if raster.depth != "uint8":
        raster = to_raster(to_tensor(raster, values or full_range(raster.depth)))
    pixels = displayed(raster).pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha_as(alpha, np.dtype(np.uint8))))
    return image


def displayed(raster: Raster) -> Raster:
    """The channels that are shown: gray or RGB, the first of two, or the first three of more."""
    if raster.channels in (1, 3):
        return raster
    pixels = raster.pixels[:, :, : 1 if raster.channels == 2 else 3]
    return replace(raster, pixels=np.ascontiguousarray(pixels))


def displayed_part(channels: int) -> str:
    """The channels that `displayed` returns, in words; "" if these are all."""
    if channels in (1, 3):
        return ""
    if channels == 2:
        return "channel 1 of 2 as gray"
    return f"channels 1, 2 and 3 of {channels} as red, green and blue"


def sample_values(raster: Raster, count: int) -> np.ndarray:
    """Up to `count` evenly spaced pixels of an image, as (pixels, channels)."""
    pixels = raster.pixels.reshape(-1, raster.channels)
    return pixels[:: -(-len(pixels) // count)].copy()


def find_range(values: np.ndarray, depth: Depth) -> Range:
    """The 0.1 and 99.9 percentiles of each channel of (pixels, channels)."""
    low, high = np.percentile(values, PERCENTILES, axis=0)
    high = np.where(high > low, high, low + 1)  # images of one value
    return Range(
        depth=depth, low=tuple(low.tolist()), high=tuple(high.tolist()), origin="percentiles"
    )
