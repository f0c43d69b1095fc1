"""Reads arrays: .npy, .npz, DICOM and JPEG XL."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from transmute.images.limits import require_decodable
from transmute.images.raster import Depth, ImageError, Pages, Raster


def require_package(name: str, path: Path, what: str) -> Any:
    """Imports an optional package that reads a format.

    Raises:
        ImageError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImageError(f"{path} is {what}. To read it: pip install {name}") from None


def from_array(array: np.ndarray, name: str, *, has_alpha: bool = False) -> Raster:
    """Converts an array (height, width) or (height, width, channels).

    Args:
        array: The array.
        name: Subject of error messages.
        has_alpha: The last of 2 or 4 channels of uint8 is alpha.

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
    pixels, depth, notes = to_known_type(array, name)
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    channels = pixels.shape[2]
    mode = str(array.dtype) if channels == 1 else f"{channels} x {array.dtype}"
    if has_alpha and depth == "uint8" and channels in (2, 4):
        mode = "LA" if channels == 2 else "RGBA"
        return Raster(pixels[:, :, :-1], pixels[:, :, -1], mode=mode)
    return Raster(np.ascontiguousarray(pixels), depth=depth, mode=mode, notes=notes)


def to_known_type(array: np.ndarray, name: str) -> tuple[np.ndarray, Depth, tuple[str, ...]]:
    """Converts values to uint8, uint16 or float32 without loss, as far as float32 allows.

    Returns:
        The array, the type that holds its values, and a sentence if integers were rounded.

    Raises:
        ImageError: If values are not real, finite numbers.
    """
    kind = array.dtype
    if kind == np.bool_:
        return array.astype(np.uint8) * 255, "uint8", ()
    if kind in (np.uint8, np.uint16):
        native = array.astype(kind.newbyteorder("="))
        return native, "uint8" if kind == np.uint8 else "uint16", ()
    if kind.kind not in "iuf":
        raise ImageError(f"{name} contains values of type {kind}, not real numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(
            f"{name} contains {count:,} values that are not finite. Replace them, for example "
            "with a reader (`data.reader`)"
        )
    if kind in (np.int8, np.int16):
        return values, "int16", ()
    rounded = 0 if kind.kind == "f" else int((values.astype(np.float64) != array).sum())
    note = f"{rounded:,} of its integers are rounded to the 24 bits of float32"
    return values, "float32", (note,) if rounded else ()


@contextmanager
def opened_npy(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a .npy file."""
    with path.open("rb") as file:
        _check_header(file, path, max_pixels)

        def read(page: int) -> Raster:
            file.seek(0)
            return from_array(np.load(file, allow_pickle=False), str(path))

        yield Pages(1, read)


@contextmanager
def opened_npz(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a .npz file, whose arrays are pages."""
    # numpy does not close a damaged file that it has opened itself.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:

        def read(page: int) -> Raster:
            name = archive.files[page]
            with archive.zip.open(f"{name}.npy") as member:
                _check_header(member, path, max_pixels)
            return from_array(archive[name], str(path))

        yield Pages(len(archive.files), read)


def _check_header(file: IO[bytes], path: Path, max_pixels: int) -> None:
    """Checks the size of an array in the .npy format."""
    formats = np.lib.format
    is_first = formats.read_magic(file) == (1, 0)
    header = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
    shape, _, kind = header(file)
    if len(shape) > 1:  # others are refused by `from_array`
        value_bytes = kind.itemsize * prod(shape[2:])
        require_decodable(str(path), (shape[1], shape[0]), value_bytes, max_pixels)


@contextmanager
def opened_dicom(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a DICOM file. Values are multiplied by the rescale slope, plus the intercept."""
    pydicom = require_package("pydicom", path, "a DICOM file")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    size = int(header.get("Columns", 0)), int(header.get("Rows", 0))
    samples = int(header.get("SamplesPerPixel", 1))
    require_decodable(str(path), size, 4 * samples, max_pixels)
    decoder = importlib.import_module("pydicom.pixels")
    slope = float(header.get("RescaleSlope", 1))
    intercept = float(header.get("RescaleIntercept", 0))
    bits, signed = int(header.get("BitsStored", 16)), int(header.get("PixelRepresentation", 0))
    stored = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    possible = stored * slope + intercept
    # By the header, so that all slices of a series have one type.
    fits = slope.is_integer() and intercept.is_integer() and np.abs(possible + 0.5).max() < 2**15

    def read(page: int) -> Raster:
        array = decoder.pixel_array(path, index=page)
        if header.get("PhotometricInterpretation") == "PALETTE COLOR":
            array = decoder.apply_color_lut(array, header)
        if header.get("PhotometricInterpretation") == "MONOCHROME1":  # white is the lowest value
            array = stored.sum() - array
        if samples == 1 and (slope, intercept) != (1, 0):
            array = (array * np.float64(slope) + intercept).astype(np.int16 if fits else float)
        return from_array(array, str(path))

    yield Pages(int(header.get("NumberOfFrames", 1) or 1), read)


@contextmanager
def opened_jpeg_xl(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a JPEG XL file."""
    imagecodecs = require_package("imagecodecs", path, "a JPEG XL file")
    data = path.read_bytes()
    require_decodable(str(path), _jpeg_xl_size(data), 4, max_pixels)

    def read(page: int) -> Raster:
        array = imagecodecs.jpegxl_decode(data)
        alpha = None
        if array.ndim == 3 and array.shape[2] in (2, 4):
            array, alpha = array[:, :, :-1], array[:, :, -1]
        return replace(from_array(array, str(path)), alpha=alpha)

    yield Pages(1, read)


def _jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL file (ISO/IEC 18181-1, SizeHeader)."""
    start = 2 if data[:2] == b"\xff\n" else data.index(b"\xff\n", data.index(b"jxl", 12)) + 2
    bits = int.from_bytes(data[start : start + 10], "little")

    def take(count: int) -> int:
        nonlocal bits
        bits, value = bits >> count, bits & (2**count - 1)
        return value

    is_small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    height, ratio = side(), take(3)
    if ratio == 0:
        return side(), height
    wide, high = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * wide // high, height
