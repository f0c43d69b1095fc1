"""Reads arrays: .npy, .npz, DICOM and JPEG XL."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from transmute.images.limits import require_decodable
from transmute.images.raster import Depth, ImageError, Raster

Opened = tuple[int, Any]
"""Number of pages, and the function that reads one."""


def require_package(name: str, path: Path, what: str) -> Any:
    """Imports an optional package that reads a format.

    Raises:
        ImageError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImageError(f"{path} is {what}. To read it: pip install {name}") from None


def from_array(array: np.ndarray, name: str) -> Raster:
    """Converts an array (height, width) or (height, width, channels), without alpha.

    Raises:
        ImageError: If the shape is another, or values are not real, finite numbers.
    """
    shape = array.shape
    if array.ndim not in (2, 3) or not array.size:
        raise ImageError(
            f"{name} should be (height, width) or (height, width, channels), but is {shape} of "
            f"{array.dtype}"
        )
    if array.ndim == 3 and shape[0] <= 16 < min(shape[1:]):
        raise ImageError(
            f"{name} should be (height, width, channels), but {shape} looks like (channels, "
            "height, width). Move the first axis to the end"
        )
    pixels, depth = to_known_type(array, name)
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    channels = pixels.shape[2]
    mode = str(array.dtype) if channels == 1 else f"{channels} x {array.dtype}"
    return Raster(np.ascontiguousarray(pixels), depth=depth, mode=mode)


def to_known_type(array: np.ndarray, name: str) -> tuple[np.ndarray, Depth]:
    """Converts values to uint8, uint16 or float32 without loss, as far as float32 allows.

    Returns:
        The array, and the type that holds its values.

    Raises:
        ImageError: If values are not real, finite numbers.
    """
    kind = array.dtype
    if kind == np.bool_:
        return array.astype(np.uint8) * 255, "uint8"
    if kind in (np.uint8, np.uint16):
        native = array.astype(kind.newbyteorder("="))
        return native, "uint8" if kind == np.uint8 else "uint16"
    if kind.kind not in "iuf":
        raise ImageError(f"{name} contains values of type {kind}, not real numbers")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(
            f"{name} contains {count:,} values that are not finite. Replace them, for example "
            "with a reader (`data.reader`)"
        )
    return values, "int16" if kind in (np.int8, np.int16) else "float32"


@contextmanager
def opened_numpy(path: Path, max_pixels: int) -> Iterator[Opened]:
    """Opens a .npy file, or a .npz file whose arrays are pages."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    arrays = [mapped] if isinstance(mapped, np.ndarray) else [mapped[name] for name in mapped.files]

    def read(page: int) -> Raster:
        array = arrays[page]
        if array.ndim in (2, 3) and array.size:
            values = array.itemsize * array.size // (array.shape[0] * array.shape[1])
            require_decodable(str(path), array.shape[1::-1], values, max_pixels)
        return from_array(array, str(path))

    yield len(arrays), read


@contextmanager
def opened_dicom(path: Path, max_pixels: int) -> Iterator[Opened]:
    """Opens a DICOM file. Values are multiplied by the rescale slope, plus the intercept."""
    pydicom = require_package("pydicom", path, "a DICOM file")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    size = int(header.get("Columns", 0)), int(header.get("Rows", 0))
    samples = int(header.get("SamplesPerPixel", 1))
    require_decodable(str(path), size, 4 * samples, max_pixels)
    pixel_array = importlib.import_module("pydicom.pixels").pixel_array
    slope = float(header.get("RescaleSlope", 1))
    intercept = float(header.get("RescaleIntercept", 0))

    def read(page: int) -> Raster:
        array = pixel_array(path, index=page)
        if header.get("PhotometricInterpretation") == "MONOCHROME1":  # white is the lowest value
            signed = int(header.get("PixelRepresentation", 0))
            array = (-1 if signed else 2 ** int(header.BitsStored) - 1) - array
        if samples == 1 and (slope, intercept) != (1, 0):
            array = array * np.float64(slope) + intercept
            whole = slope.is_integer() and intercept.is_integer()
            if whole and array.min() >= -32768 and array.max() <= 32767:
                array = array.astype(np.int16)
        return from_array(array, str(path))

    yield int(header.get("NumberOfFrames", 1) or 1), read


@contextmanager
def opened_jpeg_xl(path: Path, max_pixels: int) -> Iterator[Opened]:
    """Opens a JPEG XL file."""
    imagecodecs = require_package("imagecodecs", path, "a JPEG XL file")

    def read(page: int) -> Raster:
        array = imagecodecs.jpegxl_decode(path.read_bytes())
        alpha = None
        if array.ndim == 3 and array.shape[2] in (2, 4):
            array, alpha = array[:, :, :-1], array[:, :, -1]
        raster = from_array(array, str(path))
        return Raster(raster.pixels, alpha, raster.depth, raster.mode)

    yield 1, read
