"""Channels, depth and range of a domain, found from its training images."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from transmute.config.data import PreprocessConfig, Range
from transmute.data.layout import DataSet
from transmute.data.source import Source
from transmute.errors import UserError, counted
from transmute.images.ranges import (
    clipped_fraction,
    find_range,
    normalized,
    require_channels,
    sample_values,
)
from transmute.images.raster import Depth, Raster

Say = Callable[[str], None]


class Checked(NamedTuple):
    """An image that can be used.

    Attributes:
        name: The file, with its page.
        size: Width and height in training.
        depth: Type of the values.
        channels: Number of channels, without alpha.
        sample: Evenly spaced pixels (pixels, channels).
        notes: What was not applied or read.
    """

    name: str
    size: tuple[int, int]
    depth: Depth
    channels: int
    sample: np.ndarray
    notes: tuple[str, ...] = ()


def checked(image: Raster, name: str, size: tuple[int, int], num_images: int) -> Checked:
    """Records an image, with a sample of its values.

    Args:
        image, name: The image.
        size: Width and height in training.
        num_images: Number of images that are sampled: together, they have 4 million pixels.
    """
    sample = sample_values(image, max(64, 4_000_000 // num_images))
    return Checked(name, size, image.depth, image.channels, sample, image.notes)


def common_channels(kinds: Set[tuple[str, int]]) -> int | None:
    """The number of channels in which a domain is trained, unless it is set.

    Args:
        kinds: Type of the values and number of channels of the images.

    Returns:
        3 for images in gray and RGB, and for gray images of 8 bits; otherwise that of the files.
        None if these have different numbers, other than gray and RGB.
    """
    numbers = {channels for _, channels in kinds}
    is_common = all(depth == "uint8" for depth, _ in kinds)
    if numbers == {1, 3} or (is_common and numbers <= {1, 3}):
        return 3
    return numbers.pop() if len(numbers) == 1 else None


def with_values(
    preprocess: PreprocessConfig,
    data: DataSet,
    usable: Mapping[Source, Checked],
    ranges: tuple[str | None, str | None],
    say: Say,
) -> PreprocessConfig:
    """Fills in the channels and the ranges of the domains that are not known yet.

    Args:
        preprocess: The settings.
        data: The data set, without bad images.
        usable: What is known of its training images.
        ranges: LOW:HIGH of a and of b, if the user has set them.
        say: Prints a line about each range other than 8 bits.

    Raises:
        UserError: If the images of a domain do not have the same type of values, or the same
            number of channels.
    """
    found: dict[str, Any] = {}
    for letter, name, side, given in zip("ab", data.names, data.train, ranges, strict=True):
        images = [usable[source] for source in side]
        known = dict(preprocess)
        channels = known[f"channels_{letter}"] or find_channels(images, name)
        found[f"channels_{letter}"] = channels
        if known[f"range_{letter}"] is not None and given is None:
            require_depth(images, name, known[f"range_{letter}"])
        else:
            found[f"range_{letter}"] = find_values(images, channels, name, given, say)
    return preprocess.replace(**found)


def find_channels(images: Sequence[Checked], domain: str) -> int:
    """The number of channels in which a domain is trained, as `common_channels`.

    Raises:
        UserError: If files have different numbers of channels, other than gray and RGB.
    """
    channels = common_channels({(image.depth, image.channels) for image in images})
    if channels is None:
        mixture = _mixture(images, [image.channels for image in images])
        raise UserError(
            f"images of domain {domain} have different numbers of channels: {mixture}. Remove "
            "those that do not belong to it"
        )
    return channels


def _mixture(images: Sequence[Checked], values: Sequence[object]) -> str:
    """How many images have each value, with two examples."""
    listed = " and ".join(
        f"{value} ({counted(number, 'image')})" for value, number in Counter(values).items()
    )
    other = next(index for index, value in enumerate(values) if value != values[0])
    return f"{listed}, such as {images[0].name} and {images[other].name}"


def find_values(
    images: Sequence[Checked], channels: int, domain: str, given: str | None, say: Say
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
    depths = [image.depth for image in images]
    depth = images[0].depth
    if len(set(depths)) > 1:
        raise UserError(
            f"images of domain {domain} have values of different types: "
            f"{_mixture(images, depths)}. Convert them to one type"
        )
    if given is None and depth == "uint8":
        return Range()
    # A sample is converted as an image of one row.
    rows = [Raster(image.sample[None], depth=depth) for image in images]
    sample = np.concatenate([row.with_channels(channels, domain).pixels[0] for row in rows])
    found = Range.parsed(given).replace(depth=depth) if given else None
    values = found or find_range(sample, depth)
    require_channels(values, channels, f"domain {domain}")
    origin = "set" if found else "0.1 and 99.9 percentiles of the training images"
    say(
        f"{domain}: {depth}, {channels} channel{'s' if channels > 1 else ''}, values {values} "
        f"({origin}); {clipped_fraction(sample, values):.1%} of the values are outside and are "
        "clipped"
    )
    return values


def require_depth(images: Sequence[Checked], domain: str, known: Range) -> None:
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


def open_normalized(
    source: Source,
    channels: int,
    background: str | None,
    values: Range,
    resize: Callable[[Raster], Raster],
) -> Raster:
    """Opens an image for metrics, as `normalized`.

    Args:
        source: The image.
        channels: Channels of its domain. If it has one, images keep their colors: translators
            convert them.
        background: As in `Source.open`.
        values: The range of its domain.
        resize: Resizes the image.

    Raises:
        ImageError: If it cannot be read, or has other channels or values.
    """
    raster = source.open(None if channels == 1 else channels, background)
    return normalized(resize(raster), values, str(source))
