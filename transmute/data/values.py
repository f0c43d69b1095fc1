"""Channels, depth and range of a domain, found from its training images."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from transmute.config.data import Range
from transmute.errors import UserError
from transmute.images.ranges import clipped_fraction, find_range
from transmute.images.raster import Depth

Say = Callable[[str], None]


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


def find_channels(images: Sequence[Values], domain: str) -> int:
    """The number of channels in which a domain is trained, unless it is set.

    3 for images of 8 bits in gray or RGB; otherwise that of the files.

    Raises:
        UserError: If files have different numbers of channels, other than gray and RGB.
    """
    counts = Counter(image.channels for image in images)
    is_common = all(image.depth == "uint8" for image in images)
    if set(counts) == {1, 3} or (is_common and set(counts) <= {1, 3}):
        return 3
    if len(counts) > 1:
        listed = ", ".join(f"{number} images of {channels}" for channels, number in counts.items())
        example = next(image for image in images if image.channels != images[0].channels)
        raise UserError(
            f"images of {domain} have different numbers of channels: {listed} (such as "
            f"{example.name} and {images[0].name}). Remove those that do not belong to it"
        )
    return images[0].channels


def find_values(images: Sequence[Values], domain: str, given: str | None, say: Say) -> Range:
    """The values of a domain that are -1 and 1 for the networks. Prints other values than 8 bits.

    Args:
        images: The training images.
        domain: Name of the domain.
        given: LOW:HIGH set by the user, or None.
        say: Prints a line.

    Raises:
        UserError: If the types of values differ, or the range has another number of channels.
    """
    depths = Counter(image.depth for image in images)
    first = images[0]
    if len(depths) > 1:
        listed = " and ".join(f"{depth} ({number} images)" for depth, number in depths.items())
        example = next(image for image in images if image.depth != first.depth)
        raise UserError(
            f"images of {domain} have values of different types: {listed}, such as {first.name} "
            f"and {example.name}. Convert them to one type"
        )
    if given is None and first.depth == "uint8":
        return Range()
    channels = max(image.channels for image in images)
    sample = np.concatenate([_with_channels(image.sample, channels) for image in images])
    found = Range.parsed(given).replace(depth=first.depth) if given else None
    values = found or find_range(sample, first.depth)
    if len(values.low) not in (1, channels):
        raise UserError(
            f"the range {values} of {domain} has {len(values.low)} channels, but its images have "
            f"{channels}. Set one LOW:HIGH for all, or one for each channel"
        )
    origin = "set" if found else "0.1 and 99.9 percentiles of the training images"
    say(
        f"{domain}: {first.depth}, {channels} channel{'s' if channels > 1 else ''}, values "
        f"{values} ({origin}); {clipped_fraction(sample, values):.1%} of the values are outside "
        "and are clipped"
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
                f"{image.name} has values of type {image.depth}, but {domain} had {known.depth} "
                "when this run started. Convert it, or start another run"
            )


def _with_channels(sample: np.ndarray, channels: int) -> np.ndarray:
    return sample if sample.shape[1] == channels else sample.repeat(channels, axis=1)
