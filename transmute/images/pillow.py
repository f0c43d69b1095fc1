"""Reads the formats of Pillow: JPEG, PNG, WebP, GIF, AVIF, JPEG 2000, BMP, PNM and TGA."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from transmute.images.color import SRGB, fits, is_srgb, not_applied, to_srgb
from transmute.images.deep import read_deep
from transmute.images.limits import require_decodable
from transmute.images.raster import CREDITS, Depth, Pages, Raster, Tags
from transmute.images.scientific import to_known_type

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""Pillow's formats that are opened. Others run programs (EPS) or are no photos and textures."""
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_ORIENTATION = 0x0112

# `max_pixels` is the limit, which is checked before pixels are decoded. Texts are not used.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 2**28, 2**30


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Pages]:
    """Opens a file of one of the formats. TGA files have no signature, so the extension decides."""
    formats = (*FORMATS, "TGA") if path.suffix.lower() == ".tga" else FORMATS
    with Image.open(path, formats=formats) as image:
        frames, kind = getattr(image, "n_frames", 1), image.format
        require_decodable(str(path), image.size, 2 * len(image.getbands()), max_pixels)
        is_lossless = kind == "WEBP" and b"VP8 " not in path.read_bytes()
        notes = ()
        if kind == "MPO" and frames > 1:
            notes = (f"only the first of its {frames} images is read",)
        if kind == "GIF" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
            notes = (f"its end is missing: only its first {frames} frames are read",)

        @cache  # Pillow knows how values are stored only until it decodes them
        def deep() -> tuple[np.ndarray | None, str | None]:
            return read_deep(image, path)

        def read(page: int) -> Raster:
            values, note = deep()
            if image.tell() != page:
                image.seek(page)
            raster = to_raster(image, str(path), values)
            tags = replace(raster.tags, is_lossless=is_lossless)
            return replace(raster, tags=tags, notes=(*raster.notes, *notes, *_listed(note)))

        yield Pages(frames if kind in _ANIMATED else 1, read)


def _listed(note: str | None) -> tuple[str, ...]:
    return () if note is None else (note,)


def to_raster(image: Image.Image, name: str, deep: np.ndarray | None = None) -> Raster:
    """Converts an image opened with Pillow.

    Args:
        image: The image. It stays open.
        name: Subject of error messages.
        deep: Its samples of uint16, if Pillow has only 8 bits of them.
    """
    require_decodable(name, image.size, len(image.getbands()), 2**62)
    image.load()
    profile, notes = image.info.get("icc_profile"), ()
    mode, depth = image.mode, "uint16"
    if deep is not None:
        mode = f"{mode};16"
        pixels, alpha = _with_color_key(deep, image.info.get("transparency"))
    elif mode == "F" or mode.startswith("I"):
        pixels, alpha, depth = _one_channel(image, name)
    else:
        color, alpha = _color_and_alpha(image)
        color, note = to_srgb(color, profile)
        pixels, depth, notes = np.atleast_3d(np.asarray(color)), "uint8", _listed(note)
        profile = SRGB.tobytes() if profile and not note and not is_srgb(profile) else profile
    if profile and not is_srgb(profile) and not notes:
        notes = (not_applied(profile, depth),)
    gamma = image.info.get("gamma")
    if gamma and not profile and "srgb" not in image.info and abs(gamma - 1 / 2.2) > 0.01:
        notes += (f"its gamma of {gamma} is not applied",)
    orientation, exif = _exif(image)
    tags = Tags(
        exif,
        profile if profile and fits(profile, pixels.shape[2]) else None,
        _dpi(image),
        duration=image.info.get("duration"),
        loop=image.info.get("loop"),
    )
    return upright(Raster(pixels, alpha, depth, mode, tags, notes), orientation)


def _one_channel(image: Image.Image, name: str) -> tuple[np.ndarray, np.ndarray | None, Depth]:
    """Pixels of mode F, I or I;16 with their alpha."""
    values = np.asarray(image)
    # Pillow uses mode I also for 16 bits.
    if image.mode == "I" and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)
    pixels, depth, _ = to_known_type(values[:, :, None], name)
    key = image.info.get("transparency") if depth == "uint16" else None
    return *_with_color_key(pixels, key), depth


def _with_color_key(pixels: np.ndarray, key: object) -> tuple[np.ndarray, np.ndarray | None]:
    """Color and alpha of uint16. Alpha is the last of 2 or 4 channels.

    Args:
        pixels: (height, width, channels).
        key: The color that is transparent in images without alpha, or None.
    """
    if pixels.shape[2] in (2, 4):
        return np.ascontiguousarray(pixels[:, :, :-1]), np.ascontiguousarray(pixels[:, :, -1])
    if not isinstance(key, (int, tuple)):
        return pixels, None
    return pixels, np.where((pixels == key).all(axis=2), 0, 65535).astype(np.uint16)


def _color_and_alpha(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """An image of mode L, RGB or CMYK, without the alpha channel, and that channel."""
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.profileToProfile(image, lab, SRGB, outputMode="RGB") or image, None
    gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        is_known = image.mode in ("L", "RGB", "CMYK")
        return (image if is_known else image.convert("L" if gray else "RGB")), None
    *bands, alpha = image.convert("LA" if gray else "RGBA").split()
    return (bands[0] if gray else Image.merge("RGB", bands)), np.asarray(alpha)


def _exif(image: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, 1 to 8, and the EXIF data without it."""
    try:
        exif = image.getexif()
        orientation = exif.pop(_ORIENTATION, 1)
        for code in CREDITS:  # Pillow writes texts as ASCII only
            if isinstance(text := exif.get(code), str):
                exif[code] = text.encode("latin-1")
        data = exif.tobytes() if exif and image.format != "TIFF" else None
    except Exception:  # damaged data, on which Pillow raises almost anything
        return 1, None
    return orientation if orientation in range(1, 9) else 1, data


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution, if it is one: files contain zeros and numbers that are not finite."""
    try:
        x, y = map(float, image.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return (x, y) if 0 < x < inf and 0 < y < inf else None


def upright(raster: Raster, orientation: int) -> Raster:
    """Rotates and mirrors an image.

    Args:
        raster: The image.
        orientation: From EXIF or TIFF, 1 to 8.
    """
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda array: array[:, ::-1],
        3: lambda array: array[::-1, ::-1],
        4: lambda array: array[::-1],
        5: lambda array: array.swapaxes(0, 1),
        6: lambda array: np.rot90(array, -1),
        7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
        8: lambda array: np.rot90(array),
    }
    if orientation not in turns:
        return raster
    return raster.mapped(lambda array: np.ascontiguousarray(turns[orientation](array)))
