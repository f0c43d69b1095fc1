from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.images.samples import noise
from transmute.images.raster import ImageError, Raster, Tags, alpha_as


def raster(channels: int = 3, kind: str = "uint8", *, alpha: bool = False) -> Raster:
    pixels = noise(channels, kind).reshape(6, 10, channels)
    depth = "uint8" if kind == "uint8" else "uint16" if kind == "uint16" else "float32"
    return Raster(pixels, noise(1, kind) if alpha else None, depth)


def test_resizing_8_bit_rgb_equals_pillows_bicubic_filter() -> None:
    source = raster()
    expected = Image.fromarray(source.pixels).resize((5, 4), Image.Resampling.BICUBIC)
    assert np.array_equal(source.resized((5, 4)).pixels, np.asarray(expected))
    assert source.resized((10, 6)) is source


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_resizing_a_constant_image_with_any_number_of_channels_keeps_it(kind: str) -> None:
    top = {"uint8": 255, "uint16": 65535}.get(kind, 1.5)
    pixels = np.full((6, 10, 7), top, kind)
    resized = Raster(pixels, pixels[:, :, 0]).resized((23, 5))
    assert resized.alpha is not None
    assert resized.pixels.dtype == kind
    assert np.allclose(resized.pixels, top, rtol=1e-6)  # weights add up to 1 in float32
    assert np.allclose(resized.alpha, top, rtol=1e-6)


def test_16_bit_images_keep_their_levels_when_resized() -> None:
    ramp = np.linspace(0, 65535, 4096).round().astype(np.uint16).reshape(64, 64, 1)
    assert len(np.unique(Raster(ramp, depth="uint16").resized((48, 48)).pixels)) > 2000


def test_an_odd_column_between_two_halves_belongs_to_neither() -> None:
    pair = Raster(np.arange(5, dtype=np.uint8)[None, :, None])
    assert pair.half("left").pixels.ravel().tolist() == [0, 1]
    assert pair.half("right").pixels.ravel().tolist() == [3, 4]
    assert pair.half(None) is pair


def test_mirroring_twice_and_cropping_all_change_nothing() -> None:
    source = raster(alpha=True)
    for same in (source.mirrored().mirrored(), source.cropped(0, 0, 10, 6)):
        assert same.alpha is not None
        assert source.alpha is not None
        assert np.array_equal(same.pixels, source.pixels)
        assert np.array_equal(same.alpha, source.alpha)


@pytest.mark.parametrize(("kind", "full"), [("uint8", 255), ("uint16", 65535)])
def test_a_transparent_image_is_flattened_onto_a_color(kind: str, full: int) -> None:
    source = raster(3, kind)
    alpha = np.zeros((6, 10), kind)
    alpha[:, 5:] = full
    flat = Raster(source.pixels, alpha, source.depth).flattened("#102030")
    assert flat.alpha is None
    assert np.allclose(flat.pixels[0, 0], np.array([16, 32, 48]) / 255 * full, atol=0.5)
    assert np.array_equal(flat.pixels[:, 5:], source.pixels[:, 5:])


def test_a_transparent_float_image_has_no_background() -> None:
    source = raster(3, "float32")
    assert source.flattened("white") is source  # it is opaque
    transparent = Raster(source.pixels, np.zeros((6, 10), np.float32), "float32")
    with pytest.raises(ImageError, match=r"float32 values cannot .* Remove `preprocess"):
        transparent.flattened("white")


def test_half_transparent_red_on_white_is_pink() -> None:
    pixels = np.full((1, 1, 3), (255, 0, 0), np.uint8)
    flat = Raster(pixels, np.full((1, 1), 128, np.uint8)).flattened("white")
    assert flat.pixels.ravel().tolist() == [255, 127, 127]


def test_rgb_becomes_gray_as_in_pillow_and_gray_is_repeated() -> None:
    color = raster()
    gray = np.asarray(Image.fromarray(color.pixels).convert("L"))
    assert np.array_equal(color.with_channels(1).pixels[:, :, 0], gray)
    deep = Raster(color.pixels.astype(np.uint16) * 257, depth="uint16").with_channels(1)
    assert np.abs(deep.pixels[:, :, 0] / 257 - gray).max() <= 1  # Pillow rounds to 8 bits
    assert np.array_equal(raster(1).with_channels(3).pixels, raster(1).pixels.repeat(3, axis=2))


def test_alpha_is_the_fourth_channel_where_four_are_expected() -> None:
    source = raster(alpha=True)
    four = source.with_channels(4)
    assert four.alpha is None
    assert source.alpha is not None
    assert np.array_equal(four.pixels, np.dstack([source.pixels, source.alpha]))


def test_other_numbers_of_channels_are_an_error_that_names_the_image() -> None:
    with pytest.raises(ImageError, match=r"x\.tif has 6 channels, but 3 are expected"):
        raster(6).with_channels(3, "x.tif")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_alpha_of_8_bits_survives_a_conversion_and_back(kind: str) -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(alpha_as(alpha_as(levels, np.dtype(kind)), np.dtype(np.uint8)), levels)


def test_a_georeference_is_dropped_with_the_pixels_that_it_is_for() -> None:
    author, scale = (315, 2, 4, "Ann"), (33550, 12, 3, (10.0, 10.0, 0.0))
    raster = Raster(noise(3), tags=Tags(tiff=(author, scale)))
    assert raster.resized(raster.size).tags.tiff == (author, scale)
    assert raster.resized((5, 4)).tags.tiff == (author,)
    assert raster.half("left").tags.tiff == (author,)
