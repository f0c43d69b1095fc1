"""Reads image files: recognizes the format by the contents, and applies orientation and color."""

import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from transmute import plugins
from transmute.errors import first_line
from transmute.images import pillow, scientific, tiff
from transmute.images.limits import MAX_PIXELS
from transmute.images.messages import collected
from transmute.images.raster import ImageError, Pages, Raster

ImageSource = str | Path | Image.Image | np.ndarray
"""A path, an image opened with Pillow, or an array (height, width[, channels]). A uint8 array of 2
or 4 channels has alpha."""


def read_image(
    source: ImageSource,
    *,
    page: int = 0,
    reader: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Raster:
    """Reads an image as a viewer displays it: upright and, if it has 8 bits, in sRGB.

    Args:
        source: The image.
        page: Page or frame of a file that has several, from 0.
        reader: `FILE.py:NAME` of a function that reads the file instead: from a path to an array
            (height, width[, channels]).
        max_pixels: Larger images are refused, before they are decoded.

    Raises:
        ImageError: If the file is missing, damaged, too large or not an image, or if the reader
            fails.
        UserError: If the reader cannot be loaded.
    """
    with open_pages(source, reader=reader, max_pixels=max_pixels) as pages:
        if not 0 <= page < pages.number:
            raise ImageError(f"{source} has {pages.number} pages, so there is no page {page + 1}")
        return pages.read(page)


def count_pages(path: Path) -> int:
    """Number of pages or frames in a file; 1 if it cannot be read."""
    with suppress(ImageError, OSError):
        _require_file(path)
        with path.open("rb") as file:
            head = file.read(4096)
        # JPEG and PNG files are most common: 0.02 ms instead of 0.2 ms with Pillow.
        if head[:2] == b"\xff\xd8" or (b"IDAT" in head and b"acTL" not in head):
            return 1
        with open_pages(path, max_pixels=2**62) as pages:  # pixels are not decoded
            return pages.number
    return 1


@contextmanager
def open_pages(
    source: ImageSource, *, reader: str | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[Pages]:
    """Opens an image, with all its pages or frames, as `read_image`."""
    if isinstance(source, Image.Image):
        yield Pages(1, lambda page: pillow.to_raster(source, "the image"))
        return
    if isinstance(source, np.ndarray):
        yield Pages(1, lambda page: scientific.from_array(source, "the array", has_alpha=True))
        return
    path, name = Path(source), str(source)
    _require_file(path)
    if reader is not None:
        yield Pages(1, lambda page: _read_with(reader, path))
        return
    with ExitStack() as stack:
        with _attributed(name) as first_messages:
            pages = stack.enter_context(_opener(path)(path, max_pixels))
            if pages.number == 0:
                raise ImageError(f"{path} contains no image")

        def read_page(page: int) -> Raster:
            with _attributed(name) as messages:
                raster = pages.read(page)
            return replace(raster, notes=(*raster.notes, *first_messages, *messages))

        yield Pages(pages.number, read_page)


def _opener(path: Path) -> Callable[[Path, int], AbstractContextManager[Pages]]:
    """The reader for a file, by its contents."""
    with path.open("rb") as file:
        head = file.read(132)
    if not head:
        raise ImageError(f"{path} is empty")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return tiff.opened
    if head.startswith(b"\x93NUMPY"):
        return scientific.opened_npy
    if head[:4] == b"PK\3\4" and path.suffix.lower() == ".npz":
        return scientific.opened_npz
    if head[128:132] == b"DICM":
        return scientific.opened_dicom
    if head[:2] == b"\xff\n" or head[4:12] == b"JXL \r\n\x87\n":
        return scientific.opened_jpeg_xl
    if head.startswith((b"%!", b"\xc5\xd0\xd3\xc6", b"%PDF")):
        raise ImageError(
            f"{path} is a PostScript or PDF document, not an image, and it is not opened. Convert "
            "it to PNG"
        )
    return pillow.opened


def _require_file(path: Path) -> None:
    """Checks that a path is that of a regular file, so that reading cannot block."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        kind = "is a link to a missing file" if path.is_symlink() else "does not exist"
        raise ImageError(f"{path} {kind}") from None
    except (OSError, ValueError) as error:  # a loop of links, no permission, a null character
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageError(f"{path} cannot be read: {reason}") from None
    if not stat.S_ISREG(mode):
        raise ImageError(f"{path} is not a regular file")


@contextmanager
def _attributed(name: str) -> Iterator[list[str]]:
    """Collects warnings of decoding libraries; their errors become an ImageError of one file."""
    with collected() as messages:
        try:
            yield messages
        except ImageError:
            raise
        except Image.UnidentifiedImageError:
            raise ImageError(f"{name} is not an image that can be read") from None
        # The readers raise almost any exception on damaged files (struct.error, SyntaxError, ...).
        except Exception as error:
            details = f" ({messages[-1]})" if messages else ""
            raise ImageError(f"{name} cannot be read: {first_line(error)}{details}") from None


def _read_with(reader: str, path: Path) -> Raster:
    """Reads an image with a user-defined function, `FILE.py:NAME`."""
    function = plugins.load(reader)
    try:
        array = np.asarray(function(path))
    except Exception as error:  # user code may raise anything
        raise ImageError(f"{path}: {reader} failed: {type(error).__name__}: {error}") from None
    return scientific.from_array(array, f"{path}: the result of {reader}", has_alpha=True)
