from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from transmute.data.duplicates import ImageHash, find_near_duplicates, image_hash
from transmute.images.decode import read_image
from transmute.images.raster import Depth, Raster


def scene(seed: int, side: int = 96) -> Image.Image:
    """Soft blots of color, different for each seed."""
    blots = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file).convert("RGB")


def hashed(image: Image.Image) -> ImageHash:
    return image_hash(read_image(image))


OTHERS = [hashed(scene(seed)) for seed in range(1, 60)]


def kind_of_duplicate(changed: Image.Image) -> str | None:
    """How a changed scene is found among the original and 59 other scenes."""
    found = find_near_duplicates([hashed(changed)], [*OTHERS, hashed(scene(0))])
    assert all(duplicate.other == len(OTHERS) for duplicate in found)
    return found[0].kind if found else None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda image: image, "same"),
        (lambda image: as_jpeg(image, 30), "nearly"),
        (lambda image: image.resize((40, 40), Image.Resampling.BICUBIC), "nearly"),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.7), "nearly"),
        (lambda image: image.convert("L").convert("RGB"), "nearly"),
        (lambda image: image.crop((1, 1, 95, 95)), "nearly"),
        (ImageOps.mirror, "mirrored"),
        (lambda image: image.rotate(90), None),
        (ImageOps.invert, None),
        (lambda image: image.crop((0, 0, 48, 48)), None),
    ],
    ids=[
        "equal",
        "jpeg",
        "smaller",
        "darker",
        "gray",
        "trimmed",
        "mirrored",
        "turned",
        "inverted",
        "a quarter",
    ],
)
def test_copies_are_found_and_different_images_are_not(change, expected: str | None) -> None:
    assert kind_of_duplicate(change(scene(0))) == expected


def test_two_hundred_different_scenes_have_no_duplicates() -> None:
    assert find_near_duplicates([hashed(scene(seed, 32)) for seed in range(200)]) == []


def test_within_one_folder_each_copy_is_found_once_with_an_earlier_image() -> None:
    images = [
        hashed(image) for image in (scene(1), scene(2), scene(1), as_jpeg(scene(2), 60), scene(1))
    ]
    assert [tuple(duplicate) for duplicate in find_near_duplicates(images)] == [
        (2, 0, "same"),
        (3, 1, "nearly"),
        (4, 0, "same"),
    ]


def test_images_of_one_color_are_duplicates_only_if_all_pixels_are_equal() -> None:
    red, darker = (Image.new("RGB", (32, 32), (level, 0, 0)) for level in (255, 254))
    assert find_near_duplicates([hashed(red), hashed(darker)]) == []
    [duplicate] = find_near_duplicates([hashed(red), hashed(red)])
    assert duplicate.kind == "same"


@pytest.mark.parametrize("depth", ["uint16", "int16", "float32"])
def test_copies_of_other_depths_are_found_although_they_use_a_small_part_of_the_range(
    depth: Depth,
) -> None:
    kind = np.uint16 if depth == "uint16" else np.float32
    scenes = [np.asarray(scene(seed)).astype(kind) * 4 for seed in range(3)]
    images = [image_hash(Raster(pixels, depth=depth)) for pixels in (*scenes, scenes[0] // 2)]
    assert [tuple(one) for one in find_near_duplicates(images)] == [(3, 0, "nearly")]


def test_equal_bytes_of_different_shapes_have_different_digests() -> None:
    wide, high = (Image.new("RGB", size) for size in ((8, 4), (4, 8)))
    assert hashed(wide).digest != hashed(high).digest


def test_copies_are_found_across_chunks() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (1300, 16, 16), dtype=np.uint8)
    thumbnails[1299] = thumbnails[3]
    thumbnails[700] = thumbnails[699]
    images = [
        ImageHash(str(index).encode(), thumbnail) for index, thumbnail in enumerate(thumbnails)
    ]
    assert [duplicate[:2] for duplicate in find_near_duplicates(images)] == [(700, 699), (1299, 3)]


def test_no_images_have_no_duplicates() -> None:
    assert (
        find_near_duplicates([])
        == find_near_duplicates([], OTHERS)
        == find_near_duplicates(OTHERS[:1], [])
        == []
    )
