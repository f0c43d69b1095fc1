"""Reads 16 bits per channel of color images, of which Pillow reads 8: PNG, PPM and JPEG 2000."""

import importlib
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile


def read_deep(image: ImageFile.ImageFile, path: Path) -> tuple[np.ndarray | None, str | None]:
    """Reads a color image of more than 8 bits per channel.

    Args:
        image: The opened file, before it is decoded.
        path: The file.

    Returns:
        (height, width, channels) of uint16, and a sentence if only 8 bits can be read. None and
        None for other images.
    """
    if image.format == "PNG":
        arrangement = str(image.tile[0].args) if image.tile else ""
        if arrangement not in ("LA;16B", "RGB;16B", "RGBA;16B"):
            return None, None
        if getattr(image, "is_animated", False):
            return None, "its frames have 16 bits per channel, which are read as 8"
        return _png(path, arrangement), None
    if image.format == "PPM":
        return _ppm(image, path), None
    if image.format == "JPEG2000":
        return _jpeg_2000(image, path)
    if image.format == "AVIF":
        header = path.read_bytes()[:65536].partition(b"av1C")[2]
        if len(header) > 2 and header[2] & 0x40:
            return None, "its 10 or 12 bits per channel are read as 8. Convert it to 16-bit PNG"
    return None, None


def _png(path: Path, arrangement: str) -> np.ndarray:
    """Samples of a 16-bit PNG file, for which Pillow has a name by the order of their bytes."""
    if arrangement == "LA;16B":  # the four bytes of a pixel are read as those of 8-bit RGBA
        data = bytearray(path.read_bytes())
        data[24:26] = 8, 6  # bits and color type
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        with Image.open(io.BytesIO(data), formats=["PNG"]) as four_bytes:
            pairs = np.asarray(four_bytes).astype(np.uint16)
        return pairs[:, :, 0::2] << 8 | pairs[:, :, 1::2]
    high, low = (
        _decoded_as(path, arrangement.replace("16B", order)).astype(np.uint16)
        for order in ("16B", "16L")  # the second byte of a value is the high one for "16L"
    )
    return high << 8 | low


def _decoded_as(path: Path, arrangement: str) -> np.ndarray:
    with Image.open(path, formats=["PNG"]) as image:
        image.tile = [tile._replace(args=arrangement) for tile in image.tile]
        return np.asarray(image)


def _ppm(image: ImageFile.ImageFile, path: Path) -> np.ndarray | None:
    """Samples of a color PPM file, scaled from 0 to its maximum to 16 bits, as Pillow does gray."""
    tile = image.tile[0]
    maximum = tile.args[1] if isinstance(tile.args, tuple) else 255
    if image.mode != "RGB" or not isinstance(maximum, int) or maximum <= 255:
        return None
    data, count = path.read_bytes()[tile.offset :], 3 * image.width * image.height
    if tile.codec_name == "ppm_plain":
        values = np.array(re.sub(rb"#[^\n\r]*", b" ", data).split()[:count], np.int64)
    else:
        values = np.frombuffer(data, ">u2", count)
    scaled = (values * (65535 / maximum)).round().clip(0, 65535)
    return scaled.astype(np.uint16).reshape(image.height, image.width, 3)


def _jpeg_2000(image: ImageFile.ImageFile, path: Path) -> tuple[np.ndarray | None, str | None]:
    """Samples of a color JPEG 2000 file, shifted to 16 bits, as Pillow does gray."""
    data = path.read_bytes()
    header = data.partition(b"\xff\x4f\xff\x51")[2]  # codestream, image and tile size
    bits = (header[38] & 0x7F) + 1 if len(header) > 38 else 8
    if bits <= 8 or len(image.getbands()) == 1:
        return None, None
    try:
        decode = importlib.import_module("imagecodecs").jpeg2k_decode
    except ImportError:
        return (
            None,
            f"its {bits} bits per channel are read as 8. To read all: pip install imagecodecs",
        )
    array = decode(data)
    return (array << (16 - bits) if array.dtype == np.uint16 else None), None
