"""Decoded images of any depth and number of channels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from transmute.errors import RankError

Depth = Literal["uint8", "uint16", "int16", "float32"]
"""Type of the values in a file. Other types are read as the one that holds them: bool and int8
as uint8 and int16, all others as float32."""
CREDITS = (271, 272, 306, 315, 33432)
"""Tags of TIFF and EXIF: make and model of the camera, date, artist and copyright."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in Pillow


class ImageError(RankError):
    """An image that cannot be used, and why."""


@dataclass(frozen=True)
class Tags:
    """Metadata that a translation takes over from its input.

    Attributes:
        exif: EXIF, without the orientation.
        profile: ICC profile of the pixels. None means sRGB or unknown.
        dpi: Resolution, horizontal and vertical, in pixels per inch.
        tiff: TIFF tags to copy, as (code, type, count, value): camera, author, georeference.
        duration: Milliseconds that a frame of an animation is shown.
        loop: How often an animation is repeated; 0 is forever.
        is_lossless: The file is a WebP file of lossless compression.
    """

    exif: bytes | None = None
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    tiff: tuple[tuple[int, int, int, Any], ...] = ()
    duration: float | None = None
    loop: int | None = None
    is_lossless: bool = False


@dataclass(frozen=True, eq=False)
class Raster:
    """An image, or one page of a file, upright.

    Attributes:
        pixels: (height, width, channels) of uint8, uint16 or float32. Colors are not multiplied
            with alpha. They are sRGB, unless `tags.profile` says otherwise.
        alpha: (height, width) of the same type, or None if the image has no alpha channel.
        depth: Type of the values in the file: int16 has pixels of float32.
        mode: How the file stores colors: Pillow's mode (RGB, L, CMYK, I;16, ...), or type and
            number of channels (6 x uint16).
        tags: Metadata.
        notes: What was not applied or read, as sentences without the file's name.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    depth: Depth = "uint8"
    mode: str = ""
    tags: Tags = Tags()
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def channels(self) -> int:
        """Number of channels, without alpha."""
        return self.pixels.shape[2]

    @property
    def is_transparent(self) -> bool:
        """Whether any pixel is partly transparent."""
        return self.alpha is not None and bool((self.alpha < opaque(self.alpha.dtype)).any())

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> "Raster":
        """Applies a function of (height, width, channels) to the pixels and to alpha."""
        alpha = None if self.alpha is None else change(self.alpha[:, :, None])[:, :, 0]
        return replace(self, pixels=change(self.pixels), alpha=alpha)

    def resized(self, size: tuple[int, int]) -> "Raster":
        """Resizes to (width, height) with Pillow's bicubic filter, which is antialiased."""
        if size == self.size:
            return self
        return self._without_georeference().mapped(lambda array: _resized(array, size))

    def cropped(self, left: int, top: int, width: int, height: int) -> "Raster":
        """Crops to a rectangle in pixels."""
        part = np.s_[top : top + height, left : left + width]
        return self._without_georeference().mapped(lambda array: array[part])

    def _without_georeference(self) -> "Raster":
        """The same, without the TIFF tags that would be wrong for other pixels."""
        if not self.tags.tiff:
            return self
        kept = tuple(tag for tag in self.tags.tiff if tag[0] in CREDITS)
        return replace(self, tags=replace(self.tags, tiff=kept))

    def mirrored(self) -> "Raster":
        """Mirrors left to right."""
        return self.mapped(lambda array: array[:, ::-1])

    def half(self, half: str | None) -> "Raster":
        """Crops one of two images side by side.

        The middle column of an odd width belongs to neither half.

        Args:
            half: "left", "right", or None for the whole.
        """
        width = self.width // 2
        if half is None or width == 0:
            return self
        return self.cropped(0 if half == "left" else self.width - width, 0, width, self.height)

    def flattened(self, background: str) -> "Raster":
        """Puts the image on a color and drops the alpha channel.

        Args:
            background: Name of the color, or #rrggbb.

        Raises:
            ImageError: If the image has values other than 8 or 16 bits, which are not colors.
        """
        if self.alpha is None:
            return self
        if self.pixels.dtype == np.float32:
            raise ImageError(
                f"transparent images of {self.depth} values cannot be put on {background}. Remove "
                "`preprocess.background`"
            )
        color = np.array(ImageColor.getrgb(background)[:3], np.float64)
        color = color if self.channels == 3 else np.full(self.channels, color @ _LUMA)
        full = opaque(self.alpha.dtype)
        alpha = self.alpha[:, :, None] / full
        pixels = (self.pixels * alpha + color / 255 * full * (1 - alpha)).round()
        return replace(self, pixels=pixels.astype(self.pixels.dtype), alpha=None)

    def with_channels(self, channels: int, name: str = "the image") -> "Raster":
        """Converts to a number of channels.

        Gray is repeated in all channels, RGB becomes gray, and alpha can be the last channel.

        Args:
            channels: Number of channels, without alpha.
            name: Subject of the error message.

        Raises:
            ImageError: If the image has another number of channels.
        """
        pixels = self.pixels
        if self.channels == channels:
            return self
        if self.alpha is not None and self.channels + 1 == channels == 4:
            return replace(self, pixels=np.dstack([pixels, self.alpha]), alpha=None)
        if self.channels == 1 and channels == 3:
            return replace(self, pixels=pixels.repeat(3, axis=2))
        if (self.channels, channels) != (3, 1):
            raise ImageError(
                f"{name} has {self.channels} channels, but {channels} are expected. Convert or "
                "remove it"
            )
        if self.depth == "uint8":
            return replace(self, pixels=np.asarray(Image.fromarray(pixels).convert("L"))[..., None])
        gray = (pixels @ _LUMA)[:, :, None]
        gray = gray.round() if self.depth != "float32" else gray
        return replace(self, pixels=gray.astype(pixels.dtype))


class Pages(NamedTuple):
    """An open file: the number of its pages or frames, and a function that decodes one, from 0."""

    number: int
    read: Callable[[int], Raster]


def opaque(dtype: np.dtype) -> int:
    """Value of alpha where an image is opaque: 255, 65535 or 1."""
    return 1 if dtype == np.float32 else int(np.iinfo(dtype).max)


def alpha_as(alpha: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts an alpha channel to uint8, uint16 or float32."""
    if alpha.dtype == dtype:
        return alpha
    scaled = alpha.astype(np.float32) * (opaque(dtype) / opaque(alpha.dtype))
    return (scaled if dtype == np.float32 else scaled.round()).astype(dtype)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (height, width, channels) of any type."""
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    kind = np.uint8 if pixels.dtype == np.uint8 else np.float32
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels[:, :, channel], kind)).resize(
                size, Image.Resampling.BICUBIC
            )
        )
        for channel in range(pixels.shape[2])
    ]
    result = np.stack(planes, axis=2)
    if pixels.dtype == np.uint16:
        result = result.round().clip(0, 65535)
    return result.astype(pixels.dtype)
