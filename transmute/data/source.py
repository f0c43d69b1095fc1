"""One image of a data set."""

from dataclasses import dataclass
from pathlib import Path

from transmute.images.decode import read_image
from transmute.images.limits import MAX_PIXELS
from transmute.images.raster import ImageError, Raster


class PairError(ImageError):
    """An image whose shape is not that of two images side by side."""


@dataclass(frozen=True)
class Source:
    """One image of a data set: a file, one of its pages, or the left or right half of one.

    Attributes:
        path: The file.
        half: "left" or "right" of two images side by side; None for the whole.
        reader: `FILE.py:NAME` of a function that reads the file.
        page: Page or frame, from 0.
        max_pixels: Larger images are refused.
        any_shape: Whether the file of a half may have any shape.
    """

    path: Path
    half: str | None = None
    reader: str | None = None
    page: int = 0
    max_pixels: int = MAX_PIXELS
    any_shape: bool = False

    def open(self, channels: int | None = None, background: str | None = None) -> Raster:
        """Reads the image (see `read_image`).

        Args:
            channels: Converts to this number of channels. By default, those of the file.
            background: Color on which transparent images are put.

        Raises:
            ImageError: If the file cannot be read, has another number of channels, or is not two
                images side by side.
        """
        raster = self.open_file()
        self.require_pair(*raster.size)
        raster = raster.half(self.half)
        raster = raster if background is None else raster.flattened(background)
        return raster if channels is None else raster.with_channels(channels, str(self))

    def open_file(self) -> Raster:
        """Reads the whole image, also if this is a half of it."""
        return read_image(self.path, page=self.page, reader=self.reader, max_pixels=self.max_pixels)

    def require_pair(self, width: int, height: int) -> None:
        """Checks that a file of this size can contain two images side by side, if this is a half.

        Raises:
            PairError: If its width is under 1.5 times its height.
        """
        if self.half is None or self.any_shape or width >= 1.5 * height:
            return
        stacked = (
            "If it contains two images on top of each other, save them side by side (a left, b "
            "right) or in two folders. "
        )
        raise PairError(
            f"{self.path} is {width}x{height}, which is not the shape of two images side by side: "
            f"its width is under 1.5 times its height. {stacked if height >= 1.5 * width else ''}"
            "If it is a pair side by side, set `data.side_by_side`"
        )

    def __str__(self) -> str:
        return f"{self.path}, page {self.page + 1}" if self.page else str(self.path)
