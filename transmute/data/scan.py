"""Decodes images of a data set in threads, and finds those that cannot be used."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from transmute.config.data import PreprocessConfig
from transmute.data.layout import DataSet
from transmute.data.preprocess import Geometry
from transmute.data.source import Source
from transmute.data.values import Checked, Say, checked
from transmute.errors import UserError, counted, printable, shortened
from transmute.images.decode import open_pages
from transmute.images.ranges import range_for
from transmute.images.raster import ImageError, Raster

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

    def check(source: Source, image: Raster) -> Checked:
        if preprocess.background is not None:
            image = image.flattened(preprocess.background)
        image = image.with_channels(wanted[source] or image.channels, str(source))
        size = _final_size(geometry, source, *image.size)
        return checked(image, str(source), size, len(wanted))

    say(f"checking all {len({one.path for one in wanted})} training images before the first step")
    usable, problems = decode_all(wanted, check)
    if paired:
        problems |= _unequal_partners(data, usable)
    listed = list(dict.fromkeys(map(str, problems.values())))
    _refuse([] if skip_bad else listed, "images")
    train = _without_bad(data.train, problems.keys(), paired=paired)
    if not all(train):
        raise UserError(
            f"no image is left in domain {'b' if train[0] else 'a'}, because all are bad. The "
            f"first problem is: {listed[0]}"
        )
    if listed:
        say(f"skipped {counted(len(listed), 'bad image')}: {'; '.join(shortened(listed, 5))}")
    for note, number in Counter(note for one in usable.values() for note in one.notes).items():
        example = next(one.name for one in usable.values() if note in one.notes)
        say(f"{counted(number, 'image')}, such as {example}: {note}")
    return replace(data, train=train), usable


def _unequal_partners(data: DataSet, usable: Mapping[Source, Checked]) -> dict[Source, ImageError]:
    """For each pair of images of different sizes, the error."""
    return {
        a: ImageError(
            "{} and {} differ in size: {}x{} and {}x{} after preprocessing".format(
                a, b, *usable[a].size, *usable[b].size
            )
        )
        for a, b in zip(*data.train, strict=True)
        if a in usable and b in usable and usable[a].size != usable[b].size
    }


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


def require_measurable(
    sides: tuple[list[Source], list[Source]],
    preprocess: PreprocessConfig,
    *,
    paired: bool,
    skip_bad: bool,
) -> tuple[list[Source], list[Source]]:
    """Checks that held-out images can be decoded, with the channels and values of their domains.

    Returns:
        The images that can be used and, if paired, whose partners can.

    Raises:
        UserError: If there are bad images, all of which are listed, and they are not skipped.
    """
    domains = dict.fromkeys(sides[0], 0) | dict.fromkeys(sides[1], 1)

    def check(source: Source, image: Raster) -> None:
        domain = domains[source]
        image.with_channels(preprocess.channels[domain], str(source))
        range_for(image, preprocess.ranges[domain], str(source))

    _, problems = decode_all(domains, check)
    _refuse([] if skip_bad else [str(error) for error in problems.values()], "held-out images")
    return _without_bad(sides, problems.keys(), paired=paired)


def _refuse(problems: list[str], what: str) -> None:
    """Raises an error that lists bad images with the reasons, if there are any."""
    if problems:
        listed = "\n  ".join(map(printable, shortened(problems, 50)))
        raise UserError(
            f"{len(problems)} {what} cannot be used. Repair or remove them, or set "
            f"`data.skip_bad` to skip them:\n  {listed}"
        )


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
