"""Looks at every picture before the first step: better now than in the middle of the night."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from transmute.data.layout import DataSet, Source
from transmute.data.stream import Reader
from transmute.images import PictureError
from transmute.settings import UserError


def checked(
    data: DataSet, readers: tuple[Reader, Reader], *, paired: bool, skip_bad: bool, say: Callable[[str], None]
) -> tuple[DataSet, set[tuple[int, int]]]:
    """The data set, every training picture of which can be decoded and cut, and the (width, height) that training sees of them.

    Args:
        data: What was found.
        readers: One for each domain.
        paired: A bad picture takes its partner with it.
        skip_bad: Leave bad pictures out instead of stopping.
        say: Gets a line about what is done, and one about what was left out.

    Raises:
        UserError: With a list of all bad pictures and why, or if nothing is left.
    """
    say(f"looking at all {len({source.path for side in data.train for source in side})} pictures, before the first step")
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results = [list(pool.map(partial(_looked_at, reader=reader), side)) for side, reader in zip(data.train, readers, strict=True)]
    if paired:
        pairs = list(zip(*data.train, *results, strict=True))
        results = [[_unequal(*pair) or result for pair, result in zip(pairs, side, strict=True)] for side in results]
    found = list(dict.fromkeys(result for side in results for result in side if isinstance(result, str)))
    if found and not skip_bad:
        listed = "\n  ".join(found[:50]) + (f"\n  ... and {len(found) - 50} more" if len(found) > 50 else "")
        raise UserError(f"{len(found)} pictures cannot be used (mend or remove them, or leave them out with --data.skip-bad):\n  {listed}")
    good = [[not isinstance(result, str) for result in side] for side in results]
    if paired:
        good = [[one and other for one, other in zip(*good, strict=True)]] * 2
    kept_a, kept_b = ([source for source, keep in zip(side, keeps, strict=True) if keep] for side, keeps in zip(data.train, good, strict=True))
    if not kept_a or not kept_b:
        raise UserError(f"no picture is left in domain {'b' if kept_a else 'a'}: all are bad, the first because {found[0]}")
    if found:
        say(f"left out {len(found)} bad pictures: {'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}")
    return replace(data, train=(kept_a, kept_b)), {result for side in results for result in side if not isinstance(result, str)}


def _unequal(a: Source, b: Source, of_a: tuple[int, int] | str, of_b: tuple[int, int] | str) -> str | None:
    """What is wrong with a pair both of which are good, if anything."""
    if isinstance(of_a, str) or isinstance(of_b, str) or of_a == of_b:
        return None
    return f"{a.path} and {b.path} differ in size: {of_a[0]}x{of_a[1]} and {of_b[0]}x{of_b[1]} after preprocessing"


def _looked_at(source: Source, reader: Reader) -> tuple[int, int] | str:
    """The size that training sees of a picture, or what is wrong with it."""
    try:
        image = reader.open(source)
    except PictureError as error:
        return str(error)
    geometry = reader.geometry
    (width, height), needed = geometry.resized(*image.size), geometry.size
    if geometry.crops and (width < needed[0] or height < needed[1]):
        sizes = f"{width}x{height} before the crop, smaller than {needed[0]}x{needed[1]}"
        return f"{source.path} is {sizes}: lower --size, or choose another --preprocess.mode"
    return geometry.final(*image.size)
