"""Decodes all images of a data set in threads: to find unusable ones, and to record properties."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from rich.console import Console
from rich.progress import track

from transmute.data.duplicates import ImageHash, image_hash
from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry
from transmute.errors import UserError, shortened
from transmute.images.files import ImageError, crop_half

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> list[Result]:
    """Applies a function to each item in threads (Pillow releases the GIL).

    A terminal shows a progress bar with this title.
    """
    console = Console(stderr=True)
    # The ranks of one machine share a terminal.
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(
            track(pool.map(work, items), title, len(items), console=console, disable=hidden)
        )


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
        records: The readable images.
        errors: For each unreadable file, by name, why it cannot be read.
    """

    name: str
    records: list[Record]
    errors: dict[str, ImageError]

    def summary(self) -> dict[str, Any]:
        """Image counts: all, unreadable, by "WIDTHxHEIGHT" and by mode, most common first."""
        return {
            "name": self.name,
            "images": len(self.records) + len(self.errors),
            "unreadable": len(self.errors),
            "sizes": dict(
                Counter("{}x{}".format(*image.size) for image in self.records).most_common()
            ),
            "modes": dict(Counter(image.mode for image in self.records).most_common()),
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
        return f"{summary['images']:6} images  {sizes}  {modes}"


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


def decode_all(
    sources: Iterable[Source],
    inspect: Callable[[Source, Image.Image, Image.Image | None], Result],
) -> tuple[dict[Source, Result], dict[Source, ImageError]]:
    """Decodes every file once, in threads, and applies a function to each of its images.

    Args:
        sources: Images. Two halves of one file, and repeated images, are decoded once.
        inspect: Called with the source, its image in RGB, and its alpha channel if it has one. May
            raise an ImageError.

    Returns:
        The values returned by `inspect`, and the errors of all other images.
    """
    files: dict[Source, list[Source]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        files[replace(source, half=None)].append(source)

    def inspect_file(file: Source) -> dict[Source, Result | ImageError]:
        try:
            image, alpha = file.open()
            for source in files[file]:
                source.require_pair(*image.size)
            return {
                source: inspect(
                    source,
                    crop_half(image, source.half),
                    crop_half(alpha, source.half) if alpha else None,
                )
                for source in files[file]
            }
        except ImageError as error:
            return dict.fromkeys(files[file], error)

    decoded = [
        item
        for group in in_threads(inspect_file, list(files), "checking images")
        for item in group.items()
    ]
    return (
        {source: result for source, result in decoded if not isinstance(result, ImageError)},
        {source: result for source, result in decoded if isinstance(result, ImageError)},
    )


def require_usable(
    data: DataSet,
    geometry: Geometry,
    *,
    paired: bool,
    skip_bad: bool,
    say: Callable[[str], None],
) -> tuple[DataSet, set[tuple[int, int]]]:
    """Checks that every training image can be decoded and cropped.

    Args:
        data: The data set.
        geometry: Sizes of images in training.
        paired: Check also that partners have equal sizes. A bad image is skipped with its partner.
        skip_bad: Skip bad images instead of raising an error.
        say: Prints a line.

    Returns:
        The data set without bad images, and the sizes (width, height) of its images in training.

    Raises:
        UserError: If there are bad images (all are listed with the reasons), or if none is left.
    """
    sources = [*data.train[0], *data.train[1]]
    say(f"checking all {len({one.path for one in sources})} training images before the first step")
    sizes, problems = decode_all(
        sources, lambda source, image, alpha: _final_size(geometry, source, *image.size)
    )
    if paired:
        for a, b in zip(*data.train, strict=True):
            if a in sizes and b in sizes and sizes[a] != sizes[b]:
                problems[a] = ImageError(
                    "{} and {} differ in size: {}x{} and {}x{} after preprocessing".format(
                        a.path, b.path, *sizes[a], *sizes[b]
                    )
                )
    listed = list(dict.fromkeys(map(str, problems.values())))
    if listed and not skip_bad:
        raise UserError(
            f"{len(listed)} images cannot be used. Repair or remove them, or set `data.skip_bad` "
            "to skip them:\n  " + "\n  ".join(shortened(listed, 50))
        )
    train = _without_bad(data.train, problems.keys(), paired=paired)
    if not all(train):
        raise UserError(
            f"no image is left in domain {'b' if train[0] else 'a'}, because all are bad. The "
            f"first problem is: {listed[0]}"
        )
    if listed:
        say(f"skipped {len(listed)} bad images: {'; '.join(shortened(listed, 5))}")
    return replace(data, train=train), {sizes[source] for side in train for source in side}


def _final_size(geometry: Geometry, source: Source, width: int, height: int) -> tuple[int, int]:
    """The size in training of an image of this size."""
    width, height = geometry.resized(width, height)
    if geometry.crops and (width < geometry.size[0] or height < geometry.size[1]):
        raise ImageError(
            f"{source.path} is {width}x{height} before the crop, smaller than "
            f"{geometry.size[0]}x{geometry.size[1]}. Lower `size`, or choose another "
            "`preprocess.mode`"
        )
    return geometry.size if geometry.crops else (width, height)


def readable(
    sides: tuple[list[Source], list[Source]], *, paired: bool
) -> tuple[list[Source], list[Source]]:
    """Returns the readable images. If paired, only pairs in which both images are readable."""
    _, errors = decode_all([*sides[0], *sides[1]], lambda source, image, alpha: None)
    return _without_bad(sides, errors.keys(), paired=paired)


def _without_bad(
    sides: tuple[list[Source], list[Source]], bad: Set[Source], *, paired: bool
) -> tuple[list[Source], list[Source]]:
    """The images of both domains without bad ones and, if paired, their partners."""
    if paired:
        bad = {
            source
            for pair in zip(*sides, strict=True)
            if not bad.isdisjoint(pair)
            for source in pair
        }
    a, b = ([source for source in side if source not in bad] for side in sides)
    return a, b
