"""Image files and color profiles for tests of reading and writing."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from transmute.images.decode import open_pages
from transmute.images.raster import Raster

RED, HALF_RED = (255, 0, 0), (255, 0, 0, 128)


def noise(channels: int = 3, kind: str = "uint8", height: int = 6, width: int = 10) -> np.ndarray:
    """Random values as (height, width, channels), or (height, width) for one channel."""
    top = np.iinfo(kind).max if kind != "float32" else 1
    values = np.random.default_rng(0).random((height, width, channels)) * top
    return values.astype(kind)[:, :, 0] if channels == 1 else values.astype(kind)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def read_pages(path: Path) -> list[Raster]:
    with open_pages(path) as pages:
        return [pages.read(page) for page in range(pages.number)]


def curve_profile(space: bytes, gamma: float = 1.0) -> bytes:
    """An ICC profile (version 2) of the primaries of sRGB, or of gray, with a gamma curve.

    Its description contains "sRGB", although its curve differs.

    Args:
        space: b"RGB " or b"GRAY".
        gamma: Exponent of the curve.
    """

    def numbers(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    text = b"Linear sRGB\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    tags = {b"desc": description, b"wtpt": b"XYZ \0\0\0\0" + numbers(*white)}
    if space == b"RGB ":
        primaries = {
            b"r": (0.4360747, 0.2225045, 0.0139322),
            b"g": (0.3850649, 0.7168786, 0.0971045),
            b"b": (0.1430804, 0.0606169, 0.7141733),
        }
        for name, color in primaries.items():
            tags |= {name + b"XYZ": b"XYZ \0\0\0\0" + numbers(*color), name + b"TRC": curve}
    else:
        tags[b"kTRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        offset = 132 + 12 * len(tags) + len(body)
        table += name + struct.pack(">II", offset, len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I", 128 + len(table) + len(body)) + b"\0\0\0\0\x02\x10\0\0mntr" + space
    head += b"XYZ " + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return (head + numbers(*white)).ljust(128, b"\0") + table + body


def tiff_of(pixels: np.ndarray, *, photometric: int = 1, sample_format: int = 1) -> bytes:
    """A gray TIFF file of one strip, made without a library.

    Args:
        pixels: (height, width), little-endian.
        photometric: 0 is WhiteIsZero, 1 is BlackIsZero.
        sample_format: 1 is unsigned, 2 is signed, 3 is float.
    """
    height, width = pixels.shape
    entries = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, 8 * pixels.itemsize),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 10 + 12 * 10 + 4),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, pixels.nbytes),
        (339, 3, sample_format),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, value in entries:
        head += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return head + bytes(4) + pixels.tobytes()
