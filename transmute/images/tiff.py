"""Reads TIFF files: of any depth, with any number of channels and pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from transmute.images.limits import require_decodable
from transmute.images.pillow import to_raster, upright
from transmute.images.raster import ImageError, Raster, Tags
from transmute.images.scientific import Opened, to_known_type

COPIED = (271, 272, 306, 315, 33432, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""Tags that a translation takes over: camera, date, author, copyright, and georeference."""


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Opened]:
    """Opens a TIFF file. Thumbnails and smaller levels of pyramids are not pages."""
    with tifffile.TiffFile(path) as file:
        series = [one for one in file.series if not one.keyframe.is_reduced] or file.series[:1]
        if file.is_svs:
            series = series[:1]  # the others are a label and an overview
        pages = [(one, page) for one in series for page in range(_num_pages(one))]

        def read(page: int) -> Raster:
            one, index = pages[page]
            frame = one.keyframe
            size = frame.imagewidth, frame.imagelength
            channels = max(1, one.size // max(1, _num_pages(one) * prod(size)))
            require_decodable(str(path), size, channels * one.dtype.itemsize, max_pixels)
            raster = _read(one, index, path)
            notes = raster.notes + (
                ("its samples are CMYK",) if frame.photometric == 5 and raster.channels > 3 else ()
            )
            return upright(
                replace(raster, tags=_tags(frame, raster), notes=notes), _number(frame, 274, 1)
            )

        yield len(pages), read


def _num_pages(series: tifffile.TiffPageSeries) -> int:
    """Number of images in a series. Axes C and S are channels; all others but Y and X are pages."""
    lengths = zip(series.axes, series.shape, strict=True)
    return prod(length for axis, length in lengths if axis not in "YXCS")


def _read(series: tifffile.TiffPageSeries, index: int, path: Path) -> Raster:
    frame = series.keyframe
    try:
        if _pillow_is_exact(frame):
            return _with_pillow(series, index, path)
        return _deep(series, index, path)
    except (ValueError, RuntimeError) as error:
        if "imagecodecs" not in str(error):
            raise
    # A compression that tifffile cannot decode alone. Pillow has libtiff, but not all depths.
    if frame.samplesperpixel == 1 and frame.bitspersample in (16, 32):
        return _with_pillow(series, index, path)
    raise ImageError(
        f"{path} is compressed with {tifffile.COMPRESSION(frame.compression).name}. To read it: "
        "pip install imagecodecs"
    )


def _pillow_is_exact(frame: Any) -> bool:
    """Whether Pillow reads all channels of a page, with all bits."""
    samples, extra = frame.samplesperpixel, tuple(frame.extrasamples)
    photometric = tifffile.PHOTOMETRIC(frame.photometric).name
    colors = {
        "MINISWHITE": 1,
        "MINISBLACK": 1,
        "PALETTE": 1,
        "RGB": 3,
        "YCBCR": 3,
        "CIELAB": 3,
        "SEPARATED": 4,
    }
    known = colors.get(photometric) == samples - len(extra) and extra in ((), (1,), (2,))
    unsigned = frame.sampleformat == 1 or frame.bitspersample == 1
    return known and unsigned and frame.bitspersample <= 8 and len(frame.axes.replace("S", "")) == 2


def _with_pillow(series: tifffile.TiffPageSeries, index: int, path: Path) -> Raster:
    with Image.open(path, formats=["TIFF"]) as image:
        image.seek(_page(series, index).index)
        raster = to_raster(image, str(path))
        return replace(raster, tags=Tags(profile=raster.tags.profile))


def _page(series: tifffile.TiffPageSeries, index: int) -> Any:
    page = series.pages[index]
    return series.keyframe if page is None else page


def _deep(series: tifffile.TiffPageSeries, index: int, path: Path) -> Raster:
    """Reads a page with tifffile."""
    frame = series.keyframe
    if "C" in series.axes or len(series.pages) != _num_pages(series):
        array, axes = _of_stack(series, index)
    else:
        array, axes = _page(series, index).asarray(), frame.axes
    array = array.reshape([n for n, axis in zip(array.shape, axes, strict=True) if axis in "YXSC"])
    axes = "".join(axis for axis in axes if axis in "YXSC")
    order = [axes.index(axis) for axis in "YXCS" if axis in axes]
    array = array.transpose(order)
    array = array.reshape(*array.shape[:2], -1)
    if frame.photometric == 0:  # WhiteIsZero
        unsigned = array.dtype.kind in "ub"
        array = (2**frame.bitspersample - 1 - array).astype(array.dtype) if unsigned else -array
    values, depth = to_known_type(array, str(path))
    extra, alpha = tuple(frame.extrasamples), None
    if extra in ((1,), (2,)) and values.shape[2] in (2, 4):
        values, alpha = values[:, :, :-1], values[:, :, -1]
        if extra == (1,):  # colors are multiplied with alpha
            full = 1 if depth == "float32" else 65535
            straight = values * (full / np.maximum(alpha, full / 65535)[:, :, None].astype(float))
            values = (straight.round().clip(0, 65535) if full > 1 else straight).astype(
                values.dtype
            )
    channels = values.shape[2]
    mode = f"{channels} x {array.dtype}" if channels > 1 else str(array.dtype)
    return Raster(np.ascontiguousarray(values), alpha, depth, mode)


def _of_stack(series: tifffile.TiffPageSeries, index: int) -> tuple[np.ndarray, str]:
    """One image of a series in which several pages of the file form an image."""
    array = series.asarray()
    others = [place for place, axis in enumerate(series.axes) if axis not in "YXCS"]
    rest = [place for place in range(array.ndim) if place not in others]
    array = array.transpose(others + rest)
    array = array.reshape(-1, *array.shape[len(others) :])
    return array[index], "".join(series.axes[place] for place in rest)


def _number(frame: Any, code: int, default: int) -> int:
    tag = frame.tags.get(code)
    return int(tag.value) if tag is not None else default


def _tags(frame: Any, raster: Raster) -> Tags:
    tags = frame.tags
    profile = raster.tags.profile if raster.depth == "uint8" else None
    if profile is None and 34675 in tags and raster.depth != "uint8":
        profile = bytes(tags[34675].value)
    dpi = None
    if 282 in tags and 283 in tags and _number(frame, 296, 2) in (2, 3):
        unit = 2.54 if _number(frame, 296, 2) == 3 else 1.0
        x, y = (tags[code].value[0] / max(1, tags[code].value[1]) * unit for code in (282, 283))
        dpi = (x, y)
    copied = tuple(
        (tag.code, int(tag.dtype), tag.count, tag.value) for tag in tags if tag.code in COPIED
    )
    return Tags(profile=profile, dpi=dpi, tiff=copied)
