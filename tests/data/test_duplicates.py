from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from transmute.data.duplicates import Impression, find_twins, impression


def scene(seed: int, side: int = 96) -> Image.Image:
    """A picture that looks like no other: soft blots of color."""
    blots = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file).convert("RGB")


OTHERS = [impression(scene(seed)) for seed in range(1, 60)]


def how(changed: Image.Image) -> str | None:
    """How a changed first scene is found among the first and 59 others."""
    twins = find_twins([impression(changed)], [*OTHERS, impression(scene(0))])
    assert all(twin.other == len(OTHERS) for twin in twins)
    return twins[0].how if twins else None


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
    ids=["equal", "jpeg", "smaller", "darker", "gray", "trimmed", "mirrored", "turned", "inverted", "a quarter"],
)
def test_copies_are_found_and_what_shows_something_else_is_not(change, expected: str | None) -> None:
    assert how(change(scene(0))) == expected


def test_two_hundred_different_scenes_have_no_twins() -> None:
    assert find_twins([impression(scene(seed, 32)) for seed in range(200)]) == []


def test_within_one_folder_each_copy_is_found_once_and_points_to_an_earlier_picture() -> None:
    pictures = [impression(image) for image in (scene(1), scene(2), scene(1), as_jpeg(scene(2), 60), scene(1))]
    assert [(twin.picture, twin.other, twin.how) for twin in find_twins(pictures)] == [(2, 0, "same"), (3, 1, "nearly"), (4, 0, "same")]


def test_pictures_of_one_color_are_twins_only_to_the_pixel() -> None:
    red, darker = (Image.new("RGB", (32, 32), (level, 0, 0)) for level in (255, 254))
    assert find_twins([impression(red), impression(darker)]) == []
    assert [twin.how for twin in find_twins([impression(red), impression(red)])] == ["same"]


def test_equal_bytes_of_another_shape_are_another_picture() -> None:
    wide, high = (Image.new("RGB", size) for size in ((8, 4), (4, 8)))
    assert impression(wide).digest != impression(high).digest


def test_copies_are_found_across_the_borders_of_what_is_compared_at_once() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (1300, 16, 16), dtype=np.uint8)
    thumbnails[1299] = thumbnails[3]
    thumbnails[700] = thumbnails[699]
    pictures = [Impression(str(index).encode(), thumbnail) for index, thumbnail in enumerate(thumbnails)]
    assert [twin[:2] for twin in find_twins(pictures)] == [(700, 699), (1299, 3)]


def test_nothing_has_no_twins() -> None:
    assert find_twins([]) == find_twins([], OTHERS) == find_twins(OTHERS[:1], []) == []
