from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from transmute.config.data import PreprocessConfig
from transmute.data.preprocess import Geometry
from transmute.images.raster import Raster
from transmute.recipes import RECIPES


def image(width: int, height: int) -> Raster:
    """Red increases to the right, green downwards, so that a pixel gives its position."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Raster(np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8))


def geometry(mode: Any, size: str, load: str | None = None, stride: int = 4) -> Geometry:
    return Geometry.of(PreprocessConfig(mode=mode, load_size=load), size, stride)


def corner(image: Raster) -> tuple[int, int]:
    red, green, _ = image.pixels[0, 0].tolist()
    return red, green


@pytest.mark.parametrize(
    ("mode", "size", "load", "original", "resized", "final"),
    [
        ("resize-and-crop", "256x256", None, (100, 50), (286, 286), (256, 256)),
        ("resize-and-crop", "512x256", None, (100, 50), (572, 286), (512, 256)),
        ("resize-and-crop", "64x64", "80x70", (100, 50), (80, 70), (64, 64)),
        ("crop", "64x32", None, (100, 50), (100, 50), (64, 32)),
        ("scale-width", "64x64", None, (128, 256), (72, 144), (72, 144)),
        ("scale-width", "64x64", "64x64", (128, 64), (64, 64), (64, 64)),
        ("scale-width", "64x16", "64x64", (128, 75), (64, 36), (64, 36)),
        ("scale-width-and-crop", "64x64", "80x80", (160, 200), (80, 100), (64, 64)),
        ("scale-width-and-crop", "64x64", "80x80", (160, 100), (80, 64), (64, 64)),
        ("none", "256x256", None, (101, 51), (100, 52), (100, 52)),
        ("cover-and-crop", "64x64", "80x80", (160, 100), (128, 80), (64, 64)),
        # Fractions of a pixel are dropped: 286 * 100 / 53 is 539.6, and 80 * 55 / 96 is 45.8.
        ("cover-and-crop", "256x256", None, (100, 53), (539, 286), (256, 256)),
        ("scale-width-and-crop", "16x16", "80x80", (96, 55), (80, 45), (16, 16)),
        ("cover-and-crop", "64x32", "80x40", (100, 100), (80, 80), (64, 32)),
    ],
)
def test_sizes_before_and_after_the_crop(mode, size, load, original, resized, final) -> None:
    sizes = geometry(mode, size, load)
    assert sizes.resized(*original) == resized
    assert sizes.crop(sizes.resize(image(*original)), 0.3, 0.9, True).size == final
    assert sizes.whole(image(*original)).size == final


def test_the_position_of_the_crop_is_relative_and_a_flip_mirrors_it() -> None:
    preprocess = geometry("crop", "10x10")
    assert corner(preprocess.crop(image(30, 20), 0.0, 0.0, False)) == (0, 0)
    assert corner(preprocess.crop(image(30, 20), 0.999, 0.999, False)) == (20, 10)
    assert corner(preprocess.crop(image(30, 20), 0.0, 0.0, True)) == (9, 0)


def test_resizing_is_pillow_s_bicubic() -> None:
    noise = Raster(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    expected = Image.fromarray(noise.pixels).resize((72, 72), Image.Resampling.BICUBIC)
    resized = geometry("resize-and-crop", "64x64", "72x72").resize(noise)
    assert np.array_equal(resized.pixels, np.asarray(expected))


def test_the_whole_image_is_resized_or_its_middle_is_cropped() -> None:
    assert np.array_equal(
        geometry("resize-and-crop", "16x16").whole(image(32, 32)).pixels,
        np.asarray(Image.fromarray(image(32, 32).pixels).resize((16, 16), 3)),
    )
    assert corner(geometry("crop", "10x10").whole(image(30, 20))) == (10, 5)


def test_pytorch_gan_resizes_to_a_size_rounded_down() -> None:
    preprocess = RECIPES["pytorch-gan"].preprocess
    for size, load in ((64, 71), (128, 143), (256, 286), (512, 573)):
        geometry = Geometry.of(preprocess, str(size), 4)
        assert geometry.load == (int(size * 1.12), int(size * 1.12)) == (load, load)
        # torchvision's Resize(load): the longer side is int(load * longer / shorter).
        assert geometry.resized(301, 200) == (int(load * 301 / 200), load)
        assert geometry.resized(200, 301) == (load, int(load * 301 / 200))
        assert geometry.resized(333, 333) == (load, load)
