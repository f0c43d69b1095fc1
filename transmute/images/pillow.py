"""Reads the formats of Pillow: JPEG, PNG, WebP, GIF, AVIF, JPEG 2000, BMP, PNM and TGA."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from transmute.images.color import SRGB, is_srgb, profile_name, to_srgb
from transmute.images.limits import require_decodable
from transmute.images.raster import Depth, Raster, Tags
from transmute.images.scientific import Opened, to_known_type

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""Pillow's formats that are opened. Others run programs (EPS) or are no photos and textures."""
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_ORIENTATION = 0x0112

# `max_pixels` is the limit, which is checked before pixels are decoded.
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Opened]:
    """Opens a file of one of the formats. TGA files have no signature, so the extension decides."""
    formats = (*FORMATS, "TGA") if path.suffix.lower() == ".tga" else FORMATS
    with _open_any(path, formats) as image:
        size, frames = image.size, getattr(image, "n_frames", 1)
        require_decodable(str(path), size, 2 * len(image.getbands()), max_pixels)

        def read(page: int) -> Raster:
            if image.tell() != page:
                image.seek(page)
            return to_raster(image, str(path), partial(_open_any, path, formats))

        yield frames if image.format in _ANIMATED else 1, read


def _open_any(path: Path, formats: tuple[str, ...]) -> Image.Image:
    """Opens a file. Pillow refuses PNG files with long texts, which are left out then."""
    try:
        return Image.open(path, formats=formats)
    except ValueError as error:
        if "MAX_TEXT" not in str(error) and "too large" not in str(error):
            raise
        return Image.open(io.BytesIO(_without_texts(path.read_bytes())), formats=formats)


def _without_texts(png: bytes) -> bytes:
    """A PNG file without its text chunks."""
    kept, position = [png[:8]], 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        chunk = png[position : position + length + 12]
        kept += [] if chunk[4:8] in (b"tEXt", b"zTXt", b"iTXt") else [chunk]
        position += len(chunk)
    return b"".join(kept)


def to_raster(image: Image.Image, name: str, reopen: Any = None) -> Raster:
    """Converts an image opened with Pillow.

    Args:
        image: The image. It stays open.
        name: Subject of error messages.
        reopen: Opens the image again, to read it with other settings.
    """
    require_decodable(name, image.size, len(image.getbands()), 2**62)
    raw_mode = _raw_mode(image)
    if raw_mode in ("RGB;16B", "RGBA;16B", "LA;16B") and reopen is not None:
        pixels, alpha, depth = *_sixteen_bits(raw_mode, reopen), "uint16"
    elif image.mode == "F" or image.mode.startswith("I"):
        pixels, alpha, depth = _one_channel(image, name)
    else:
        pixels, alpha, depth = None, None, "uint8"
    image.load()
    mode, notes = image.mode, []
    profile = image.info.get("icc_profile")
    if pixels is None:
        color, alpha = _color_and_alpha(image)
        color, note = to_srgb(color, profile)
        pixels, notes = np.atleast_3d(np.asarray(color)), [note]
        if profile and not is_srgb(profile):
            profile = profile if note else SRGB.tobytes()
    elif profile and not is_srgb(profile):
        notes = [f"its color profile {profile_name(profile)} is kept, but not followed (16 bits)"]
    exif = _exif(image)
    raster = Raster(
        pixels,
        alpha,
        depth,
        mode if depth != "uint16" or mode.startswith("I") else f"{mode};16",
        Tags(
            exif[1],
            profile,
            image.info.get("dpi"),
            duration=image.info.get("duration"),
            loop=image.info.get("loop"),
        ),
        tuple(note for note in notes if note),
    )
    return upright(raster, exif[0])


def _raw_mode(image: Image.Image) -> str:
    """How the bytes of a PNG file that is not decoded yet are arranged, as Pillow names it."""
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    return str(tiles[0].args) if tiles and image.tell() == 0 else ""


def _one_channel(image: Image.Image, name: str) -> tuple[np.ndarray, np.ndarray | None, Depth]:
    """Pixels of mode F, I or I;16 with their alpha."""
    values = np.asarray(image)
    # Pillow uses mode I also for 16 bits.
    if image.mode == "I" and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)
    pixels, depth = to_known_type(values, name)
    transparent = image.info.get("transparency")
    alpha = None
    if isinstance(transparent, int) and depth == "uint16":
        alpha = np.where(pixels == transparent, 0, 65535).astype(np.uint16)
    return pixels[:, :, None], alpha, depth


def _sixteen_bits(mode: str, reopen: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Color and alpha of a 16-bit PNG file.

    Pillow decodes these files to 8 bits. The high and the low bytes are decoded one after the
    other: "16L" takes the second byte of each value.
    """
    if mode == "LA;16B":  # as if the four bytes of a pixel were RGBA
        bytes_ = _decoded(reopen, "RGBA")
        values = bytes_[:, :, 0::2].astype(np.uint16) << 8 | bytes_[:, :, 1::2]
    else:
        high, low = _decoded(reopen, mode), _decoded(reopen, mode.replace("16B", "16L"))
        values = high.astype(np.uint16) << 8 | low
    if values.shape[2] == 3:
        return values, None
    return np.ascontiguousarray(values[:, :, :-1]), np.ascontiguousarray(values[:, :, -1])


def _decoded(reopen: Any, raw_mode: str) -> np.ndarray:
    with reopen() as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.array(image)


def _color_and_alpha(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """An image of mode L, RGB or CMYK, without the alpha channel, and that channel."""
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.profileToProfile(image, lab, SRGB, outputMode="RGB") or image, None
    gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        return (
            image if image.mode in ("L", "CMYK") else image.convert("L" if gray else "RGB")
        ), None
    with_alpha = image.convert("LA" if gray else "RGBA")
    *bands, alpha = with_alpha.split()
    return (bands[0] if gray else Image.merge("RGB", bands)), np.asarray(alpha)


def _exif(image: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, 1 to 8, and the EXIF data without it."""
    try:
        exif = image.getexif()
        orientation = exif.pop(_ORIENTATION, 1)
        data = exif.tobytes() if exif and image.format != "TIFF" else None
    except Exception:  # damaged data, on which Pillow raises almost anything
        return 1, None
    return orientation if orientation in range(1, 9) else 1, data


def upright(raster: Raster, orientation: int) -> Raster:
    """Rotates and mirrors an image.

    Args:
        raster: The image.
        orientation: From EXIF or TIFF, 1 to 8.
    """
    turn = {
        2: lambda array: array[:, ::-1],
        3: lambda array: array[::-1, ::-1],
        4: lambda array: array[::-1],
        5: lambda array: array.swapaxes(0, 1),
        6: lambda array: np.rot90(array, -1),
        7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
        8: lambda array: np.rot90(array),
    }.get(orientation)
    if turn is None:
        return raster
    alpha = None if raster.alpha is None else np.ascontiguousarray(turn(raster.alpha))
    return replace(raster, pixels=np.ascontiguousarray(turn(raster.pixels)), alpha=alpha)
