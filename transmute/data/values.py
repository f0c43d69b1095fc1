"""Channels, depth and range of a domain, found from its training images."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from transmute.config.data import Range
from transmute.errors import UserError
from transmute.images.ranges import clipped_fraction, find_range
from transmute.images.raster import Depth, Raster

Say = Callable[[str], None]


class Typed(Protocol):
    """An image of which name, type of values and number of channels are known."""

    @property
    def name(self) -> str: ...
    @property
    def depth(self) -> Depth: ...
    @property
    def channels(self) -> int: ...


class Values(NamedTuple):
    """The values of an image, as read.

    Attributes:
        name: The file.
        depth: Type of the values.
        channels: Number of channels, without alpha.
        sample: Evenly spaced pixels (pixels, channels).
    """

    name: str
    depth: Depth
    channels: int
    sample: np.ndarray


def require_one_depth(images: Sequence[Typed], domain: str) -> None:
    """Checks that all images have values of the same type.

    Raises:
        UserError: If they differ.
    """
    counts = Counter(image.depth for image in images)
    if len(counts) > 1:
        listed = " and ".join(f"{depth} ({number} images)" for depth, number in counts.items())
        example = next(image for image in images if image.depth != images[0].depth)
        raise UserError(
            f"images of domain {domain} have values of different types: {listed}, such as "
            f"{images[0].name} and {example.name}. Convert them to one type"
        )


def find_channels(images: Sequence[Typed], domain: str) -> int:
    """The number of channels in which a domain is trained, unless it is set.

    3 for images in gray and RGB, and for gray images of 8 bits; otherwise that of the files.

    Raises:
        UserError: If files have different numbers of channels, other than gray and RGB.
    """
    counts = Counter(image.channels for image in images)
    is_common = all(image.depth == "uint8" for image in images)
    if set(counts) == {1, 3} or (is_common and set(counts) <= {1, 3}):
        return 3
    if len(counts) > 1:
        listed = " and ".join(f"{channels} ({count} images)" for channels, count in counts.items())
        example = next(image for image in images if image.channels != images[0].channels)
        raise UserError(
            f"images of domain {domain} have different numbers of channels: {listed}, such as "
            f"{images[0].name} and {example.name}. Remove those that do not belong to it"
        )
    return images[0].channels


def find_values(
    images: Sequence[Values], channels: int, domain: str, given: str | None, say: Say
) -> Range:
    """The values of a domain that are -1 and 1 for the networks. Prints other values than 8 bits.

    Args:
        images: The training images.
        channels: Number of channels in training.
        domain: Name of the domain.
        given: LOW:HIGH set by the user, or None.
        say: Prints a line.

    Raises:
        UserError: If the types of values differ, or the range has another number of channels.
    """
    require_one_depth(images, domain)
    depth = images[0].depth
    if given is None and depth == "uint8":
        return Range()
    # A sample is converted as an image of one row.
    rows = [Raster(image.sample[None], depth=depth) for image in images]
    sample = np.concatenate([row.with_channels(channels, domain).pixels[0] for row in rows])
    found = Range.parsed(given).replace(depth=depth) if given else None
    values = found or find_range(sample, depth)
    if len(values.low) not in (1, channels):
        raise UserError(
            f"the range {values} of domain {domain} has {len(values.low)} channels, but its images "
            f"have {channels}. Set one LOW:HIGH for all, or one for each channel"
        )
    origin = "set" if found else "0.1 and 99.9 percentiles of the training images"
    say(
        f"{domain}: {depth}, {channels} channel{'s' if channels > 1 else ''}, values {values} "
        f"({origin}); {clipped_fraction(sample, values):.1%} of the values are outside and are "
        "clipped"
    )
    return values


def require_depth(images: Sequence[Values], domain: str, known: Range) -> None:
    """Checks that images have the type of values of their domain.

    Raises:
        UserError: If one has another.
    """
    for image in images:
        if image.depth != known.depth:
            raise UserError(
                f"{image.name} has values of type {image.depth}, but domain {domain} had "
                f"{known.depth} when this run started. Convert it, or start another run"
            )
