"""Decodes all images of a data set in threads: to find unusable ones, and to record properties."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import track

from transmute.config.data import PreprocessConfig
from transmute.data.duplicates import ImageHash, image_hash
from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry
from transmute.data.values import Say, Values, find_channels, find_values, require_depth
from transmute.errors import UserError, printable, shortened
from transmute.images.decode import open_pages
from transmute.images.ranges import sample_values
from transmute.images.raster import Depth, ImageError, Raster

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
            line += f"  {depths}, {channels} channels, {low:.6g} to {high:.6g}"
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


def decode_all(
    sources: Iterable[Source],
    inspect: Callable[[Source, Raster], Result],
) -> tuple[dict[Source, Result], dict[Source, ImageError]]:
    """Decodes every file once, in threads, and applies a function to each of its images.

    Args:
        sources: Images. Two halves of one file, and repeated images, are decoded once.
        inspect: Called with the source and its image. May raise an ImageError.

    Returns:
        The values returned by `inspect`, and the errors of all other images.
    """
    files: dict[Source, list[Source]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        files[replace(source, half=None, page=0)].append(source)

    def inspect_page(image: Raster, halves: list[Source]) -> dict[Source, Result | ImageError]:
        for source in halves:
            source.require_pair(*image.size)
        return {source: inspect(source, image.half(source.half)) for source in halves}

    def inspect_file(file: Source) -> dict[Source, Result | ImageError]:
        found: dict[Source, Result | ImageError] = {}
        by_page = groupby(sorted(files[file], key=lambda source: source.page), lambda one: one.page)
        try:
            # Opened once, since most readers go through all earlier pages to find one.
            with open_pages(file.path, reader=file.reader, max_pixels=file.max_pixels) as pages:
                for page, group in by_page:
                    halves = list(group)
                    try:
                        found |= inspect_page(pages.read(page), halves)
                    except ImageError as error:
                        found |= dict.fromkeys(halves, error)
        except ImageError as error:
            return dict.fromkeys(files[file], error)
        return found

    decoded = [
        item
        for group in in_threads(inspect_file, list(files), "checking images")
        for item in group.items()
    ]
    return (
        {source: result for source, result in decoded if not isinstance(result, ImageError)},
        {source: result for source, result in decoded if isinstance(result, ImageError)},
    )


class Checked(NamedTuple):
    """A training image that can be used.

    Attributes:
        size: Width and height in training.
        values: Its values.
        notes: What was not applied or read.
    """

    size: tuple[int, int]
    values: Values
    notes: tuple[str, ...]


def require_usable(
    data: DataSet,
    geometry: Geometry,
    preprocess: PreprocessConfig,
    *,
    paired: bool,
    skip_bad: bool,
    say: Say,
) -> tuple[DataSet, dict[Source, Checked]]:
    """Checks that every training image can be decoded, cropped and has the channels of its domain.

    Args:
        data: The data set.
        geometry: Sizes of images in training.
        preprocess: The channels of the domains, if they are set.
        paired: Check also that partners have equal sizes. A bad image is skipped with its partner.
        skip_bad: Skip bad images instead of raising an error.
        say: Prints a line.

    Returns:
        The data set without bad images, and what is known of its images.

    Raises:
        UserError: If there are bad images (all are listed with the reasons), or if none is left.
    """
    wanted = dict.fromkeys(data.train[0], preprocess.channels_a)
    wanted |= dict.fromkeys(data.train[1], preprocess.channels_b)
    sample_size = max(64, 4_000_000 // len(wanted))

    def check(source: Source, image: Raster) -> Checked:
        if preprocess.background is not None:
            image = image.flattened(preprocess.background)
        image = image.with_channels(wanted[source] or image.channels, str(source))
        sample = sample_values(image, sample_size)
        values = Values(str(source), image.depth, image.channels, sample)
        return Checked(_final_size(geometry, source, *image.size), values, image.notes)

    say(f"checking all {len({one.path for one in wanted})} training images before the first step")
    checked, problems = decode_all(wanted, check)
    if paired:
        problems |= _unequal_partners(data, checked)
    listed = list(dict.fromkeys(map(str, problems.values())))
    if listed and not skip_bad:
        raise UserError(
            f"{len(listed)} images cannot be used. Repair or remove them, or set `data.skip_bad` "
            "to skip them:\n  " + "\n  ".join(map(printable, shortened(listed, 50)))
        )
    train = _without_bad(data.train, problems.keys(), paired=paired)
    if not all(train):
        raise UserError(
            f"no image is left in domain {'b' if train[0] else 'a'}, because all are bad. The "
            f"first problem is: {listed[0]}"
        )
    if listed:
        say(f"skipped {len(listed)} bad images: {'; '.join(shortened(listed, 5))}")
    for note, number in Counter(note for one in checked.values() for note in one.notes).items():
        example = next(one.values.name for one in checked.values() if note in one.notes)
        say(f"{number} images, such as {example}: {note}")
    return replace(data, train=train), checked


def _unequal_partners(data: DataSet, checked: Mapping[Source, Checked]) -> dict[Source, ImageError]:
    """For each pair of images of different sizes, the error."""
    return {
        a: ImageError(
            "{} and {} differ in size: {}x{} and {}x{} after preprocessing".format(
                a, b, *checked[a].size, *checked[b].size
            )
        )
        for a, b in zip(*data.train, strict=True)
        if a in checked and b in checked and checked[a].size != checked[b].size
    }


def with_values(
    preprocess: PreprocessConfig,
    data: DataSet,
    checked: Mapping[Source, Checked],
    ranges: tuple[str | None, str | None],
    say: Say,
) -> PreprocessConfig:
    """Fills in the channels and the ranges of the domains that are not known yet.

    Args:
        preprocess: The settings.
        data: The data set, without bad images.
        checked: What is known of its training images.
        ranges: LOW:HIGH of a and of b, if the user has set them.
        say: Prints a line about each range other than 8 bits.

    Raises:
        UserError: If the images of a domain do not have the same type of values, or the same
            number of channels.
    """
    found: dict[str, Any] = {}
    for letter, name, side, given in zip("ab", data.names, data.train, ranges, strict=True):
        images = [checked[source].values for source in side]
        known = dict(preprocess)
        channels = known[f"channels_{letter}"] or find_channels(images, name)
        found[f"channels_{letter}"] = channels
        if known[f"range_{letter}"] is not None and given is None:
            require_depth(images, name, known[f"range_{letter}"])
        else:
            found[f"range_{letter}"] = find_values(images, channels, name, given, say)
    return preprocess.replace(**found)


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
    _, errors = decode_all([*sides[0], *sides[1]], lambda source, image: None)
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
