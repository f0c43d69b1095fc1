"""The corpus of benchmarks/images.py, translated with a model that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("imagecodecs")

from benchmarks.images import (
    Case,
    all_cases,
    difference,
    gray_profile,
    identity,
    with_alpha,
)
from tests.images.samples import noise
from transmute.images.decode import read_image
from transmute.images.encode import save_pages
from transmute.images.raster import Raster
from transmute.translation.files import translate_file

# Layouts do not depend on the number of channels, and take most of the time.
CASES = [
    case for case in all_cases() if "4 channels" not in case.mode and "BigTIFF" not in case.variant
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_identity_model_changes_no_value_in_a_lossless_file(case: Case, tmp_path: Path) -> None:
    (tmp_path / "translated").mkdir()
    # float32 rounds values of a range of 2000 to 24 bits, when scaled to [-1, 1] and back.
    limit = 2000 * 2**-23 if case.depth == "float32" else case.tolerance
    assert difference(case, tmp_path) <= limit


@pytest.mark.parametrize("mode", ["L", "LA", "La", "P", "PA", "RGB", "RGBA"])
def test_the_identity_model_returns_straight_alpha_and_the_color_under_it_bit_for_bit(
    mode: str,
) -> None:
    image = Image.fromarray(with_alpha(noise(3, "uint8", 12, 20)))
    image = image.convert("P" if mode == "P" else "LA" if mode in ("L", "LA", "La") else "RGBA")
    if mode == "P":
        image.info["transparency"] = bytes(range(256))
    elif mode == "PA":
        alpha = image.getchannel("A")
        image = image.convert("P").convert("PA")
        image.putalpha(alpha)
    elif mode == "La":  # multiplied with alpha: what is left of the color is returned
        image = image.convert("La")
    else:
        image = image.convert(mode)
    gray = mode in ("L", "LA", "La")
    expected = image.convert(("LA" if gray else "RGBA") if mode not in ("L", "RGB") else mode)
    result = identity(1 if gray else 3, "uint8")(image)
    assert result.mode == expected.mode
    assert np.array_equal(np.asarray(result), np.asarray(expected))


def test_an_antialiased_logo_has_no_ring_after_translation(tmp_path: Path) -> None:
    big = Image.new("L", (256, 256), 0)
    big.paste(255, (64, 64, 192, 192))
    logo = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    logo.putalpha(big.rotate(30, Image.Resampling.BICUBIC).resize((64, 64)))
    logo.save(tmp_path / "logo.png")
    source, target = tmp_path / "logo.png", tmp_path / "out.png"
    assert translate_file(identity(3, "uint8"), source, target) == (None, [])
    with Image.open(target) as found:
        assert np.array_equal(np.asarray(found), np.asarray(logo))


def test_notes_name_the_file_once(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(3, "uint8", 12, 20)) for _ in range(3)]
    path = tmp_path / "x.tif"
    profile = gray_profile(1.0)  # although the images are RGB
    frames[0].save(path, save_all=True, append_images=frames[1:], icc_profile=profile)
    error, notes = translate_file(identity(3, "uint8"), path, tmp_path / "y.tif")
    assert error is None
    assert len(notes) == 1
    assert notes[0].startswith(f"{path}: its color profile gray is for GRAY")


def test_a_translation_that_png_cannot_hold_is_written_as_tiff_if_any_format_may_be(
    tmp_path: Path,
) -> None:
    source = Raster(noise(6, "uint16", 12, 20), depth="uint16")
    save_pages([source], tmp_path / "x.tif")
    translator, target = identity(6, "uint16"), tmp_path / "out" / "x.png"
    error, _ = translate_file(translator, tmp_path / "x.tif", target)
    assert error is not None
    assert ".png cannot hold 6 channels. Use `format=auto` or `format=tif`" in error
    assert translate_file(translator, tmp_path / "x.tif", target, any_format=True) == (None, [])
    written = tmp_path / "out" / "x.png.tif"
    assert np.array_equal(read_image(written).pixels, source.pixels)
    before = written.stat().st_mtime_ns
    assert translate_file(
        translator, tmp_path / "x.tif", target, any_format=True, skip_existing=True
    ) == (None, [])
    assert written.stat().st_mtime_ns == before
