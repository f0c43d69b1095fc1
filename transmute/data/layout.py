"""Recognizes the layout of a data set on disk, and lists its images."""

import contextlib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from transmute import plugins
from transmute.config.data import SourceConfig
from transmute.data.source import PairError, Source
from transmute.errors import UserError, counted, printable, shortened
from transmute.images.decode import count_pages
from transmute.images.find import find_images, find_others, require_images
from transmute.images.raster import ImageError

_EXPECTED = (
    "Expected: trainA and trainB, train/A and train/B, side by side images in train, or two "
    "folders passed as `data.a` and `data.b`"
)
_SIDE_BY_SIDE = "side by side images, a left, b right"
_Layout = tuple[tuple[str, str], str, tuple[Path, ...], tuple[Path, ...]]
"""Names of the domains, the kind of data set, the folders of both domains, and those of held-out
images, which may be missing or empty."""


@dataclass(frozen=True)
class DataSet:
    """The images of two domains. In a paired set, images of equal index show the same scene.

    Attributes:
        description: The layout and the numbers of images, for printing.
        names: Names of the domains.
        train, test: Images of a and of b for training, and held-out ones.
        folders: Training folders of a and of b, then the held-out ones if there are any.
        others: Files that are not used because they are not images, by folder (`find_others`).
    """

    description: str
    names: tuple[str, str]
    train: tuple[list[Source], list[Source]]
    test: tuple[list[Source], list[Source]]
    folders: tuple[Path, ...]
    others: Mapping[Path, Sequence[Path]] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Hash that changes if training images are added or removed, or their file size changes.

        It does not change if the whole data set is moved.
        """
        lines = "".join(
            f"{one.path.parent.name}/{one.path.name}:{_num_bytes(one.path)}:{one.half}"
            f"{f':{one.page}' if one.page else ''}\n"
            for one in (*self.train[0], *self.train[1])
        )
        return hashlib.sha256(os.fsencode(lines)).hexdigest()[:16]


def recognize(
    folder: Path | None, config: SourceConfig, *, paired: bool, one_domain: bool = False
) -> DataSet:
    """Finds the images of a data set.

    Known layouts are `trainA trainB` (with `testA testB` or `valA valB`), `train_A train_B`,
    `train/A train/B`, `A B`, side by side images in `train` (or, if paired, in the folder itself),
    a folder (or its `train`) with exactly two folders of images, and the two folders of the config.

    Args:
        folder: The data set, unless its two folders are in the config.
        config: Folders, reader, and how many images to use.
        paired: Whether the data is paired; images in two folders are matched by name.
        one_domain: Use the images of one folder (its `train`, if it has one) for both domains.

    Raises:
        UserError: If no layout fits, a domain is empty, pairs do not match, or the reader cannot be
            loaded.
    """
    if config.reader is not None:
        # Load now, so that errors surface early and only one thread imports it.
        plugins.load(config.reader)
    names, kind, train_folders, test_folders = _folders(folder, config, one_domain, paired)
    halves = ("left", "right") if kind == _SIDE_BY_SIDE else (None, None)
    train, skipped, several = _sources(train_folders, halves, config, paired)
    test = [[], []]
    folders = () if config.reader else (*train_folders, *test_folders)
    others = find_others(dict.fromkeys(folders))
    if test_folders:
        with contextlib.suppress(UserError):  # no images, or none that match
            skip_bad = config.replace(skip_bad=True)
            test, more, others_with_pages = _sources(test_folders, halves, skip_bad, paired)
            skipped, several = skipped + more, several | others_with_pages
    listed = list(dict.fromkeys(map(str, train_folders)))
    num_train, num_test = (
        " and ".join(str(len(side)) for side in split[: len(listed)]) for split in (train, test)
    )
    first, second = (1, 0) if config.swap else (0, 1)
    held_out = (test_folders[first], test_folders[second]) if test[0] else ()
    kind += ", a and b exchanged" if config.swap else ""
    notes = f", {skipped} without a partner skipped" if skipped else ""
    if several and config.pages == "all":
        notes += f"; {len(several)} files have several pages, each of which is an image"
    elif several:
        notes += f"; only the first page of {counted(len(several), 'file')} is used"
    return DataSet(
        f"{' and '.join(listed)} ({kind}): {num_train} training images, {num_test} held out{notes}",
        (printable(names[first]), printable(names[second])),
        (train[first], train[second]),
        (test[first], test[second]),
        (train_folders[first], train_folders[second], *held_out),
        others,
    )


def domain_names(name: str) -> tuple[str, str]:
    """Derives domain names from the data set's: horse and zebra from horse2zebra, else a and b."""
    match = re.fullmatch(r"([^\W\d_][\w-]*?)2([^\W\d_][\w-]*)", name)
    return (match[1], match[2]) if match else ("a", "b")


def by_stem(folder: Path, images: Iterable[Path]) -> dict[str, Path]:
    """Images keyed by relative path without extension, the key used to match pairs.

    An é is the same whether it is written as one code point or, as some file systems do, as two.

    Raises:
        UserError: If two images differ only in their extension.
    """
    stems: dict[str, Path] = {}
    for path in images:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        other = stems.setdefault(unicodedata.normalize("NFC", stem), path)
        if other is not path:
            raise UserError(
                f"{other} and {path} have the same name, and pairs are matched by name without "
                "extension. Rename or remove one of them"
            )
    return stems


def match_pairs(folders: Sequence[Path], images: Iterable[list[Path]]) -> list[dict[str, Path]]:
    """Returns the images of each folder, keyed as by `by_stem`, the key used to match pairs.

    Raises:
        UserError: If no name is in both folders, or names are ambiguous.
    """
    a, b = (by_stem(folder, paths) for folder, paths in zip(folders, images, strict=True))
    if not a.keys() & b.keys():
        raise UserError(
            f"no image in {folders[0]} has the same name as one in {folders[1]}. Pairs are matched "
            "by file name without extension"
        )
    return [a, b]


def _num_bytes(path: Path) -> int | None:
    """Size of a file, or None for a broken link."""
    return path.stat().st_size if path.exists() else None


def _folders(folder: Path | None, config: SourceConfig, one_domain: bool, paired: bool) -> _Layout:
    """Tries all layouts that `recognize` supports.

    Rejects a folder of side by side images if the first is too narrow, unless it may be skipped.
    """
    kind = "pairs matched by name" if paired else "unpaired"
    if (config.a or config.b) and not one_domain:
        if folder or not (config.a and config.b):
            raise UserError(
                "`data.a` and `data.b` must be set together, without a data set. Pass either "
                f"the data set{f' {folder}' if folder else ''} or these two folders, not both"
            )
        a, b = config.a.resolve().name, config.b.resolve().name
        return (a, b) if a != b else ("a", "b"), kind, (config.a, config.b), ()
    folder = folder or config.a
    if folder is None or not folder.is_dir():
        raise UserError(
            (f"{folder} is not a folder" if folder else "no images were specified")
            + ". Pass the folder of a data set, or two folders with `data.a` and `data.b`"
        )
    inside, names = folder / "train", domain_names(folder.resolve().name)
    held_out = folder / ("test" if (folder / "test").is_dir() else "val")
    top = inside if inside.is_dir() else folder
    if one_domain:
        test = (held_out, held_out) if top == inside else ()
        return ("gray", "color"), "one domain", (top, top), test
    if train := _domain_folders(folder, "train", "train_", "train/", ""):
        test = _domain_folders(folder, "test", "test_", "test/", "val", "val_", "val/")
        return names, kind, train, test
    any_extension = config.reader is not None
    if not (images := find_images(top, any_extension=any_extension)):
        top, images = folder, find_images(folder, any_extension=any_extension)
    below = [
        path.name
        for path in sorted(top.iterdir())
        if path.is_dir()
        and not path.name.startswith(".")
        and find_images(path, any_extension=any_extension)
    ]
    if len(below) == 2 and not any(path.parent == inside for path in images):
        train, test = ((place / below[0], place / below[1]) for place in (top, held_out))
        return (below[0], below[1]), kind, train, test
    if images and (top == inside or (paired and not below)):
        try:
            Source(images[0], "left", config.reader, any_shape=config.side_by_side).open()
        except ImageError as error:  # those of other images are found when all are checked
            if isinstance(error, PairError) and not config.skip_bad:
                raise UserError(f"{error}. {_EXPECTED}") from None
        return names, _SIDE_BY_SIDE, (top, top), (held_out, held_out)
    raise UserError(
        f"{top} must contain exactly 2 folders with images, but contains "
        f"{', '.join(below) or 'none'}. {_EXPECTED}"
    )


def _domain_folders(folder: Path, *prefixes: str) -> tuple[Path, ...]:
    """The folders of both domains: paths that are a prefix followed by A or B, in any case."""
    known = {
        path.relative_to(folder).as_posix().lower(): path
        for path in sorted([*folder.glob("*/"), *folder.glob("*/*/")])
    }
    for prefix in prefixes:
        a, b = (known.get(f"{prefix}{letter}") for letter in "ab")
        if a and b:
            return a, b
        if (one := a or b) and prefix.startswith("train"):
            raise UserError(
                f"{folder} has {one.relative_to(folder).as_posix()} but no "
                f"{prefix}{'B' if a else 'A'}. Both domains are required"
            )
    return ()


def _sources(
    folders: tuple[Path, ...], halves: Sequence[str | None], config: SourceConfig, paired: bool
) -> tuple[list[list[Source]], int, set[Path]]:
    """Lists the images of both domains, which may be in one folder.

    Returns:
        The images, the number of skipped files, and the used files of several pages.
    """
    images = [
        require_images(folder, any_extension=config.reader is not None)
        for folder in dict.fromkeys(folders)
    ]
    num_pages = cache(lambda path: 1 if config.reader else count_pages(path))
    skipped = 0
    if paired and len(images) == 2:
        a, b = match_pairs(folders, images)
        alone = sorted(a.keys() ^ b.keys())
        if alone and not config.skip_bad:
            raise UserError(
                f"{counted(len(alone), 'image')} without a partner in the other folder "
                f"({', '.join(shortened(alone, 5))}). Add the missing partners, remove these "
                "images, or set `data.skip_bad` to skip them"
            )
        stems = sorted(a.keys() & b.keys())
        if config.pages == "all":
            unequal = [stem for stem in stems if num_pages(a[stem]) != num_pages(b[stem])]
            if unequal and not config.skip_bad:
                one, two = a[unequal[0]], b[unequal[0]]
                raise UserError(
                    f"{one} has {num_pages(one)} pages and its partner {two} has {num_pages(two)}. "
                    "Remove the pages without a partner, use only first pages with "
                    "`data.pages=first`, or set `data.skip_bad` to skip both files"
                )
            stems = [stem for stem in stems if stem not in unequal]
        skipped = len(a) + len(b) - 2 * len(stems)
        images = [[side[stem] for stem in stems] for side in (a, b)]
    images = [paths[: config.max_images] for paths in images]
    sides = [
        [
            Source(path, half, config.reader, page, config.max_pixels, config.side_by_side)
            for path in paths
            for page in range(num_pages(path) if config.pages == "all" else 1)
        ][: config.max_images]
        for paths, half in zip((images[0], images[-1]), halves, strict=True)
    ]
    several = {path for paths in images for path in paths if num_pages(path) > 1}
    return sides, skipped, several
