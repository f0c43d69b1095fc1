from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests.images.samples import RED, curve_profile, noise, saved
from transmute.images.color import is_srgb
from transmute.images.decode import read_image
from transmute.images.encode import save_pages

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = curve_profile(b"RGB ")
# It exchanges the primaries red and green, and is not named sRGB.
SWAPPED = (
    SRGB.replace(b"rXYZ", b"????")
    .replace(b"gXYZ", b"rXYZ")
    .replace(b"????", b"gXYZ")
    .replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
)


def srgb_of_linear(values: np.ndarray) -> np.ndarray:
    """The sRGB curve (IEC 61966-2-1) of linear 8-bit values."""
    linear = values / 255
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return curved * 255


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_a_linear_profile_is_applied_although_it_is_named_srgb(tmp_path: Path, ending: str) -> None:
    pixels = noise()
    options = {"lossless": True} if ending == "webp" else {}
    path = saved(Image.fromarray(pixels), tmp_path / f"x.{ending}", icc_profile=LINEAR, **options)
    raster = read_image(path)
    # Two levels: the library interpolates curves, and the profile is rounded.
    assert np.abs(raster.pixels - srgb_of_linear(pixels)).max() <= 2
    assert raster.notes == ()
    assert raster.tags.profile is not None
    assert is_srgb(raster.tags.profile)


@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_gray_profile_is_applied(tmp_path: Path, with_alpha: bool) -> None:
    pixels = noise(2 if with_alpha else 1)
    profile = curve_profile(b"GRAY", 1.0)
    path = saved(Image.fromarray(pixels), tmp_path / "x.png", icc_profile=profile)
    raster = read_image(path)
    gray = pixels[:, :, 0] if with_alpha else pixels
    assert np.abs(raster.pixels[:, :, 0] - srgb_of_linear(gray)).max() <= 2
    if with_alpha:
        assert raster.alpha is not None
        assert np.array_equal(raster.alpha, pixels[:, :, 1])


def test_a_gray_profile_of_a_16_bit_image_is_kept_and_that_is_reported(tmp_path: Path) -> None:
    profile = curve_profile(b"GRAY", 2.2)
    path = tmp_path / "x.png"
    Image.fromarray(noise(1, "uint16")).save(path, icc_profile=profile)
    raster = read_image(path)
    assert "is not applied, because it has uint16 values" in raster.notes[0]
    save_pages([raster], tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as image:
        assert image.info["icc_profile"] == profile


def test_a_profile_of_a_16_bit_tiff_is_kept_and_that_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise(3, "uint16"), photometric="rgb", iccprofile=LINEAR)
    raster = read_image(path)
    assert "Linear sRGB is not applied" in raster.notes[0]
    save_pages([raster], tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        assert file.pages.first.tags[34675].value == LINEAR


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_profile_with_other_primaries_is_applied(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 2), RED)
    raster = read_image(saved(image, tmp_path / "x.png", icc_profile=SWAPPED))
    assert raster.pixels[0, 0].tolist() == pytest.approx([0, 255, 0], abs=2)  # rounding


def test_an_srgb_profile_changes_nothing_and_is_kept(tmp_path: Path) -> None:
    pixels = noise()
    raster = read_image(saved(Image.fromarray(pixels), tmp_path / "x.png", icc_profile=SRGB))
    assert np.array_equal(raster.pixels, pixels)
    assert raster.tags.profile == SRGB


@pytest.mark.parametrize(
    ("mode", "profile", "note"),
    [
        ("RGB", b"no profile", "its color profile is damaged and is not applied"),
        ("RGB", curve_profile(b"GRAY"), "is for GRAY and is not applied"),
        ("CMYK", LINEAR, "is for RGB and is not applied, because the pixels are CMYK"),
    ],
)
def test_a_profile_that_cannot_be_applied_is_reported_and_not_kept(
    tmp_path: Path, mode: str, profile: bytes, note: str
) -> None:
    image = Image.new(mode, (2, 2), 100)
    raster = read_image(saved(image, tmp_path / "x.tif", icc_profile=profile))
    assert note in raster.notes[0]
    if mode == "RGB":
        assert raster.tags.profile is None
        assert np.array_equal(raster.pixels, np.asarray(image))


def test_inks_become_rgb_also_where_adobe_stored_them_inverted(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "x.jpg")
    assert b"Adobe" in path.read_bytes()
    assert np.abs(read_image(path).pixels.astype(int) - RED).max() <= 4


def test_a_gamma_that_is_not_applied_is_reported(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "PNG")
    chunk = bytes.fromhex("00000004 67414d41 000186a0 31e8965f")  # gamma 1.0
    data = file.getvalue()
    (tmp_path / "x.png").write_bytes(data[:33] + chunk + data[33:])
    assert read_image(tmp_path / "x.png").notes == ("its gamma of 1.0 is not applied",)
