from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images.samples import noise, tiff_of
from transmute.config.data import Range
from transmute.images.decode import read_image
from transmute.images.ranges import (
    NORMALIZED,
    clipped_fraction,
    displayed,
    find_range,
    full_range,
    normalize,
    normalized,
    pack,
    range_for,
    sample_values,
    shown,
    to_pil,
    to_raster,
    to_tensor,
)
from transmute.images.raster import Depth, ImageError, Raster

RAMP = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (4, 1))


def test_tensors_and_back_preserve_all_levels_of_8_bits() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert normalize(levels).aminmax() == (-1.0, 1.0)
    gray = to_pil(normalize(levels))
    assert gray.mode == "L"
    assert np.array_equal(np.asarray(gray), levels[0])
    raster = Raster(np.asarray(gray)[:, :, None])
    assert torch.equal(to_tensor(raster)[0], normalize(levels))
    assert pack(raster, Range()).dtype == torch.uint8


@pytest.mark.parametrize("depth", ["uint16", "int16"])
def test_tensors_and_back_preserve_all_levels_of_16_bits(depth: Depth) -> None:
    values = full_range(depth)
    levels = np.arange(values.low[0], values.high[0] + 1, dtype=np.float32).reshape(256, 256, 1)
    pixels = levels.astype(np.uint16) if depth == "uint16" else levels
    tensor = to_tensor(Raster(pixels, depth=depth), values)
    assert tensor.aminmax() == (-1.0, 1.0)
    back = to_raster(tensor, values)
    assert back.depth == depth
    assert np.array_equal(back.pixels, pixels)


def test_values_outside_of_the_range_are_clipped_and_counted() -> None:
    assert np.asarray(to_pil(torch.tensor([[[-3.0, 3.0]]]))).tolist() == [[0, 255]]
    values = Range(depth="float32", low=(0.0, -1.0), high=(1.0, 1.0), origin="set")
    pixels = np.array([[[0.5, 0.5], [2.0, -0.5], [-1.0, 5.0], [1.0, -1.0]]], np.float32)
    assert clipped_fraction(pixels, values) == 3 / 8
    assert pack(Raster(pixels, depth="float32"), values)[:, 0, 1].tolist() == [1, -0.5]


def write_inputs(folder: Path) -> dict[str, tuple[Path, np.ndarray]]:
    """Files of values that 8 bits cannot hold, and the values that they contain."""
    paths = {
        name: folder / name for name in ("signed.tif", "float.tif", "offset.png", "twelve.png")
    }
    signed, floats = RAMP.astype("<i2") * 8 - 1024, (RAMP / 255).astype("<f4")
    paths["signed.tif"].write_bytes(tiff_of(signed, sample_format=2))
    paths["float.tif"].write_bytes(tiff_of(floats, sample_format=3))
    offset = (RAMP / 255 * 2000 - 1000 + 32768).round().astype(np.uint16)
    twelve = RAMP.astype(np.uint16) * 16
    Image.fromarray(offset).save(paths["offset.png"])
    Image.fromarray(twelve).save(paths["twelve.png"])
    arrays = (signed, floats, offset, twelve)
    return {name: (paths[name], array) for name, array in zip(paths, arrays, strict=True)}


@pytest.mark.parametrize("name", ["signed.tif", "float.tif", "offset.png", "twelve.png"])
def test_values_span_the_range_that_is_found_for_them(tmp_path: Path, name: str) -> None:
    path, array = write_inputs(tmp_path)[name]
    raster = read_image(path)
    assert np.array_equal(raster.pixels[:, :, 0], array)
    values = find_range(sample_values(raster, 1000), raster.depth)
    tensor = to_tensor(raster, values)
    assert tensor.aminmax() == (-1.0, 1.0)
    assert len(tensor.unique()) == len(np.unique(array)) == 64
    assert np.asarray(shown(raster, values)).std() > 60  # a ramp from black to white has 74


def test_the_range_is_from_the_percentiles_of_each_channel() -> None:
    values = np.stack([np.arange(1001), np.arange(1001) * 2 + 5], axis=1)
    found = find_range(values, "uint16")
    assert found.low == pytest.approx((1, 7))
    assert found.high == pytest.approx((999, 2003))
    assert (found.depth, found.origin) == ("uint16", "percentiles")
    constant = find_range(np.full((9, 1), 7.0), "float32")
    assert (constant.low, constant.high) == ((7.0,), (8.0,))


def test_an_image_of_another_depth_is_refused_unless_its_range_is_known() -> None:
    deep = Raster(noise(3, "uint16"), depth="uint16")
    floats = Raster(noise(3, "float32"), depth="float32")
    assert range_for(deep, Range(), "x") == full_range("uint16")
    set_by_user = Range(depth="uint8", low=(0.0,), high=(1.0,), origin="set")
    assert range_for(floats, set_by_user, "x") == set_by_user
    with pytest.raises(ImageError, match=r"x\.tif has values of type float32, but uint8 values"):
        range_for(floats, Range(), "x.tif")


def test_another_depth_of_the_result_has_all_values_of_its_type() -> None:
    ends = torch.tensor([[[-1.0, 1.0]]])
    assert to_raster(ends, Range(), "uint16").pixels.ravel().tolist() == [0, 65535]
    assert to_raster(ends, full_range("uint16"), "uint8").pixels.ravel().tolist() == [0, 255]
    assert to_raster(ends, Range(), "float32").pixels.ravel().tolist() == [0, 255]


def test_images_of_many_channels_are_shown_by_the_first_three() -> None:
    pixels = noise(6)
    assert np.array_equal(np.asarray(shown(Raster(pixels))), pixels[:, :, :3])
    assert np.array_equal(np.asarray(shown(Raster(pixels[:, :, :2]))), pixels[:, :, 0])
    alpha = pixels[:, :, 3]
    assert np.array_equal(np.asarray(shown(Raster(pixels[:, :, :3], alpha))), pixels[:, :, :4])


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
