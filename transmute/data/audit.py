"""Checks a whole data set: what is wrong, what is unusual, and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transmute.config.data import SourceConfig
from transmute.data.duplicates import find_near_duplicates
from transmute.data.layout import by_stem, recognize
from transmute.data.records import Record, Subset, read_subsets, relative_name
from transmute.data.values import common_channels
from transmute.errors import counted
from transmute.images.find import count_by_extension

_DEFAULT_SIZE = 256  # pixels, of the recipes


@dataclass(frozen=True)
class Finding:
    """A problem, which harms training or its evaluation, or a remark, which may be intended.

    Attributes:
        message: The finding.
        advice: How to fix it.
        files: Names of the files.
    """

    level: Literal["problem", "remark"]
    message: str
    advice: str
    files: list[str]


@dataclass(frozen=True)
class Audit:
    """A data set and its findings, problems first."""

    description: str
    subsets: list[Subset]
    findings: list[Finding]


_NO_COLOR = "Remove them, or the translator learns that some images have no color"
_GRAY_CHECKS: list[tuple[str, Callable[[Record], bool], str]] = [
    ("are stored as grayscale", lambda image: image.channels == 1, _NO_COLOR),
    (
        "look gray, although they are stored in color",
        lambda image: image.is_gray and image.channels == 3,
        _NO_COLOR,
    ),
]
"""Properties that are unusual unless all images have them, and what to do about them."""
_CHECKS: list[tuple[str, Callable[[Record], bool], str]] = [
    (
        "are partly transparent",
        lambda image: image.is_transparent,
        "Training uses the colors under them. `preprocess.background` puts them on a color",
    ),
    (
        "are stored in CMYK, for printing",
        lambda image: image.mode == "CMYK",
        "Training converts them to sRGB. Check whether their colors are right",
    ),
]
"""Properties that are always unusual, and what to do about them."""


def audit(
    folder: Path | None,
    config: SourceConfig = SourceConfig(),  # noqa: B008  (frozen)
    *,
    paired: bool = False,
) -> Audit:
    """Decodes every image of a data set, training and held out, and checks the data set as a whole.

    Args:
        folder: The data set, in any layout that `recognize` supports. None if the config has the
            folders of the domains.
        config: How images are read. Bad ones are findings, whatever it says.
        paired: Images with the same name form a pair. Images side by side in one file always do.

    Raises:
        UserError: If no layout fits, a domain is empty, or no pairs match.
    """
    source = config.replace(skip_bad=True)
    matched = recognize(folder, source, paired=paired)
    halves = matched.train[0][0].half is not None
    # Images without a partner are checked too.
    data = recognize(folder, source, paired=False) if paired and not halves else matched
    subsets = read_subsets(data, folder)
    domains = zip(subsets[::2], subsets[1::2], strict=True) if paired and not halves else ()
    others = [path for files in data.others.values() for path in files]
    findings = [
        *_listed(
            "problem",
            "images cannot be used",
            "Repair or remove them, or set `data.skip_bad` to skip them in training",
            [str(error) for subset in subsets for error in subset.errors.values()],
        ),
        *_listed(
            "remark",
            f"files are not used ({count_by_extension(others)}), since they are not images that "
            "can be read",
            "Convert or rename those that are images",
            [relative_name(folder, path) for path in others],
        ),
        *_duplicates(subsets, paired=paired or halves),
        *_numbers(subsets),
        *(finding for side in (0, 1) for finding in _mixtures(subsets[side::2])),
        *(finding for subset in subsets for finding in _unusual_images(subset)),
        *(finding for both in domains for finding in _unmatched(*both)),
    ]
    return Audit(matched.description, subsets, sorted(findings, key=lambda finding: finding.level))


def _listed(
    level: Literal["problem", "remark"], message: str, advice: str, files: Iterable[str]
) -> Iterator[Finding]:
    """A finding whose message begins with the number of its files, if there are any."""
    if files := list(dict.fromkeys(files)):
        yield Finding(level, f"{len(files)} {message}", advice, files)


def _duplicates(subsets: list[Subset], *, paired: bool) -> Iterator[Finding]:
    for subset in subsets:
        yield from _listed(
            "remark",
            f"of {len(subset.records)} images of {subset.name} are duplicates of others in it",
            "Keep one of each, unless it should count more often",
            _near_duplicates(subset.records),
        )
    for train, test in zip(subsets[:2], subsets[2:], strict=False):  # there may be no held-out ones
        yield from _listed(
            "problem",
            f"of {len(test.records)} held-out images of {test.name} are duplicates of images in "
            f"{train.name}",
            "Remove them from one of the two. Otherwise evaluations are too optimistic",
            _near_duplicates(test.records, train.records),
        )
    if not paired:  # partners may look alike
        a, b = ([image for one in subsets[side::2] for image in one.records] for side in (0, 1))
        yield from _listed(
            "remark",
            f"of {len(a)} images of the first domain are duplicates of images in the second",
            "Remove them from the domain they do not belong to",
            _near_duplicates(a, b),
        )


def _near_duplicates(*sides: list[Record]) -> list[str]:
    """Names of duplicates in one list, or of images in two lists, identical ones first."""
    found = find_near_duplicates(*([image.hash for image in side] for side in sides))
    return [
        f"{sides[0][one.image].name} and {sides[-1][one.other].name} ({one.kind})"
        for one in sorted(found, key=lambda one: one.kind != "same")
    ]


def _numbers(subsets: list[Subset]) -> list[Finding]:
    (few, few_name), (many, many_name) = sorted(
        (len(subset.records), subset.name) for subset in subsets[:2]
    )
    too_few = "A translator learns little more than these images. Some hundreds are better"
    remarks = [
        (few < 100, f"{few_name} has only {counted(few, 'image')}", too_few),
        (many < 100, f"{many_name} has only {counted(many, 'image')}", too_few),
        (
            many > 10 * few > 0,
            f"{many_name} has {many / max(few, 1):.0f} times as many images as {few_name}",
            f"Add images to {few_name}. Each of them is used that much more often",
        ),
        (
            len(subsets) == 2,
            "no images are held out",
            "Hold some out with `split`, to evaluate the translator on",
        ),
    ]
    return [
        Finding("remark", message, advice, []) for applies, message, advice in remarks if applies
    ]


def _mixtures(domain: list[Subset]) -> Iterator[Finding]:
    """Different types of values or numbers of channels in a domain, which training refuses."""
    images, name = [image for subset in domain for image in subset.records], domain[0].name
    kinds = {(one.depth, one.channels) for one in images}
    for word, values, is_mixed, advice in (
        (
            "values",
            [one.depth for one in images],
            len({depth for depth, _ in kinds}) > 1,
            "Convert the images of a domain to one type of values",
        ),
        (
            "channels",
            [one.channels for one in images],
            common_channels(kinds) is None,
            "Remove those that do not belong to the domain",
        ),
    ):
        if is_mixed:
            usual, *others = map(str, dict(Counter(values).most_common()))
            yield from _listed(
                "problem",
                f"of {len(images)} images of {name} have {' or '.join(others)} {word}, unlike the "
                f"others ({usual})",
                advice,
                [
                    f"{one.name} ({value})"
                    for one, value in zip(images, values, strict=True)
                    if str(value) != usual
                ],
            )


def _unusual_images(subset: Subset) -> Iterator[Finding]:
    images, of = subset.records, f"of {len(subset.records)} images of {subset.name}"
    checks = _CHECKS if all(image.is_gray for image in images) else _GRAY_CHECKS + _CHECKS
    for message, is_unusual, advice in checks:
        unusual = [image for image in images if is_unusual(image)]
        yield from _listed(
            "remark",
            f"{of} {message} ({', '.join(dict.fromkeys(image.mode for image in unusual))})",
            advice,
            [image.name for image in unusual],
        )
    for note in dict.fromkeys(note for image in images for note in image.notes):
        noted = [image.name for image in images if note in image.notes]
        yield from _listed("remark", f"{of}: {note}", "Check whether their colors are right", noted)
    yield from _listed(
        "remark",
        f"files of {subset.name} have several pages or frames",
        "Training uses each page as an image. Use only the first ones with `data.pages=first`",
        [image.file for image in images if image.page == 1],
    )
    yield from _listed(
        "remark",
        f"{of} are smaller than {_DEFAULT_SIZE} pixels, the default size",
        "Train with a smaller `size`. Otherwise they are enlarged and look blurred",
        [str(image) for image in images if min(image.size) < _DEFAULT_SIZE],
    )
    shapes = sorted((image.size[0] / image.size[1], image.name) for image in images)
    if shapes and shapes[-1][0] > 1.05 * shapes[0][0]:
        yield Finding(
            "remark",
            f"images of {subset.name} have different proportions: width by height is "
            f"{shapes[0][0]:.2f} to {shapes[-1][0]:.2f}",
            "Training distorts them to one shape. `preprocess.mode=scale-width-and-crop` or "
            "`resize.mode=crop` keeps proportions",
            [shapes[0][1], shapes[-1][1]],
        )


def _unmatched(a: Subset, b: Subset) -> Iterator[Finding]:
    """Images without a partner of the same name, and partners of different sizes or pages."""
    records = {image.file: image for image in (*a.records, *b.records) if not image.page}
    num_pages = Counter(image.file for image in (*a.records, *b.records))
    names = [dict.fromkeys([*(image.file for image in one.records), *one.errors]) for one in (a, b)]
    files_a, files_b = (
        by_stem(Path(one.name), map(Path, files)) for one, files in zip((a, b), names, strict=True)
    )
    yield from _listed(
        "problem",
        f"images of {a.name} and {b.name} have no partner",
        "Add the missing partners, or set `data.skip_bad` to skip these images in training",
        [(files_a | files_b)[stem].as_posix() for stem in sorted(files_a.keys() ^ files_b.keys())],
    )
    pairs = [
        (records.get(files_a[stem].as_posix()), records.get(files_b[stem].as_posix()))
        for stem in sorted(files_a.keys() & files_b.keys())
    ]
    yield from _listed(
        "problem",
        f"pairs of {a.name} and {b.name} differ in size",
        "If they show the same scene, `combine.resize` makes them equal",
        [f"{one} and {two}" for one, two in pairs if one and two and one.size != two.size],
    )
    yield from _listed(
        "problem",
        f"pairs of {a.name} and {b.name} differ in their number of pages",
        "Remove the pages without a partner, or set `data.pages=first`",
        [
            f"{one.file} ({num_pages[one.file]}) and {two.file} ({num_pages[two.file]})"
            for one, two in pairs
            if one and two and num_pages[one.file] != num_pages[two.file]
        ],
    )
