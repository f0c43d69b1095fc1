from __future__ import annotations

import numpy as np
import pytest
import torch

from transmute.config.data import Range
from transmute.images.ranges import NORMALIZED, displayed, normalized, shown, to_pil
from transmute.images.raster import ImageError, Raster


def test_values_that_are_not_finite_are_shown_as_the_limits_or_black() -> None:
    images = torch.tensor([[[np.nan, np.inf, -np.inf, 0.0]]])
    assert np.asarray(to_pil(images)).tolist() == [[0, 255, 0, 128]]


@pytest.mark.parametrize(
    ("channels", "expected"), [(1, [0]), (2, [0]), (3, [0, 1, 2]), (4, [0, 1, 2]), (6, [0, 1, 2])]
)
def test_the_displayed_channels_are_gray_or_the_first_three(
    channels: int, expected: list[int]
) -> None:
    raster = Raster(np.arange(channels, dtype=np.uint8)[None, None].repeat(4, 0).repeat(5, 1))
    assert displayed(raster).pixels[0, 0].tolist() == expected
    image = shown(raster)
    assert (image.mode, image.size) == ("L" if len(expected) == 1 else "RGB", (5, 4))
    assert np.asarray(image)[0, 0].tolist() == (expected if len(expected) > 1 else expected[0])


def test_normalized_values_are_relative_to_the_range_of_each_channel() -> None:
    pixels = np.array([[[0, 100], [1000, 300]], [[500, 200], [2000, 0]]], np.uint16)
    values = Range(depth="uint16", low=(0, 100), high=(1000, 300), origin="percentiles")
    result = normalized(Raster(pixels, depth="uint16"), values, "the image")
    assert (result.depth, result.alpha) == ("float32", None)
    assert result.pixels.tolist() == [[[-1, -1], [1, 1]], [[0, 0], [1, -1]]]


def test_normalized_8_bits_keep_their_values_without_alpha() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    result = normalized(Raster(pixels, pixels[:, :, 0]), Range(), "the image")
    assert (result.pixels.tolist(), result.depth, result.alpha) == (pixels.tolist(), "uint8", None)
    deep = normalized(Raster(pixels.astype(np.uint16) * 257, depth="uint16"), Range(), "the image")
    np.testing.assert_allclose(deep.pixels, pixels / 127.5 - 1, atol=1e-6)
    with pytest.raises(ImageError, match="values of type uint8, but float32 values"):
        normalized(Raster(pixels), NORMALIZED.replace(origin="percentiles"), "the image")
