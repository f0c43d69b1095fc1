"""Looks at a whole data set and says what is wrong with it, what is odd, and what to do about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from transmute.data.config import SourceConfig
from transmute.data.duplicates import Impression, find_twins, impression
from transmute.data.layout import DataSet, Source, by_stem, recognize
from transmute.data.parallel import in_threads
from transmute.images import EXTENSIONS, PictureError, open_picture, picture_mode

DEFAULT_SIZE = 256  # pixels, of the recipes
SHOWN = 10


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

    @property
    def stored_gray(self) -> bool:
        return self.mode in ("1", "L", "LA") or self.mode.startswith("I")


GRAY = "remove them, or the translator learns that some pictures have no color"  # said only where others have color
ODDITIES: list[tuple[str, Callable[[Seen], bool], str]] = [
    ("are stored as grayscale", lambda one: one.stored_gray, GRAY),
    ("look gray though stored in color", lambda one: one.gray and not one.stored_gray, GRAY),
    ("are transparent in places", lambda one: one.transparent, "training lays white under them; --preprocess.background COLOR chooses another color"),
    ("are stored in the colors of printing", lambda one: one.mode == "CMYK", "training sees them converted to sRGB; look whether that is right"),
    ("are stored with 16 bits", lambda one: one.mode.startswith("I"), "training sees 8 of them; scale pictures yourself that do not fill the range"),
]
"""What may be odd about single pictures, how one sees it, and what to do."""


@dataclass(frozen=True)
class Finding:
    """A "problem", which harms training or what is measured of it, or a "remark": it may be as wanted. It concerns `count` files; ten are named."""

    level: Literal["problem", "remark"]
    what: str
    advice: str
    count: int
    files: list[str]


@dataclass(frozen=True)
class Part:
    """The pictures of one domain in one split: how many are of which "WIDTHxHEIGHT" and mode (RGB, L for gray, ...), the most common first."""

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


def examine(folder: Path | None, *, a: Path | None = None, b: Path | None = None, paired: bool = False) -> Examination:
    """Decodes every picture of a data set, for training and held out, and judges the whole.

    Args:
        folder: The data set in any layout that `recognize` knows, unless `a` and `b` name its two folders.
        paired: Pictures of equal name belong together; those side by side in one file always do.

    Raises:
        UserError: If no layout fits, a domain is empty, or nothing is paired.
    """
    source = SourceConfig(a=a, b=b, skip_bad=True)
    data = recognize(folder, source, paired=paired)
    description, halves = data.description, data.train[0][0].half is not None
    if paired and not halves:
        data = recognize(folder, source, paired=False)  # also the pictures without partners
    sources = [side for side in (*data.train, *data.test) if side]
    looks = iter(in_threads(partial(_look, folder), [one for side in sources for one in side], "looking"))
    sides = [list(islice(looks, len(side))) for side in sources]
    folders = [place for place in data.folders for _ in range(2)] if halves else data.folders
    names = [_name(folder, place) + (f" ({side[0].half})" if halves else "") for place, side in zip(folders, sources, strict=True)]
    parts = [_part(name, side) for name, side in zip(names, sides, strict=True)]
    readable = [[one for one in side if not one.error] for side in sides]
    findings = [*_files(data, folder, sides), *_doubles(names, readable, paired=paired or halves), *_counts(names, readable)]
    findings += [finding for name, side in zip(names, readable, strict=True) for finding in _pictures(name, side)]
    for place in range(0, len(names), 2) if paired and not halves else ():
        findings += _pairs(names[place : place + 2], sides[place : place + 2])
    return Examination(description, parts, sorted(findings, key=lambda finding: finding.level))


def _name(folder: Path | None, path: Path) -> str:
    return (path.relative_to(folder) if folder and path.is_relative_to(folder) else path).as_posix()


def _look(folder: Path | None, source: Source) -> Seen:
    name = _name(folder, source.path)
    try:
        image, alpha = open_picture(source.path, half=source.half)
    except PictureError as error:
        return Seen(name, error=str(error))
    red, green, blue = (band.tobytes() for band in image.split())
    transparent = alpha is not None and alpha.getextrema()[0] < 255  # pyright: ignore[reportOperatorIssue] (of one band it is two numbers)
    return Seen(name, "", picture_mode(source.path) or "", image.size, red == green == blue, transparent, impression(image))


def _part(name: str, side: list[Seen]) -> Part:
    good = [one for one in side if not one.error]
    sizes, modes = Counter("{}x{}".format(*one.size) for one in good), Counter(one.mode for one in good)
    return Part(name, len(side), len(side) - len(good), dict(sizes.most_common()), dict(modes.most_common()))


def _counted(level: Literal["problem", "remark"], what: str, advice: str, files: Iterable[str]) -> Iterator[Finding]:
    """A finding that begins with the number of its files, or none where there are none."""
    if files := list(dict.fromkeys(files)):
        yield Finding(level, f"{len(files)} {what}", advice, len(files), files[:SHOWN])


def _files(data: DataSet, folder: Path | None, sides: list[list[Seen]]) -> Iterator[Finding]:
    """What cannot be read, and what is no picture."""
    errors = [one.error for side in sides for one in side if one.error]
    yield from _counted("problem", "pictures cannot be read", "mend or remove them, or train with --data.skip-bad, which leaves them out", errors)
    paths = {path: path.relative_to(place).parts for place in data.folders for path in sorted(place.rglob("*")) if path.is_file()}
    stray = [path for path, parts in paths.items() if path.suffix.lower() not in EXTENSIONS and not any(part.startswith(".") for part in parts)]
    what = "files have not the ending of a picture (jpg, png, webp, bmp, tif, ppm or gif), and training does not see them"
    yield from _counted("remark", what, "convert or rename those that are pictures", [_name(folder, path) for path in stray])


def _counts(names: list[str], sides: list[list[Seen]]) -> Iterator[Finding]:
    few, many = sorted(zip(map(len, sides[:2]), names, strict=False))
    for count, name in (few, many):
        if count < 100:
            advice = "expect a translator that knows little more than these; some hundreds are better"
            yield Finding("remark", f"{name} has only {count} pictures", advice, count, [])
    if many[0] > 10 * few[0] > 0:
        what = f"{many[1]} has {many[0] / few[0]:.0f} times as many pictures as {few[1]}"
        yield Finding("remark", what, f"add to {few[1]}, whose pictures are seen that much more often", few[0], [])
    if len(names) == 2:
        yield Finding("remark", "no pictures are held out", "transmute data split keeps some to judge the translator by", 0, [])


def _pictures(name: str, side: list[Seen]) -> Iterator[Finding]:
    of = f"of {len(side)} pictures of {name}"
    for what, odd, advice in ODDITIES:
        found = [one for one in side if odd(one)]
        if advice is not GRAY or not all(one.gray for one in side):
            modes = ", ".join(Counter(one.mode for one in found))
            yield from _counted("remark", f"{of} {what} ({modes})", advice, [one.name for one in found])
    small = [str(one) for one in side if min(one.size) < DEFAULT_SIZE]
    what = f"{of} are smaller than {DEFAULT_SIZE} pixels, the default size"
    yield from _counted("remark", what, "train at a smaller --size, or they are enlarged and blur", small)
    shapes = sorted((one.size[0] / one.size[1], one.name) for one in side)
    if shapes and shapes[-1][0] > 1.05 * shapes[0][0]:
        what = f"pictures of {name} have different shapes: width by height is {shapes[0][0]:.2f} to {shapes[-1][0]:.2f}"
        advice = "they are squeezed to one shape; --preprocess.mode scale-width-and-crop, or transmute data resize --mode crop, keeps proportions"
        yield Finding("remark", what, advice, len(side), [shapes[0][1], shapes[-1][1]])


def _doubles(names: list[str], sides: list[list[Seen]], *, paired: bool) -> Iterator[Finding]:
    for place, (name, side) in enumerate(zip(names, sides, strict=True)):
        what = f"of {len(side)} pictures of {name} show the same as others in it"
        yield from _counted("remark", what, "keep one of each, unless it shall count as often", _twins(side))
        if place >= 2:
            what = f"of {len(side)} held-out pictures of {name} show the same as others in {names[place - 2]}"
            advice = "remove them from one of the two: what is measured on held-out pictures flatters otherwise"
            yield from _counted("problem", what, advice, _twins(side, sides[place - 2]))
    if not paired:  # partners may look alike
        a, b = ([one for side in sides[domain::2] for one in side] for domain in range(2))
        what = f"of {len(a)} pictures of the first domain show the same as others in the second"
        yield from _counted("remark", what, "remove them from the domain that they do not belong to", _twins(a, b))


def _twins(side: list[Seen], others: list[Seen] | None = None) -> list[str]:
    """Two names each, those that are equal to the pixel first."""
    among = side if others is None else others
    twins = find_twins([one.impression for one in side], None if others is None else [one.impression for one in others])
    ordered = sorted(twins, key=lambda twin: (twin.how != "same", twin))
    return [f"{side[twin.picture].name} and {among[twin.other].name} ({twin.how})" for twin in ordered]


def _pairs(names: list[str], sides: list[list[Seen]]) -> Iterator[Finding]:
    """What does not match between two folders, in which pictures of equal path are partners."""
    stems = [by_stem(Path(name), [Path(one.name) for one in side]) for name, side in zip(names, sides, strict=True)]
    a, b = (dict(zip(keys, side, strict=True)) for keys, side in zip(stems, sides, strict=True))
    alone = [(a | b)[stem].name for stem in sorted(a.keys() ^ b.keys())]
    what = f"pictures of {' and '.join(names)} have no partner"
    yield from _counted("problem", what, "add it, or train with --data.skip-bad, which leaves them out", alone)
    partners = [(a[stem], b[stem]) for stem in a if stem in b and not a[stem].error and not b[stem].error]
    unequal = [f"{one} and {other}" for one, other in partners if one.size != other.size]
    advice = "if they show the same frame, transmute data combine --resize makes them equal"
    yield from _counted("problem", f"pairs of {' and '.join(names)} differ in size", advice, unequal)
