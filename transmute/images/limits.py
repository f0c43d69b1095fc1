"""Limits that are checked by an image's header, before it is decoded."""

from transmute.config.data import SourceConfig
from transmute.images.raster import ImageError
from transmute.memory import free_memory

MAX_PIXELS = SourceConfig.model_fields["max_pixels"].default
_SMALL = 2**28  # bytes for which free memory is not checked


def require_decodable(name: str, size: tuple[int, int], value_bytes: int, limit: int) -> None:
    """Checks the size of an image.

    Args:
        name: Subject of the error message.
        size: Width and height in pixels.
        value_bytes: Bytes of a pixel, over all channels.
        limit: Maximum number of pixels.

    Raises:
        ImageError: If it has no pixels, more than the limit, or does not fit in memory.
    """
    width, height = size
    if width * height == 0:
        raise ImageError(f"{name} has no pixels: it is {width}x{height}")
    if width * height > limit:
        raise ImageError(
            f"{name} has {width}x{height} = {width * height:,} pixels, more than "
            f"`max_pixels={limit}`. Increase `max_pixels` if the file is sound"
        )
    needed = 2 * width * height * value_bytes
    if needed > _SMALL and needed > (free := free_memory()):
        raise ImageError(
            f"{name} needs {needed / 2**30:.1f} GiB of memory to decode ({width}x{height}, "
            f"{value_bytes} bytes per pixel), but only {free / 2**30:.1f} GiB are free. Use a "
            "smaller image, or cut it into tiles"
        )


def require_resizable(name: str, size: tuple[int, int], pixel_bytes: int) -> None:
    """Checks that an image can be computed at a chosen size.

    Args:
        name: Subject of the error message.
        size: Width and height in pixels.
        pixel_bytes: Bytes of memory that each pixel surely needs.

    Raises:
        ImageError: If it has more pixels than images that are read by default, or does not fit in
            memory.
    """
    needed = size[0] * size[1] * pixel_bytes
    reason = f"that is more than {MAX_PIXELS:,} pixels" if size[0] * size[1] > MAX_PIXELS else ""
    if not reason and needed > _SMALL and needed > (free := free_memory()):
        reason = (
            f"that needs {needed / 2**30:.1f} GiB of memory, but only {free / 2**30:.1f} GiB are "
            "free"
        )
    if reason:
        raise ImageError(
            f"{name} cannot be computed at {size[0]}x{size[1]}: {reason}. Choose a smaller `size`"
        )


def require_room(name: str, pages: int, page_bytes: int) -> None:
    """Checks that all pages of a file can be kept in memory until they are written.

    Args:
        name: Subject of the error message.
        pages: Number of pages.
        page_bytes: Bytes of one of them.

    Raises:
        ImageError: If they do not fit in memory.
    """
    needed = pages * page_bytes
    if needed > _SMALL and needed > (free := free_memory()):
        raise ImageError(
            f"{name} has {pages} pages, which need {needed / 2**30:.1f} GiB of memory, but only "
            f"{free / 2**30:.1f} GiB are free. Split it into several files"
        )
