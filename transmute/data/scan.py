"""Decodes all images of a data set in threads: to find unusable ones, and to record properties."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from rich.console import Console
from rich.progress import track

from transmute.data.duplicates import ImageHash, image_hash
from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry
from transmute.data.stream import Reader
from transmute.errors import UserError
from transmute.images import ImageError, crop_half

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_LISTED = 50


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> list[Result]:
    """Applies a function to each item in threads (Pillow releases the GIL).

    A terminal shows a progress bar with this title.
    """
    console = Console(stderr=True)
    # The ranks of one machine share a terminal.
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(work, items)
        return list(track(done, title, len(items), console=console, disable=hidden))


@dataclass(frozen=True)
class Record:
    """Properties of a decoded image. `mode` is how the file stores colors (RGB, L, CMYK, ...)."""

    name: str
    mode: str
    size: tuple[int, int]
    is_gray: bool
    is_transparent: bool
    hash: ImageHash

    def __str__(self) -> str:
        return f"{self.name} ({self.size[0]}x{self.size[1]})"


@dataclass(frozen=True)
class Subset:
    """The images of one domain that are trained on, or that are held out.

    Attributes:
        name: Folder, with the half of side by side images.
        results: For each file name, the record of its image, or the error if it is unreadable.
    """

    name: str
    results: dict[str, Record | ImageError]

    @property
    def records(self) -> list[Record]:
        """The readable images."""
        return [result for result in self.results.values() if isinstance(result, Record)]

    def summary(self) -> dict[str, Any]:
        """Image counts: all, unreadable, by "WIDTHxHEIGHT" and by mode, most common first."""
        return {
            "name": self.name,
            "images": len(self.results),
            "unreadable": len(self.results) - len(self.records),
            "sizes": dict(
                Counter("{}x{}".format(*image.size) for image in self.records).most_common()
            ),
            "modes": dict(Counter(image.mode for image in self.records).most_common()),
        }

    def __str__(self) -> str:
        summary = self.summary()
        modes = ", ".join(f"{mode} {count}" for mode, count in summary["modes"].items())
        sizes = list(summary["sizes"])
        text = ", ".join(sizes)
        if len(sizes) > 1:
            by_area = sorted(sizes, key=lambda size: math.prod(map(int, size.split("x"))))
            text = (
                f"{len(sizes)} sizes, {by_area[0]} to {by_area[-1]}, mostly {sizes[0]} "
                f"({summary['sizes'][sizes[0]]})"
            )
        return f"{len(self.results):6} images  {text}  {modes}"


def read_subsets(data: DataSet, folder: Path | None) -> list[Subset]:
    """Decodes all images of a data set.

    Args:
        data: The data set.
        folder: Its folder, to which names are relative. None keeps the paths as they are.

    Returns:
        Training images of a and of b, then the held-out ones, if there are any.
    """

    def record(source: Source, image: Image.Image, alpha: Image.Image | None) -> Record:
        red, green, blue = (band.tobytes() for band in image.split())
        return Record(
            relative_name(folder, source.path),
            image.info["mode"],
            image.size,
            red == green == blue,
            alpha is not None and min(alpha.tobytes()) < 255,
            image_hash(image),
        )

    sides = [side for side in (*data.train, *data.test) if side]
    decoded = decode_all([source for side in sides for source in side], record)
    return [
        Subset(
            # A folder of side by side images has two sides.
            relative_name(folder, data.folders[index * len(data.folders) // len(sides)])
            + (f" ({side[0].half})" if side[0].half else ""),
            {relative_name(folder, source.path): decoded[source] for source in side},
        )
        for index, side in enumerate(sides)
    ]


def relative_name(folder: Path | None, path: Path) -> str:
    """A path relative to a folder, with forward slashes."""
    return (path.relative_to(folder) if folder else path).as_posix()


def decode_all(
    sources: Iterable[Source],
    inspect: Callable[[Source, Image.Image, Image.Image | None], Result],
) -> dict[Source, Result | ImageError]:
    """Decodes every file once, in threads, and applies a function to each of its images.

    Args:
        sources: Images. Two halves of one file, and repeated images, are decoded once.
        inspect: Called with the source, its image in RGB, and its alpha channel if it has one.

    Returns:
        For each source, the value returned by `inspect`, or the error of decoding its file.
    """
    files: dict[Source, list[Source]] = {}
    for source in dict.fromkeys(sources):
        files.setdefault(replace(source, half=None), []).append(source)

    def inspect_file(file: Source) -> dict[Source, Result | ImageError]:
        try:
            image, alpha = file.open()
        except ImageError as error:
            return dict.fromkeys(files[file], error)
        return {
            source: inspect(
                source,
                crop_half(image, source.half),
                crop_half(alpha, source.half) if alpha else None,
            )
            for source in files[file]
        }

    groups = in_threads(inspect_file, list(files), "checking images")
    return {source: result for group in groups for source, result in group.items()}


def require_usable(
    data: DataSet,
    readers: tuple[Reader, Reader],
    *,
    paired: bool,
    skip_bad: bool,
    say: Callable[[str], None],
) -> tuple[DataSet, set[tuple[int, int]]]:
    """Checks that every training image can be decoded and cropped.

    Args:
        data: The data set.
        readers: One per domain.
        paired: Check also that partners have equal sizes. A bad image is skipped with its partner.
        skip_bad: Skip bad images instead of raising an error.
        say: Prints a line.

    Returns:
        The data set without bad images, and the sizes (width, height) of its images in training.

    Raises:
        UserError: If there are bad images (all are listed with the reasons), or if none is left.
    """
    sources = dict.fromkeys([*data.train[0], *data.train[1]])
    say(f"checking all {len({one.path for one in sources})} training images before the first step")
    sizes = decode_all(sources, partial(_final_size, readers[0].geometry))
    # Pairs are kept or skipped together, other images one by one.
    pairs = [list(zip(*data.train, strict=True))] if paired else []
    rows = pairs or [[(source,) for source in side] for side in data.train]
    problems = {row: _problems(row, sizes) for side in rows for row in side}
    listed = list(dict.fromkeys(problem for row in problems.values() for problem in row))
    if listed and not skip_bad:
        rest = f"\n  ... and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
        raise UserError(
            f"{len(listed)} images cannot be used. Repair or remove them, or set `data.skip_bad` "
            "to skip them:\n  " + "\n  ".join(listed[:_MAX_LISTED]) + rest
        )
    good = [[row for row in side if not problems[row]] for side in rows]
    train = [row[0] for row in good[0]], [row[-1] for row in good[-1]]
    if not all(train):
        raise UserError(
            f"no image is left in domain {'b' if train[0] else 'a'}, because all are bad. The "
            f"first problem is: {listed[0]}"
        )
    if listed:
        first = "; ".join(listed[:5]) + (" ..." if len(listed) > 5 else "")
        say(f"skipped {len(listed)} bad images: {first}")
    kept = {sizes[source] for side in train for source in side}
    return replace(data, train=train), {size for size in kept if isinstance(size, tuple)}


def _final_size(
    geometry: Geometry, source: Source, image: Image.Image, alpha: object
) -> tuple[int, int] | str:
    """The size of an image in training, or why it cannot be used."""
    width, height = geometry.resized(*image.size)
    if geometry.crops and (width < geometry.size[0] or height < geometry.size[1]):
        return (
            f"{source.path} is {width}x{height} before the crop, smaller than "
            f"{geometry.size[0]}x{geometry.size[1]}. Lower `size`, or choose another "
            "`preprocess.mode`"
        )
    return geometry.final(*image.size)


def _problems(
    row: tuple[Source, ...], sizes: Mapping[Source, tuple[int, int] | str | ImageError]
) -> list[str]:
    """Why an image or a pair cannot be used."""
    problems = [str(sizes[source]) for source in row if not isinstance(sizes[source], tuple)]
    if not problems and sizes[row[0]] != sizes[row[-1]]:
        names = " and ".join(str(source.path) for source in row)
        both = " and ".join("{}x{}".format(*sizes[source]) for source in row)  # pyright: ignore
        problems = [f"{names} differ in size: {both} after preprocessing"]
    return problems
