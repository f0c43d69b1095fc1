"""Writes image files of any depth and number of channels, with metadata and several pages."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from transmute.errors import first_line
from transmute.files import replacing
from transmute.images.color import fits
from transmute.images.raster import CREDITS, ImageError, Raster, Tags
from transmute.images.scientific import require_package


class _Format(NamedTuple):
    """A format, and the images that it holds without loss of depth, channels, alpha or pages."""

    extensions: str
    depths: str = "uint8"
    any_channels: bool = False
    alpha: bool = True
    pages: bool = False
    max_side: int = 2**31 - 1


_ALL_DEPTHS = "uint8 uint16 int16 float32"
_FORMATS = {
    "JPEG": _Format(".jpg .jpeg .jfif .jpe", alpha=False, max_side=65500),
    "PNG": _Format(".png .apng", "uint8 uint16", pages=True),
    "WEBP": _Format(".webp", pages=True, max_side=16383),
    "BMP": _Format(".bmp", alpha=False),
    "TIFF": _Format(".tif .tiff", _ALL_DEPTHS, any_channels=True, pages=True),
    "GIF": _Format(".gif", pages=True, max_side=65535),
    "AVIF": _Format(".avif", pages=True, max_side=65536),
    "JPEG2000": _Format(".jp2 .j2k", "uint8 uint16"),
    "PPM": _Format(".ppm .pgm .pbm .pnm", "uint8 uint16", alpha=False),
    "TGA": _Format(".tga", max_side=65535),
    "NPY": _Format(".npy", _ALL_DEPTHS, any_channels=True),
    "NPZ": _Format(".npz", _ALL_DEPTHS, any_channels=True, pages=True),
    "JXL": _Format(".jxl", "uint8 uint16 float32"),
}
WRITABLE = {
    extension: name for name, one in _FORMATS.items() for extension in one.extensions.split()
}
"""Formats that can be written, by extension."""


def why_not(raster: Raster, ending: str, *, pages: int = 1) -> str | None:
    """Why a format cannot hold an image without loss of depth, channels, alpha or pages, or None.

    Args:
        raster: The image, or the first of several pages.
        ending: Extension of the file, in lower case.
        pages: Number of pages.
    """
    if ending not in WRITABLE:
        return f"{ending or 'no extension'} is not that of a format that can be written"
    kind = WRITABLE[ending]
    holds = _FORMATS[kind]
    if raster.depth not in holds.depths.split():
        return f"{ending} cannot hold {raster.depth} values"
    if raster.channels not in (1, 3) and not holds.any_channels:
        return f"{ending} cannot hold {raster.channels} channels"
    if raster.is_transparent and not holds.alpha:
        return f"{ending} cannot hold transparency"
    if pages > 1 and (not holds.pages or (kind == "PNG" and raster.depth != "uint8")):
        return f"{ending} cannot hold {pages} pages" + (
            f" of {raster.depth} values" if holds.pages else ""
        )
    return too_large(ending, raster.size)


def too_large(ending: str, size: tuple[int, int]) -> str | None:
    """Why the format of an extension cannot hold an image of this (width, height), or None."""
    if ending not in WRITABLE or max(size) <= (most := _FORMATS[WRITABLE[ending]].max_side):
        return None
    return f"{ending} cannot hold {size[0]}x{size[1]} pixels, only {most} in each direction"


def best_ending(raster: Raster, *, pages: int = 1) -> str:
    """Extension of the most common lossless format that holds an image: .png or .tif."""
    return ".tif" if why_not(raster, ".png", pages=pages) else ".png"


def save_pages(pages: Sequence[Raster], path: Path) -> None:
    """Writes an image with all its pages atomically, in the format of the extension.

    JPEG, WebP and AVIF have quality 95, except that lossless WebP files stay lossless.

    Raises:
        ImageError: If the format cannot hold the image.
    """
    ending, first = path.suffix.lower(), pages[0]
    if problem := why_not(first, ending, pages=len(pages)):
        other = ", another `depth`" if "values" in problem else ""
        other += ", `pages=first`" if len(pages) > 1 else ""
        raise ImageError(
            f"{path} cannot be written, because {problem}. Use `format=auto`{other} or "
            f"`format={best_ending(first, pages=len(pages))[1:]}`"
        )
    kind = WRITABLE[ending]
    with _encoded(path) as temporary:
        if kind == "TIFF":
            _write_tiff(pages, temporary)
        elif kind in ("NPY", "NPZ"):
            with temporary.open("wb") as file:
                np.save(file, _array(first)) if kind == "NPY" else np.savez(
                    file, *map(_array, pages)
                )
        elif kind == "JXL" or (kind == "JPEG2000" and first.depth == "uint16"):
            temporary.write_bytes(_with_imagecodecs(first, path, kind))
        elif kind == "PPM" and first.depth == "uint16":
            head = b"P%d %d %d 65535\n" % (6 if first.channels == 3 else 5, *first.size)
            temporary.write_bytes(head + first.pixels.astype(">u2").tobytes())
        elif kind == "PNG" and first.depth == "uint16":
            temporary.write_bytes(_png16(first))
        else:
            _write_with_pillow(pages, temporary, kind)


@contextmanager
def _encoded(path: Path) -> Iterator[Path]:
    """As `replacing`, but any error of an encoder becomes an ImageError of the file."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except Exception as error:
            if isinstance(error, ImageError) or (isinstance(error, OSError) and error.errno):
                raise  # the disk is full, ...
            raise ImageError(f"{path} cannot be written: {first_line(error)}") from None


def save_image(image: Image.Image, path: Path) -> None:
    """Writes an image of mode L or RGB (LA or RGBA) atomically, in the format of the extension.

    JPEG and WebP have quality 95. The positions in a sample sheet are stored in PNG files.
    """
    text = PngImagePlugin.PngInfo()  # other formats ignore it
    if "sheet" in image.info:
        text.add_text("sheet", image.info["sheet"])
    options: dict[str, Any] = {} if path.suffix.lower() == ".png" else {"quality": 95}
    with _encoded(path) as temporary:
        image.save(temporary, pnginfo=text, **options)


def _array(raster: Raster) -> np.ndarray:
    """Pixels in the type of their depth, with alpha as the last channel."""
    pixels, alpha = raster.pixels, raster.alpha
    if alpha is not None:
        alpha = alpha * 32767 if raster.depth == "int16" else alpha
        pixels = np.dstack([pixels, alpha])
    if raster.depth == "int16":
        return pixels.round().clip(-32768, 32767).astype(np.int16)
    return pixels


def _profile(raster: Raster) -> bytes | None:
    """The color profile, if it is for the channels of the image."""
    profile = raster.tags.profile
    return profile if profile and fits(profile, raster.channels) else None


def _with_imagecodecs(raster: Raster, path: Path, kind: str) -> bytes:
    imagecodecs = require_package("imagecodecs", path, f"a {raster.depth} image")
    array = _array(raster)
    array = array[:, :, 0] if array.shape[2] == 1 else array
    if kind == "JXL":
        return imagecodecs.jpegxl_encode(array, lossless=True)
    return imagecodecs.jpeg2k_encode(array, codecformat="jp2", reversible=True, level=0)


def _write_with_pillow(pages: Sequence[Raster], path: Path, kind: str) -> None:
    """Writes 8-bit images."""
    first, tags = pages[0], pages[0].tags
    images = [_indexed(page) if kind == "GIF" else _image(page, kind) for page in pages]
    options: dict[str, Any] = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    if tags.dpi:
        options["dpi"] = tags.dpi
    if kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        options |= {"exif": tags.exif} if tags.exif else {}
        options |= {"icc_profile": profile} if (profile := _profile(first)) else {}
    if len(pages) > 1:
        durations = [page.tags.duration or 0 for page in pages]
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
        options |= {} if tags.loop is None else {"loop": tags.loop}
    if kind == "GIF":  # a frame is not drawn over a transparent one
        options |= {"optimize": False, "disposal": 2 if first.alpha is not None else 0}
    if kind == "WEBP":
        options |= {"exact": True, "lossless": tags.is_lossless}  # colors under transparent pixels
    images[0].save(path, format=kind, **options)


def _image(raster: Raster, kind: str) -> Image.Image:
    """An image of mode L, RGB, LA or RGBA."""
    array = _array(raster) if _FORMATS[kind].alpha else raster.pixels
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array))


def _indexed(raster: Raster) -> Image.Image:
    """An image of at most 256 colors, exact if the image has no more. Alpha is 0 or 255."""
    pixels = raster.pixels.repeat(3, axis=2) if raster.channels == 1 else raster.pixels.copy()
    if raster.alpha is None or (raster.alpha >= 128).all():
        return Image.fromarray(pixels).quantize(256)
    clear, under = raster.alpha < 128, pixels[raster.alpha < 128][0]
    pixels[clear] = 0 if clear.all() else pixels[~clear][0]  # is not counted as a color
    image = Image.fromarray(pixels).quantize(255)
    palette = np.zeros((256, 3), np.uint8)
    known = np.reshape(image.getpalette() or [], (-1, 3))
    palette[: len(known)], palette[255] = known, under
    image = Image.fromarray(np.where(clear, 255, np.asarray(image)).astype(np.uint8))
    image.putpalette(palette.tobytes())
    image.info["transparency"] = 255
    return image


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
    if profile := _profile(raster):
        chunks.append((b"iCCP", b"profile\0\0" + zlib.compress(profile)))
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
    num_bytes = sum(
        part.nbytes for page in pages for part in (page.pixels, page.alpha) if part is not None
    )
    with tifffile.TiffWriter(path, bigtiff=num_bytes > 2**32 - 2**25) as writer:
        for page in pages:
            array = _array(page)
            tags, options = page.tags, {}
            if array.shape[2] == 1:
                array = array[:, :, 0]
            else:
                options["planarconfig"] = "contig"
                others = ["unspecified"] * (0 if page.channels == 3 else page.channels - 1)
                options["extrasamples"] = [*others, *["unassalpha"] * (page.alpha is not None)]
            if tags.dpi:
                options |= {"resolution": tags.dpi, "resolutionunit": "INCH"}
            writer.write(
                array,
                photometric="rgb" if page.channels == 3 else "minisblack",
                iccprofile=_profile(page),
                extratags=_extra_tags(tags),
                metadata=None,
                software="Transmute",
                **options,
            )


def _extra_tags(tags: Tags) -> list[tuple[int, int, int, Any, bool]]:
    """TIFF tags as tifffile expects them. Those of EXIF have the same codes."""
    known = Image.Exif()
    known.load(tags.exif or b"")
    copied = tags.tiff or [(code, 2, 0, known[code]) for code in CREDITS if code in known]
    # As bytes, because tifffile refuses texts that are not ASCII.
    return [
        (code, kind, count, value.encode() if isinstance(value, str) else value, True)
        for code, kind, count, value in copied
    ]
