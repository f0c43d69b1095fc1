"""Finds pictures that show the same: copies, and copies in another size, quality, brightness, or mirrored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 16
# Chosen on pictures that were opened (docs/log.md): in horse2zebra the first pair that does not show the same photo has a likeness of 0.49;
# maps of labels, all of a few rectangles, reach a likeness of 0.60 with a correlation of 0.60.
LIKENESS = 0.6  # cosine of the difference hashes
CORRELATION = 0.8  # of the thumbnails
ROWS = 512  # compared at once: against 50,000 others that is 100 MB


class Impression(NamedTuple):
    """What is remembered of a picture to find it again.

    Attributes:
        digest: Equal for equal pixels.
        thumbnail: Mean brightness of 16x16 fields, uint8 (16, 16).
    """

    digest: bytes
    thumbnail: np.ndarray


class Twin(NamedTuple):
    """The picture at one index shows the same as the other at another.

    Attributes:
        how: "same" to the pixel, "nearly" the same, or nearly so when "mirrored" left to right.
    """

    picture: int
    other: int
    how: str


def impression(image: Image.Image) -> Impression:
    """The impression of an opened picture of mode RGB or L."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, salt=f"{image.width}x{image.height}"[:16].encode())
    return Impression(digest.digest(), np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)))


def find_twins(pictures: Sequence[Impression], others: Sequence[Impression] | None = None) -> list[Twin]:
    """For each picture the one among the others that shows the same, if any; without others, the one among the pictures before it.

    Near copies are proposed by a difference hash (whether brightness rises or falls from one field to the next, counted only where it changes by more
    than noise) and verified by the correlation of the thumbnails. Pictures that are nearly of one color are found only when equal to the pixel, and a
    crop that takes away more than a few percent is not found.
    """
    among = pictures if others is None else others
    if not pictures or not among:
        return []
    first = {other.digest: place for place, other in reversed(list(enumerate(among)))}
    places = [first.get(picture.digest) for picture in pictures]
    same = [Twin(index, place, "same") for index, place in enumerate(places) if place is not None and (others is not None or place < index)]
    near = _nearest(*(np.stack([one.thumbnail for one in side]) for side in (pictures, among)), only_before=others is None)
    return sorted({twin.picture: twin for twin in near + same}.values())  # "nearly" comes after "mirrored", "same" after both: the last wins


def _nearest(thumbnails: np.ndarray, among: np.ndarray, *, only_before: bool) -> list[Twin]:
    """Verified near copies of the first in the second, both (number, 16, 16)."""
    hashes, means, found = _signs(among), _standardized(among), []
    for start in range(0, len(thumbnails), ROWS):
        rows = thumbnails[start : start + ROWS]
        columns = hashes[: start + len(rows)] if only_before else hashes
        for how, seen in (("mirrored", rows[:, :, ::-1]), ("nearly", rows)):
            likeness = _signs(seen) @ columns.T
            if only_before:
                likeness[np.arange(len(columns)) >= np.arange(start, start + len(rows))[:, None]] = 0
            best = likeness.argmax(axis=1)
            verified = (_standardized(seen) * means[best]).sum(axis=1) >= CORRELATION
            good = np.nonzero((likeness[np.arange(len(rows)), best] >= LIKENESS) & verified)[0]
            found += [Twin(start + int(row), int(best[row]), how) for row in good]
    return found


def _signs(thumbnails: np.ndarray) -> np.ndarray:
    """The difference hash as unit vectors (number, 480) of rises, falls, and zeros where nothing changes; all zeros where hardly anything does."""
    values = thumbnails.astype(np.float32)
    changes = np.concatenate([np.diff(values, axis=axis).reshape(len(values), -1) for axis in (1, 2)], axis=1)
    signs = np.sign(changes) * (np.abs(changes) > 2)
    counts = np.abs(signs).sum(axis=1, keepdims=True)
    return np.where(counts < 48, 0, signs / np.sqrt(np.maximum(counts, 1)))


def _standardized(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors (number, 256) of mean zero: the product of two is their correlation."""
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
