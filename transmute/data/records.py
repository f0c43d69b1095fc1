"""Properties of all images of a data set, for `transmute data check`."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transmute.data.duplicates import ImageHash, image_hash
from transmute.data.layout import DataSet
from transmute.data.scan import decode_all
from transmute.data.source import Source
from transmute.images.raster import Depth, ImageError, Raster


@dataclass(frozen=True)
class Record:
    """Properties of a decoded image.

    Attributes:
        file: Name of the file.
        page: Page of the file, from 0.
        mode: How it stores colors (RGB, L, CMYK, 6 x uint16, ...).
        depth: Type of its values.
        channels: Number of channels, without alpha.
        values: The lowest and the highest value.
        notes: What was not applied or read.
    """

    file: str
    page: int
    mode: str
    size: tuple[int, int]
    is_gray: bool
    is_transparent: bool
    depth: Depth
    channels: int
    values: tuple[float, float]
    notes: tuple[str, ...]
    hash: ImageHash

    @property
    def name(self) -> str:
        """The file, with the page after the first one."""
        return f"{self.file}, page {self.page + 1}" if self.page else self.file

    def __str__(self) -> str:
        return f"{self.name} ({self.size[0]}x{self.size[1]})"


@dataclass(frozen=True)
class Subset:
    """The images of one domain that are trained on, or that are held out.

    Attributes:
        name: Folder, with the half of side by side images.
        records: The readable images.
        errors: For each unreadable file, by name, why it cannot be read.
    """

    name: str
    records: list[Record]
    errors: dict[str, ImageError]

    def summary(self) -> dict[str, Any]:
        """Image counts: all, unreadable, by "WIDTHxHEIGHT", by mode, by type of values and by
        number of channels, most common first; files with several pages; and the range of values."""
        images = self.records
        return {
            "name": self.name,
            "images": len(images) + len(self.errors),
            "unreadable": len(self.errors),
            "sizes": _counts("{}x{}".format(*image.size) for image in images),
            "modes": _counts(image.mode for image in images),
            "depths": _counts(image.depth for image in images),
            "channels": _counts(str(image.channels) for image in images),
            "values": [
                min((image.values[0] for image in images), default=None),
                max((image.values[1] for image in images), default=None),
            ],
            "several_pages": sum(image.page == 1 for image in images),
        }

    def __str__(self) -> str:
        summary = self.summary()
        modes = ", ".join(f"{mode} {count}" for mode, count in summary["modes"].items())
        sizes = next(iter(summary["sizes"]), "")
        by_area = sorted(summary["sizes"], key=lambda size: math.prod(map(int, size.split("x"))))
        if len(by_area) > 1:
            sizes = (
                f"{len(by_area)} sizes, {by_area[0]} to {by_area[-1]}, mostly {sizes} "
                f"({summary['sizes'][sizes]})"
            )
        line = f"{summary['images']:6} images  {sizes}  {modes}"
        if self.records:
            depths, channels = map(_listed, (summary["depths"], summary["channels"]))
            low, high = summary["values"]
            plural = "" if channels == "1" else "s"
            line += f"  {depths}, {channels} channel{plural}, {low:.6g} to {high:.6g}"
        pages = summary["several_pages"]
        return line + (f"  {pages} files with several pages" if pages else "")


def _listed(counts: dict[str, int]) -> str:
    """Values with their counts, unless there is only one."""
    if len(counts) == 1:
        return next(iter(counts))
    return " and ".join(f"{value} ({count})" for value, count in counts.items())


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, most common first."""
    return dict(Counter(values).most_common())


def read_subsets(data: DataSet, folder: Path | None) -> list[Subset]:
    """Decodes all images of a data set.

    Args:
        data: The data set.
        folder: Its folder, to which names are relative. None keeps the paths as they are.

    Returns:
        Training images of a and of b, then the held-out ones, if there are any.
    """

    def record(source: Source, image: Raster) -> Record:
        pixels = image.pixels
        return Record(
            relative_name(folder, source.path),
            source.page,
            image.mode,
            image.size,
            bool((pixels == pixels[:, :, :1]).all()),
            image.is_transparent,
            image.depth,
            image.channels,
            (float(pixels.min()), float(pixels.max())),
            image.notes,
            image_hash(image),
        )

    sides = [*data.train, *data.test]
    records, errors = decode_all([source for side in sides for source in side], record)
    return [
        Subset(
            relative_name(folder, top) + (f" ({side[0].half})" if side[0].half else ""),
            [records[source] for source in side if source in records],
            {
                relative_name(folder, source.path): errors[source]
                for source in side
                if source in errors
            },
        )
        for side, top in zip(sides, data.folders, strict=False)
    ]


def relative_name(folder: Path | None, path: Path) -> str:
    """A path relative to a folder, with forward slashes."""
    return (path.relative_to(folder) if folder else path).as_posix()
