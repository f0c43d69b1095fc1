"""Writes image files of any depth and number of channels, with metadata and several pages."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from transmute.files import replacing
from transmute.images.raster import ImageError, Raster
from transmute.images.scientific import require_package

_FORMATS = {
    "JPEG": ".jpg .jpeg .jfif .jpe",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif .tiff",
    "GIF": ".gif",
    "AVIF": ".avif",
    "JPEG2000": ".jp2 .j2k",
    "PPM": ".ppm .pgm .pnm",
    "TGA": ".tga",
    "NPY": ".npy",
    "JXL": ".jxl",
}
WRITABLE = {ending: name for name, endings in _FORMATS.items() for ending in endings.split()}
"""Formats that can be written, by extension."""
_ANY_CHANNELS, _GRAY_OR_RGB = frozenset(range(1, 10**6)), frozenset({1, 3})
_HOLDS: dict[str, tuple[str, frozenset[int], bool, bool]] = {
    "JPEG": ("uint8", _GRAY_OR_RGB, False, False),
    "PNG": ("uint8 uint16", _GRAY_OR_RGB, True, True),
    "WEBP": ("uint8", _GRAY_OR_RGB, True, True),
    "BMP": ("uint8", _GRAY_OR_RGB, False, False),
    "TIFF": ("uint8 uint16 int16 float32", _ANY_CHANNELS, True, True),
    "GIF": ("uint8", _GRAY_OR_RGB, True, True),
    "AVIF": ("uint8", _GRAY_OR_RGB, True, True),
    "JPEG2000": ("uint8", _GRAY_OR_RGB, True, False),
    "PPM": ("uint8 uint16", _GRAY_OR_RGB, False, False),
    "TGA": ("uint8", _GRAY_OR_RGB, True, False),
    "NPY": ("uint8 uint16 int16 float32", _ANY_CHANNELS, True, False),
    "JXL": ("uint8 uint16 float32", _GRAY_OR_RGB, True, False),
}
"""What a format holds: types, numbers of channels, alpha, and several pages."""


def why_not(raster: Raster, ending: str, *, pages: int = 1) -> str | None:
    """Why a format cannot hold an image without loss of depth, channels, alpha or pages, or None.

    Args:
        raster: The image, or the first of several pages.
        ending: Extension of the file, in lower case.
        pages: Number of pages.
    """
    if ending not in WRITABLE:
        return f"{ending or 'a file without extension'} cannot be written"
    depths, channels, alpha, several = _HOLDS[WRITABLE[ending]]
    if raster.depth not in depths.split():
        return f"{ending} cannot hold {raster.depth} values"
    if raster.channels not in channels:
        return f"{ending} cannot hold {raster.channels} channels"
    if raster.is_transparent and not alpha:
        return f"{ending} cannot hold transparency"
    if pages > 1 and not several:
        return f"{ending} cannot hold {pages} pages"
    return None


def best_ending(raster: Raster, *, pages: int = 1) -> str:
    """Extension of the most common lossless format that holds an image: .png or .tif."""
    return ".tif" if why_not(raster, ".png", pages=pages) else ".png"


def save_pages(pages: Sequence[Raster], path: Path) -> None:
    """Writes an image with all its pages atomically, in the format of the extension.

    JPEG, WebP and AVIF have quality 95.

    Raises:
        ImageError: If the format cannot hold the image.
    """
    ending, first = path.suffix.lower(), pages[0]
    if problem := why_not(first, ending, pages=len(pages)):
        raise ImageError(
            f"{path} cannot be written, because {problem}. Use `format=auto`, "
            f"`format={best_ending(first, pages=len(pages))[1:]}` or another `depth`"
        )
    kind = WRITABLE[ending]
    with replacing(path) as temporary:
        if kind == "TIFF":
            _write_tiff(pages, temporary)
        elif kind == "NPY":
            with temporary.open("wb") as file:
                np.save(file, _array(first))
        elif kind == "JXL":
            encode = require_package("imagecodecs", path, "a JPEG XL file").jpegxl_encode
            temporary.write_bytes(encode(np.squeeze(_array(first)), lossless=True))
        elif first.depth == "uint16" and first.channels == 3 and kind == "PPM":
            head = b"P6\n%d %d\n65535\n" % first.size
            temporary.write_bytes(head + first.pixels.astype(">u2").tobytes())
        elif first.depth == "uint16" and kind == "PNG":
            temporary.write_bytes(_png16(first))
        else:
            _write_with_pillow(pages, temporary, kind)


def save_image(image: Image.Image, path: Path) -> None:
    """Writes an image of mode L or RGB (LA or RGBA) atomically, in the format of the extension.

    JPEG and WebP have quality 95. The positions in a sample sheet are stored in PNG files.
    """
    text = PngImagePlugin.PngInfo()  # other formats ignore it
    if "sheet" in image.info:
        text.add_text("sheet", image.info["sheet"])
    options: dict[str, Any] = {} if path.suffix.lower() == ".png" else {"quality": 95}
    with replacing(path) as temporary:
        image.save(temporary, pnginfo=text, **options)


def _array(raster: Raster) -> np.ndarray:
    """Pixels in the type of their depth, with alpha as the last channel."""
    pixels = raster.pixels
    if raster.alpha is not None:
        pixels = np.dstack([pixels, raster.alpha])
    if raster.depth == "int16":
        return pixels.round().clip(-32768, 32767).astype(np.int16)
    return pixels


def _image(raster: Raster) -> Image.Image:
    """An image of uint8, or of uint16 with one channel and no alpha."""
    array = _array(raster)
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array))


def _write_with_pillow(pages: Sequence[Raster], path: Path, kind: str) -> None:
    first, tags = pages[0], pages[0].tags
    opaque_only = kind in ("JPEG", "BMP", "PPM") and first.alpha is not None
    images = [
        _image(Raster(page.pixels, depth=page.depth) if opaque_only else page) for page in pages
    ]
    options: dict[str, Any] = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    if tags.dpi:
        options["dpi"] = tags.dpi
    if tags.exif and kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        options["exif"] = tags.exif
    if tags.profile and first.channels == 3 and kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        options["icc_profile"] = tags.profile
    if len(pages) > 1:
        durations = [page.tags.duration or 0 for page in pages]
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
        options |= {} if tags.loop is None else {"loop": tags.loop}
        options |= {"disposal": 2} if kind == "GIF" and first.alpha is not None else {}
    if kind == "WEBP":
        options["exact"] = True  # keeps colors under transparent pixels
    images[0].save(path, format=kind, **options)


def _png16(raster: Raster) -> bytes:
    """A PNG file of 16 bits, which Pillow writes only in gray."""
    array, tags = _array(raster).astype(">u2"), raster.tags
    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = array.reshape(height, -1).view(np.uint8)
    filtered = np.zeros((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # each row minus the one above
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    if tags.profile and channels > 2:
        chunks.append((b"iCCP", b"profile\0\0" + zlib.compress(tags.profile)))
    if tags.dpi:
        x, y = (round(value / 0.0254) for value in tags.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if tags.exif:
        chunks.append((b"eXIf", tags.exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _write_tiff(pages: Sequence[Raster], path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            array, tags = _array(page), page.tags
            options: dict[str, Any] = {}
            if array.shape[2] == 1:
                array = array[:, :, 0]
            else:
                options["planarconfig"] = "contig"
            if page.alpha is not None:
                options["extrasamples"] = ["unassalpha"]
            if tags.dpi:
                options |= {"resolution": tags.dpi, "resolutionunit": "INCH"}
            writer.write(
                array,
                photometric="rgb" if page.channels == 3 else "minisblack",
                iccprofile=tags.profile,
                extratags=[(*tag, True) for tag in tags.tiff],
                metadata=None,
                software="Transmute",
                **options,
            )
