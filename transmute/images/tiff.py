"""Reads TIFF files: of any depth, with any number of channels and pages."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from transmute.images.color import fits, is_srgb, not_applied
from transmute.images.limits import require_decodable
from transmute.images.messages import libtiff_collected
from transmute.images.pillow import to_raster, upright
from transmute.images.raster import CREDITS, ImageError, Pages, Raster, Tags
from transmute.images.scientific import to_known_type

_Opener = Callable[[], Image.Image]
COPIED = (*CREDITS, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""Tags that a translation takes over: camera, date, author, copyright, and georeference."""
_COLORS: dict[int, int] = {
    tifffile.PHOTOMETRIC.MINISWHITE: 1,
    tifffile.PHOTOMETRIC.MINISBLACK: 1,
    tifffile.PHOTOMETRIC.PALETTE: 1,
    tifffile.PHOTOMETRIC.RGB: 3,
    tifffile.PHOTOMETRIC.YCBCR: 3,
    tifffile.PHOTOMETRIC.CIELAB: 3,
    tifffile.PHOTOMETRIC.SEPARATED: 4,
}
"""Channels of the colors that Pillow reads, without alpha."""


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a TIFF file. Thumbnails and smaller levels of pyramids are not pages."""
    with tifffile.TiffFile(path) as file, ExitStack() as stack:
        series = [one for one in file.series if not one.keyframe.is_reduced] or file.series[:1]
        if file.is_svs:
            series = series[:1]  # the others are a label and an overview
        pages = [(one, page) for one in series for page in range(_num_pages(one))]

        @cache  # opened once, since Pillow goes through all earlier pages to find one
        def with_pillow() -> Image.Image:
            # From an open file: Pillow 13 maps a path into memory, and then rotates a wrong shape.
            raw = stack.enter_context(path.open("rb"))
            return stack.enter_context(Image.open(raw, formats=["TIFF"]))

        def read(page: int) -> Raster:
            one, index = pages[page]
            frame = one.keyframe
            size = frame.imagewidth, frame.imagelength
            values = one.size // max(1, _num_pages(one) * prod(size))
            require_decodable(str(path), size, max(1, values) * one.dtype.itemsize, max_pixels)
            raster = _read(one, index, path, with_pillow)
            return replace(raster, tags=_tags(frame, raster.tags.profile))

        yield Pages(len(pages), read)


def _num_pages(series: tifffile.TiffPageSeries) -> int:
    """Number of images in a series. Axes C and S are channels; all others but Y and X are pages."""
    lengths = zip(series.axes, series.shape, strict=True)
    return prod(length for axis, length in lengths if axis not in "YXCS")


def _read(series: tifffile.TiffPageSeries, index: int, path: Path, with_pillow: _Opener) -> Raster:
    """Reads one image, without most of its metadata."""
    if _pillow_is_exact(series):
        with (
            suppress(Image.UnidentifiedImageError),
            _read_by_pillow(series, index, with_pillow) as image,
        ):
            return to_raster(image, str(path))
    frame = series.keyframe
    orientation = _number(frame, 274, 1)
    try:
        array = _samples(series, index)
    except (ValueError, RuntimeError) as error:
        if "imagecodecs" not in str(error):
            raise
        array, orientation = _decompressed(series, index, path, with_pillow), 1
    if frame.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        array = _inverted(array, frame.bitspersample)
    return upright(_to_raster(array, frame, str(path)), orientation)


def _pillow_is_exact(series: tifffile.TiffPageSeries) -> bool:
    """Whether Pillow reads all channels of a page, with all bits."""
    frame = series.keyframe
    extra = tuple(frame.extrasamples)
    known = _COLORS.get(frame.photometric) == frame.samplesperpixel - len(extra)
    is_page = len(series.pages) == _num_pages(series) and "C" not in series.axes
    return (
        (known and is_page and extra in ((), (1,), (2,)))
        and (frame.sampleformat == 1 or frame.bitspersample == 1)
        and (isinstance(frame.bitspersample, int) and frame.bitspersample <= 8)
        and frame.imagedepth == 1
    )


@contextmanager
def _read_by_pillow(
    series: tifffile.TiffPageSeries, index: int, with_pillow: _Opener
) -> Iterator[Image.Image]:
    is_raw = series.keyframe.compression == tifffile.COMPRESSION.NONE
    with nullcontext() if is_raw else libtiff_collected():
        image = with_pillow()
        image.seek(_page(series, index).index)
        yield image


def _decompressed(
    series: tifffile.TiffPageSeries, index: int, path: Path, with_pillow: _Opener
) -> np.ndarray:
    """Decodes with Pillow, upright, what needs imagecodecs. Pillow does not know all depths.

    Raises:
        ImageError: If Pillow cannot decode it.
    """
    frame = series.keyframe
    is_page = len(series.pages) == _num_pages(series)
    if is_page and frame.samplesperpixel == 1 and frame.bitspersample in (16, 32):
        with suppress(OSError), _read_by_pillow(series, index, with_pillow) as image:
            return np.asarray(image).astype(series.dtype)[:, :, None]
    name = tifffile.COMPRESSION(frame.compression).name
    raise ImageError(
        f"{path} has {name} compression of {frame.bitspersample} bits and {frame.samplesperpixel} "
        "channels. To read it: pip install imagecodecs"
    )


def _page(series: tifffile.TiffPageSeries, index: int) -> Any:
    page = series.pages[index]
    return series.keyframe if page is None else page


def _samples(series: tifffile.TiffPageSeries, index: int) -> np.ndarray:
    """Decodes one image as (height, width, channels).

    A series is an array whose last axes are those of a page of the file. If several pages are the
    channels of an image, they are stacked. If one page is all of the array (ImageJ), it is decoded
    and cut.
    """
    page_axes = series.keyframe.axes
    outer = len(series.axes) - len(page_axes)
    if len(series.pages) != prod(series.shape[:outer]):
        array, axes = _whole(series), series.axes
    else:
        numbers = np.arange(len(series.pages)).reshape(series.shape[:outer])
        numbers = _one_image(numbers, series.axes[:outer], index)[0].reshape(-1)
        array = np.stack([_page(series, number).asarray() for number in numbers])
        axes = f"C{page_axes}"
        index = 0
    array, axes = _one_image(array, axes, index)
    array = array.transpose(
        [position for axis in "YXCS" for position, one in enumerate(axes) if one == axis]
    )
    return np.array(array.reshape(*array.shape[:2], -1))  # not mapped, so that the file is closed


def _whole(series: tifffile.TiffPageSeries) -> np.ndarray:
    """All images of a series, mapped into memory if they are not compressed."""
    if series.dataoffset is None:
        return series.asarray()
    file, kind = series.keyframe.parent, series.dtype.newbyteorder(series.keyframe.parent.byteorder)
    return file.filehandle.memmap_array(kind, series.shape, series.dataoffset)


def _one_image(array: np.ndarray, axes: str, index: int) -> tuple[np.ndarray, str]:
    """The part of an array that is image number `index`, and its axes: only Y, X, C and S."""
    others = [position for position, axis in enumerate(axes) if axis not in "YXCS"]
    rest = [position for position in range(array.ndim) if position not in others]
    images = array.transpose(others + rest)
    images = images.reshape(-1, *images.shape[len(others) :])
    return images[index], "".join(axes[position] for position in rest)


def _inverted(array: np.ndarray, bits: int) -> np.ndarray:
    """Values of which the lowest was white."""
    if array.dtype.kind == "f":
        return -array
    if array.dtype.kind == "b" or bits == 8 * array.dtype.itemsize:
        return ~array
    return 2**bits - 1 - array


def _to_raster(array: np.ndarray, frame: tifffile.TiffPage, name: str) -> Raster:
    """Separates alpha from (height, width, channels)."""
    values, depth, notes = to_known_type(array, name)
    alpha = None
    if frame.photometric == tifffile.PHOTOMETRIC.SEPARATED:
        notes += ("its channels are inks (CMYK), which are not converted to RGB",)
    extra = tuple(frame.extrasamples)
    index = next((i for i, sample in enumerate(extra) if sample in (1, 2)), None)
    if index is not None and array.shape[2] > len(extra):
        full = 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max)
        values, alpha = _split(values, index - len(extra), full, is_multiplied=extra[index] == 1)
    channels = values.shape[2]
    mode = f"{channels} x {array.dtype}" if channels > 1 else str(array.dtype)
    profile = bytes(tag.value) if (tag := frame.tags.get(34675)) else None
    if profile and not is_srgb(profile):
        notes += (not_applied(profile, depth),)
    profile = profile if profile and fits(profile, channels) else None
    return Raster(np.ascontiguousarray(values), alpha, depth, mode, Tags(profile=profile), notes)


def _split(
    values: np.ndarray, index: int, full: float, *, is_multiplied: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Separates the alpha channel.

    Args:
        values: (height, width, channels).
        index: The channel, counted from the end: -1 is the last.
        full: Its value where the image is opaque.
        is_multiplied: Whether colors are multiplied with alpha.
    """
    alpha, colors = values[:, :, index], np.delete(values, index % values.shape[2], axis=2)
    if is_multiplied:
        straight = colors * (full / np.where(alpha > 0, alpha, full))[:, :, None]
        is_integer = values.dtype != np.float32
        colors = (straight.round().clip(0, full) if is_integer else straight).astype(values.dtype)
    return colors, alpha / np.float32(full) if values.dtype == np.float32 else alpha.copy()


def _number(frame: Any, code: int, default: int) -> int:
    tag = frame.tags.get(code)
    return int(tag.value) if tag is not None else default


def _tags(frame: tifffile.TiffPage, profile: bytes | None) -> Tags:
    """Metadata of a page, with the color profile of its decoded pixels."""
    tags, dpi = frame.tags, None
    unit = {2: 1.0, 3: 2.54}.get(_number(frame, 296, 2))
    if unit and 282 in tags and 283 in tags:
        x, y = (tags[code].value[0] / max(1, tags[code].value[1]) * unit for code in (282, 283))
        dpi = (x, y) if x > 0 and y > 0 else None
    copied = tuple(
        (tag.code, int(tag.dtype), tag.count, tag.value) for tag in tags if tag.code in COPIED
    )
    return Tags(profile=profile, dpi=dpi, tiff=copied)
