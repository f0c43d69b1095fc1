"""Finds copies of images, also at another size, quality or brightness, or mirrored."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from transmute.images.ranges import find_range, sample_values, shown
from transmute.images.raster import Raster

# Both thresholds were chosen by looking at images (docs/log.md). In horse2zebra the most similar
# pair of different photos has a similarity of 0.49. Label maps, all made of a few rectangles,
# reach a similarity of 0.60 with a correlation of 0.60.
MIN_SIMILARITY = 0.6  # cosine of the difference hashes
MIN_CORRELATION = 0.8  # of the thumbnails
CHUNK = 512  # images compared at once, which takes 100 MB against 50,000 others


class ImageHash(NamedTuple):
    """Summary of an image by which its copies are found.

    Attributes:
        digest: Equal for equal pixels.
        thumbnail: Brightness, averaged to uint8 (16, 16).
    """

    digest: bytes
    thumbnail: np.ndarray


class NearDuplicate(NamedTuple):
    """Two images that show the same.

    Attributes:
        image, other: Indices.
        kind: "same" if all pixels are equal, "nearly", or "mirrored" (nearly, left to right).
    """

    image: int
    other: int
    kind: str


def image_hash(image: Raster) -> ImageHash:
    """Hashes an image. Values other than 8 bits are scaled by those of the image."""
    values = None if image.depth == "uint8" else find_range(sample_values(image, 4096), image.depth)
    thumbnail = shown(image, values).convert("L").resize((16, 16), Image.Resampling.BOX)
    digest = hashlib.blake2b(
        image.pixels.tobytes(), salt=f"{image.width}x{image.height}"[:16].encode()
    )
    return ImageHash(digest.digest(), np.asarray(thumbnail))


def find_near_duplicates(
    images: Sequence[ImageHash], others: Sequence[ImageHash] | None = None
) -> list[NearDuplicate]:
    """Finds for each image the most similar one that shows the same, if there is one.

    Candidates come from a difference hash: whether brightness rises or falls from one pixel of the
    thumbnail to the next, ignoring changes as small as noise. The correlation of the thumbnails
    verifies them. Images of nearly one color are found only if all pixels are equal. Crops that
    remove more than a few percent are not found.

    Args:
        images: Images.
        others: Images to compare with. None compares each image with those before it.

    Returns:
        At most one entry per image, in order.
    """
    candidates = images if others is None else others
    if not images or not candidates:
        return []
    thumbnails, known = (np.stack([one.thumbnail for one in side]) for side in (images, candidates))
    hashes, vectors = _difference_hashes(known), _standardized(known)
    found: dict[int, NearDuplicate] = {}
    for start in range(0, len(thumbnails), CHUNK):
        chunk = thumbnails[start : start + CHUNK]
        for kind, view in (("mirrored", chunk[:, :, ::-1]), ("nearly", chunk)):
            similarity = _difference_hashes(view) @ hashes.T
            if others is None:
                similarity = np.tril(similarity, start - 1)  # only images before each
            best = similarity.argmax(axis=1)
            correlation = (_standardized(view) * vectors[best]).sum(axis=1)
            verified = (similarity.max(axis=1) >= MIN_SIMILARITY) & (correlation >= MIN_CORRELATION)
            found |= {
                start + row: NearDuplicate(start + row, int(best[row]), kind)
                for row in np.flatnonzero(verified).tolist()
            }
    first = {one.digest: index for index, one in reversed(list(enumerate(candidates)))}
    found |= {
        index: NearDuplicate(index, first[image.digest], "same")
        for index, image in enumerate(images)
        if image.digest in first and (others is not None or first[image.digest] < index)
    }
    return sorted(found.values())


def _difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors (number, 480) of rises, falls, and zeros where nothing changes.

    The vector is zero if hardly anything changes.
    """
    values = thumbnails.astype(np.float32)
    change = np.hstack([np.diff(values, axis=axis).reshape(len(values), -1) for axis in (1, 2)])
    signs = np.sign(change) * (np.abs(change) > 2)
    counts = np.abs(signs).sum(axis=1, keepdims=True)
    return np.where(counts < 48, 0, signs / np.sqrt(np.maximum(counts, 1)))


def _standardized(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors (number, 256) of mean zero. The product of two is their correlation."""
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
