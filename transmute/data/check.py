"""Looks at every picture before the first step: better now than in the middle of the night."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry
from transmute.data.stream import Reader
from transmute.images import PictureError
from transmute.settings import UserError


def checked(data: DataSet, readers: tuple[Reader, Reader], *, paired: bool, skip_bad: bool, say: Callable[[str], None]) -> DataSet:
    """The data set, every training picture of which can be decoded and cut.

    Args:
        data: What was found.
        readers: One for each domain.
        paired: A bad picture takes its partner with it.
        skip_bad: Leave bad pictures out instead of stopping.
        say: Gets one line about what was left out.

    Raises:
        UserError: With a list of all bad pictures and why, or if nothing is left.
    """
    say(f"looking at all {sum(len(side) for side in data.train)} pictures once, before the first step")
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        problems = [list(pool.map(lambda source: _problem(source, reader), side)) for side, reader in zip(data.train, readers, strict=True)]  # noqa: B023
    found = [problem for side in problems for problem in side if problem]
    if not found:
        return data
    if not skip_bad:
        listed = "\n  ".join(found[:50]) + (f"\n  ... and {len(found) - 50} more" if len(found) > 50 else "")
        raise UserError(f"{len(found)} pictures cannot be used (mend or remove them, or leave them out with --data.skip-bad):\n  {listed}")
    if paired:
        problems = [[one or other for one, other in zip(*problems, strict=True)]] * 2
    kept_a, kept_b = (
        [source for source, problem in zip(side, of_side, strict=True) if not problem] for side, of_side in zip(data.train, problems, strict=True)
    )
    if not kept_a or not kept_b:
        raise UserError(f"no picture is left in domain {'b' if kept_a else 'a'}: all are bad, the first because {found[0]}")
    say(f"left out {len(found)} bad pictures: {'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}")
    return replace(data, train=(kept_a, kept_b))


def _problem(source: Source, reader: Reader) -> str | None:
    try:
        image = reader.open(source)
    except PictureError as error:
        return str(error)
    width, height = reader.geometry.resized(*image.size)
    needed = reader.geometry.size
    if reader.geometry.crops and (width < needed[0] or height < needed[1]):
        sizes = f"{width}x{height} before the crop, smaller than {needed[0]}x{needed[1]}"
        return f"{source.path} is {sizes}: lower --size, or choose another --preprocess.mode"
    return None


def common_size(data: DataSet, readers: tuple[Reader, Reader], geometry: Geometry) -> tuple[int, int] | None:
    """The (width, height) that training sees of every picture, or None where they differ."""
    if geometry.crops:
        return geometry.size
    sizes = {geometry.final(*reader.open(source).size) for side, reader in zip(data.train, readers, strict=True) for source in side}
    return sizes.pop() if len(sizes) == 1 else None
