"""Looks at a whole data set and says what is wrong with it, what is odd, and what to do about it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from transmute.data.config import SourceConfig
from transmute.data.duplicates import Impression, Twin, find_twins, impression
from transmute.data.layout import DataSet, Source, by_stem, recognize
from transmute.images import EXTENSIONS, PictureError, open_picture, picture_mode

DEFAULT_SIZE = 256  # pixels, of the recipes
SHOWN = 10
UNUSUAL = {
    "CMYK": ("stored in the colors of printing", "training sees them converted to sRGB; look whether that is right, or convert them yourself"),
    "I": ("stored with 16 bits", "training sees the whole range in 8 bits; scale them yourself if they fill only a part of it"),
}


@dataclass(frozen=True)
class Seen:
    """One picture after a look at it; only `name` and `error` where it cannot be read."""

    name: str
    error: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    gray: bool = False
    transparent: bool = False
    impression: Impression = field(default_factory=lambda: Impression(b"", np.zeros(0)))

    def __str__(self) -> str:
        return f"{self.name} ({self.size[0]}x{self.size[1]})"


class Follow(Protocol):
    """Passes on what comes one by one, and may show how far it has come."""

    def __call__(self, items: Iterator[Seen], total: int) -> Iterable[Seen]: ...


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its owner should know.

    Attributes:
        level: A "problem" harms training or what is measured of it; a "remark" may be as wanted.
        what: What was found.
        advice: What to do about it.
        count: Number of pictures or files concerned.
        files: Up to ten of them.
    """

    level: Literal["problem", "remark"]
    what: str
    advice: str
    count: int
    files: list[str]


@dataclass(frozen=True)
class Part:
    """The pictures of one domain in one split.

    Attributes:
        name: Its folder, below that of the data set where it is there.
        pictures, unreadable: How many there are, and how many of them cannot be read.
        sizes: How many have which "WIDTHxHEIGHT", the most common first.
        modes: How many are stored how: RGB, L (gray), RGBA, CMYK, ...; the most common first.
    """

    name: str
    pictures: int
    unreadable: int
    sizes: dict[str, int]
    modes: dict[str, int]

    def __str__(self) -> str:
        by_area = sorted(self.sizes, key=lambda size: math.prod(int(side) for side in size.split("x")))
        sizes = common = next(iter(self.sizes), "")
        if len(self.sizes) > 1:
            sizes = f"{len(self.sizes)} sizes, {by_area[0]} to {by_area[-1]}, mostly {common} ({self.sizes[common]})"
        return f"{self.pictures:6} pictures  {sizes}  {', '.join(f'{mode} {count}' for mode, count in self.modes.items())}"


@dataclass(frozen=True)
class Examination:
    """What was found in a data set: problems first."""

    description: str
    parts: list[Part]
    findings: list[Finding]


def examine(folder: Path | None, *, a: Path | None = None, b: Path | None = None, paired: bool = False, follow: Follow | None = None) -> Examination:
    """Decodes every picture of a data set, for training and held out, and judges the whole.

    Args:
        folder: The data set in any layout that `recognize` knows, unless `a` and `b` name its two folders.
        paired: Pictures of equal name belong together; those side by side in one file always do.
        follow: Gets what comes picture by picture and the number of pictures, and gives the same; it may show how far it has come.

    Raises:
        UserError: If no layout fits, a domain is empty, or nothing is paired.
    """
    source = SourceConfig(a=a, b=b, skip_bad=True)
    data = recognize(folder, source, paired=paired)
    description, halves = data.description, data.train[0][0].half is not None
    if paired and not halves:
        data = recognize(folder, source, paired=False)  # also the pictures without partners
    sides = [side for split in (data.train, data.test) for side in split]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        looks = pool.map(lambda one: _looked_at(one, folder), [one for side in sides for one in side])
        looks = iter(follow(looks, sum(map(len, sides))) if follow else looks)
        seen = [[next(looks) for _ in side] for side in sides]
        list(looks)  # lets `follow` see the end
    folders = [place for place in data.folders for _ in range(2)] if halves else data.folders
    names = [_name(place, folder) + (f" ({half})" if halves else "") for place, half in zip(folders, ["left", "right"] * 2, strict=False)]
    sides, seen = sides[: len(names)], seen[: len(names)]
    readable = [[one for one in side if not one.error] for side in seen]
    findings = [*_unreadable(seen), *_stray(data, folder), *_counts(names, seen), *_twins(names, readable, paired=paired or halves)]
    findings += [*_colors(names, readable), *_sizes(names, readable)]
    if paired and not halves:
        stems = [by_stem(place, [one.path for one in side]) for place, side in zip(folders, sides, strict=True)]
        looked = [dict(zip(keys, side, strict=True)) for keys, side in zip(stems, seen, strict=True)]
        for place in range(0, len(names), 2):
            findings += _pairs(names[place : place + 2], *looked[place : place + 2])
    parts = [_part(name, side) for name, side in zip(names, seen, strict=True)]
    return Examination(description, parts, sorted(findings, key=lambda finding: finding.level))


def _name(path: Path, folder: Path | None) -> str:
    return (path.relative_to(folder) if folder and path.is_relative_to(folder) else path).as_posix()


def _looked_at(source: Source, folder: Path | None) -> Seen:
    name = _name(source.path, folder)
    try:
        image, alpha = open_picture(source.path, half=source.half)
    except PictureError as error:
        return Seen(name, error=str(error))
    red, green, blue = (band.tobytes() for band in image.split())
    transparent = alpha is not None and alpha.getextrema()[0] < 255  # pyright: ignore[reportOperatorIssue] (of one band it is two numbers)
    return Seen(name, "", picture_mode(source.path) or "", image.size, red == green == blue, transparent, impression(image))


def _part(name: str, side: list[Seen]) -> Part:
    good = [one for one in side if not one.error]
    sizes, modes = (Counter(values).most_common() for values in (("{}x{}".format(*one.size) for one in good), (one.mode for one in good)))
    return Part(name, len(side), len(side) - len(good), dict(sizes), dict(modes))


def _finding(level: Literal["problem", "remark"], what: str, advice: str, files: Iterable[str]) -> Iterator[Finding]:
    """One finding, or none where it concerns no files."""
    if files := list(dict.fromkeys(files)):
        yield Finding(level, what.replace("#", str(len(files)), 1), advice, len(files), files[:SHOWN])


def _unreadable(seen: list[list[Seen]]) -> Iterator[Finding]:
    errors = [one.error for side in seen for one in side if one.error]
    yield from _finding("problem", "# pictures cannot be read", "mend or remove them, or train with --data.skip-bad, which leaves them out", errors)


def _stray(data: DataSet, folder: Path | None) -> Iterator[Finding]:
    inside = {path: path.relative_to(place).parts for place in data.folders for path in sorted(place.rglob("*")) if path.is_file()}
    stray = [path for path, parts in inside.items() if path.suffix.lower() not in EXTENSIONS and not any(part.startswith(".") for part in parts)]
    what = "# files have not the ending of a picture (jpg, png, webp, bmp, tif, ppm or gif), and training does not see them"
    yield from _finding("remark", what, "convert or rename those that are pictures", [_name(path, folder) for path in stray])


def _counts(names: list[str], seen: list[list[Seen]]) -> Iterator[Finding]:
    few, many = sorted((len(side), name) for name, side in zip(names[:2], seen, strict=False))
    for count, name in (few, many):
        if count < 100:
            advice = "expect a translator that knows little more than these; some hundreds are better"
            yield Finding("remark", f"{name} has only {count} pictures", advice, count, [])
    if many[0] > 10 * few[0]:
        what = f"{many[1]} has {many[0] / few[0]:.0f} times as many pictures as {few[1]}"
        yield Finding("remark", what, f"add to {few[1]}, whose pictures are seen that much more often", few[0], [])
    if len(names) == 2:
        yield Finding("remark", "no pictures are held out", "transmute data split keeps some to judge the translator by", 0, [])


def _twins(names: list[str], sides: list[list[Seen]], *, paired: bool) -> Iterator[Finding]:
    for place, (name, side) in enumerate(zip(names, sides, strict=True)):
        lines = _lines(find_twins([one.impression for one in side]), side, side)
        what = f"# of {len(side)} pictures of {name} show the same as others in it"
        yield from _finding("remark", what, "keep one of each, unless it shall count as often", lines)
        if place >= 2:
            twins = find_twins([one.impression for one in side], [one.impression for one in sides[place - 2]])
            what = f"# of {len(side)} held-out pictures of {name} show the same as others in {names[place - 2]}"
            advice = "remove them from one of the two: what is measured on held-out pictures flatters otherwise"
            yield from _finding("problem", what, advice, _lines(twins, side, sides[place - 2]))
    if not paired:  # partners may look alike
        a, b = ([one for side in sides[domain::2] for one in side] for domain in range(2))
        twins = find_twins([one.impression for one in a], [one.impression for one in b])
        what = f"# of {len(a)} pictures of the first domain show the same as others in the second"
        yield from _finding("remark", what, "remove them from the domain that they do not belong to", _lines(twins, a, b))


def _lines(twins: list[Twin], side: list[Seen], others: list[Seen]) -> list[str]:
    """Two names each, those that are equal to the pixel first."""
    ordered = sorted(twins, key=lambda twin: (twin.how != "same", twin))
    return [f"{side[twin.picture].name} and {others[twin.other].name} ({twin.how})" for twin in ordered]


def _colors(names: list[str], sides: list[list[Seen]]) -> Iterator[Finding]:
    for name, side in zip(names, sides, strict=True):
        gray = sorted((one for one in side if one.gray), key=lambda one: one.mode == "RGB")
        stored = ", ".join(f"{count} stored as {mode}" for mode, count in Counter(one.mode for one in gray).items())
        if len(gray) < len(side):
            what = f"# of {len(side)} pictures of {name} are grayscale among colored ones ({stored})"
            yield from _finding("remark", what, "remove them, or the translator learns that some pictures have no color", [one.name for one in gray])
        transparent = [one.name for one in side if one.transparent]
        what = f"# of {len(side)} pictures of {name} are transparent in places"
        yield from _finding("remark", what, "training lays white under them; --preprocess.background COLOR chooses another color", transparent)
        for mode, (what, advice) in UNUSUAL.items():
            files = [one.name for one in side if one.mode.startswith(mode)]
            yield from _finding("remark", f"# of {len(side)} pictures of {name} are {what}", advice, files)


def _sizes(names: list[str], sides: list[list[Seen]]) -> Iterator[Finding]:
    for name, side in zip(names, sides, strict=True):
        small = sorted((one for one in side if min(one.size) < DEFAULT_SIZE), key=lambda one: min(one.size))
        what = f"# of {len(side)} pictures of {name} are smaller than {DEFAULT_SIZE} pixels, the default size"
        yield from _finding("remark", what, "train at a smaller --size, or they are enlarged and blur", map(str, small))
        shapes = sorted(side, key=lambda one: one.size[0] / one.size[1])
        ratios = [one.size[0] / one.size[1] for one in shapes[:1] + shapes[-1:]]
        if shapes and ratios[1] > 1.05 * ratios[0]:
            what = f"pictures of {name} have different shapes: width by height is {ratios[0]:.2f} to {ratios[1]:.2f}"
            advice = "they are squeezed to one shape; --preprocess.mode scale-width-and-crop, or transmute data resize --mode crop, keeps proportions"
            yield Finding("remark", what, advice, len(side), [shapes[0].name, shapes[-1].name])


def _pairs(names: list[str], a: dict[str, Seen], b: dict[str, Seen]) -> Iterator[Finding]:
    """What does not match between two folders, whose pictures of equal key are partners."""
    alone = [(a | b)[stem].name for stem in sorted(a.keys() ^ b.keys())]
    advice = "add it, or train with --data.skip-bad, which leaves them out"
    yield from _finding("problem", f"# pictures of {' and '.join(names)} have no partner", advice, alone)
    partners = [(a[stem], b[stem]) for stem in a if stem in b and not a[stem].error and not b[stem].error]
    unequal = [f"{one} and {other}" for one, other in partners if one.size != other.size]
    advice = "if they show the same frame, transmute data combine --resize makes them equal"
    yield from _finding("problem", f"# pairs of {' and '.join(names)} differ in size", advice, unequal)
