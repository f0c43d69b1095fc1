from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.samples import noise, read_pages, saved, tiff_of
from transmute.images.decode import open_pages, read_image
from transmute.images.messages import collected, libtiff_collected
from transmute.images.raster import ImageError

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (4, 1))


@pytest.mark.parametrize(
    ("stored", "options", "expected", "depth"),
    [
        (RAMP.astype("<i2") * 8 - 1024, {"sample_format": 2}, RAMP * 8.0 - 1024, "int16"),
        (RAMP.astype("<i4") * 9999, {"sample_format": 2}, RAMP * 9999.0, "float32"),
        ((RAMP / 256).astype("<f4"), {"sample_format": 3}, RAMP / 256, "float32"),
        (RAMP.astype("<u2") * 16, {}, RAMP * 16.0, "uint16"),
        (255 - RAMP, {"photometric": 0}, RAMP, "uint8"),
        (65535 - RAMP.astype("<u2") * 257, {"photometric": 0}, RAMP * 257.0, "uint16"),
        (-1 - RAMP.astype("<i2"), {"photometric": 0, "sample_format": 2}, RAMP, "int16"),
    ],
)
def test_values_of_all_types_are_read_exactly_and_white_is_bright(
    tmp_path: Path, stored: np.ndarray, options: dict, expected: np.ndarray, depth: str
) -> None:
    (tmp_path / "x.tif").write_bytes(tiff_of(stored, **options))
    raster = read_image(tmp_path / "x.tif")
    assert raster.depth == depth
    assert np.array_equal(raster.pixels[:, :, 0], expected)


@pytest.mark.parametrize("channels", [3, 4, 6, 13])
@pytest.mark.parametrize(
    "layout",
    [{"planarconfig": "separate"}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}],
    ids=str,
)
def test_many_bands_of_16_bits_are_read_in_every_layout(
    tmp_path: Path, channels: int, layout: dict
) -> None:
    pixels = noise(channels, "uint16")
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in layout else pixels
    options: dict[str, Any] = {"planarconfig": "contig", "photometric": "minisblack"} | layout
    tifffile.imwrite(tmp_path / "x.tif", stored, **options)
    raster = read_image(tmp_path / "x.tif")
    assert np.array_equal(raster.pixels, pixels)
    assert (raster.alpha, raster.mode) == (None, f"{channels} x uint16")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("color", [1, 3, 4])
def test_alpha_is_separated_from_any_number_of_channels(
    tmp_path: Path, kind: str, color: int
) -> None:
    pixels = noise(color + 1, kind)
    pixels[0, :2, -1] = 0, 1 if kind == "float32" else np.iinfo(kind).max
    extra = [0] * (0 if color == 3 else color - 1) + [2]
    photometric = "rgb" if color == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "x.tif",
        pixels,
        photometric=photometric,
        planarconfig="contig",
        extrasamples=extra,
    )
    raster = read_image(tmp_path / "x.tif")
    assert np.array_equal(raster.pixels, pixels[:, :, :-1])
    assert raster.alpha is not None
    assert raster.alpha[0, :2].tolist() == [0, {"uint8": 255, "uint16": 65535}.get(kind, 1)]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_colors_that_are_multiplied_with_alpha_become_straight(tmp_path: Path, kind: str) -> None:
    full = 1.0 if kind == "float32" else float(np.iinfo(kind).max)
    alpha = np.linspace(0.5, 1, 60).reshape(6, 10, 1)
    straight = noise(3, kind) * 0.9
    stored = np.dstack([straight * alpha, alpha * full])
    stored = stored.astype(kind) if kind == "float32" else stored.round().astype(kind)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    pixels = read_image(tmp_path / "x.tif").pixels
    # Half a level of rounding, divided by an alpha of at least 0.5, and rounded again.
    assert np.abs(pixels - straight).max() < (1e-6 if kind == "float32" else 3)


def test_stacks_of_microscopes_are_pages_whose_c_axis_is_channels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (3, 2, 6, 10)).astype(np.uint16)
    metadata = {"axes": "ZCYX"}
    tifffile.imwrite(tmp_path / "imagej.tif", values, imagej=True, metadata=metadata)
    tifffile.imwrite(tmp_path / "x.ome.tif", values, metadata=metadata, photometric="minisblack")
    eight = (values >> 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "eight.ome.tif", eight, metadata=metadata, photometric="minisblack")
    for name, expected in (("imagej.tif", values), ("x.ome.tif", values), ("eight.ome.tif", eight)):
        pages = read_pages(tmp_path / name)
        assert len(pages) == 3
        for page, planes in zip(pages, expected, strict=True):
            assert np.array_equal(page.pixels, np.moveaxis(planes, 0, 2)), name


@pytest.mark.parametrize("in_sub_ifds", [True, False])
def test_a_pyramid_is_one_page(tmp_path: Path, in_sub_ifds: bool) -> None:
    pixels = noise(3, "uint8", 64, 64)
    options: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16)}
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(pixels, subifds=1 if in_sub_ifds else 0, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    (page,) = read_pages(tmp_path / "x.tif")
    assert np.array_equal(page.pixels, pixels)


def test_values_that_float32_cannot_hold_are_reported_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.array([[2**31 + 1, 5]], np.uint32))
    assert read_image(path).notes == ("1 of its integers are rounded to the 24 bits of float32",)
    for values in ([[np.nan, 1]], [[1e300, 1]]):
        tifffile.imwrite(path, np.array(values))
        with pytest.raises(ImageError, match="contains 1 values that are not finite"):
            read_image(path)
    tifffile.imwrite(path, np.array([[1j]]))
    with pytest.raises(ImageError, match="not real numbers"):
        read_image(path)


def test_jpeg_compression_is_decoded_without_imagecodecs(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    path = saved(image, tmp_path / "x.tif", compression="jpeg")
    pixels = read_image(path).pixels
    assert np.abs(pixels.astype(int) - np.asarray(image)).max() <= 8


WITHOUT_IMAGECODECS = """
import sys
sys.modules["imagecodecs"] = None
import numpy as np
from transmute.images.decode import open_pages, read_image
for name in sys.argv[1:]:
    try:
        raster = read_image(name)
        print(raster.depth, np.array_equal(np.squeeze(raster.pixels), np.load(name + ".npy")))
    except ValueError as error:
        print(error)
"""


def test_lzw_is_read_as_far_as_possible_without_imagecodecs(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")  # to write the files
    names = []
    for kind, channels in (
        ("uint8", 1),
        ("uint8", 3),
        ("uint16", 1),
        ("int16", 1),
        ("float32", 1),
        ("uint16", 3),
    ):
        pixels = noise(channels, kind)
        name = str(tmp_path / f"{kind}{channels}.tif")
        extra = [(274, 3, 1, 3, True)]
        photometric = "rgb" if channels == 3 else "minisblack"
        tifffile.imwrite(name, pixels, compression="lzw", photometric=photometric, extratags=extra)
        np.save(f"{name}.npy", pixels[::-1, ::-1])  # upright
        names.append(name)
    command = [sys.executable, "-c", WITHOUT_IMAGECODECS, *names]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    *read, refused = result.stdout.splitlines()
    depths = ["uint8", "uint8", "uint16", "int16", "float32"]
    assert read == [f"{depth} True" for depth in depths]
    assert refused.endswith(
        "has LZW compression of 16 bits and 3 channels. To read it: pip install imagecodecs"
    )


def test_inks_of_16_bits_are_kept_as_channels_and_that_is_reported(tmp_path: Path) -> None:
    pixels = noise(4, "uint16")
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="separated")
    raster = read_image(tmp_path / "x.tif")
    assert np.array_equal(raster.pixels, pixels)
    assert raster.notes == ("its channels are inks (CMYK), which are not converted to RGB",)


def test_errors_that_libtiff_prints_are_part_of_the_error_of_their_file(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    pytest.importorskip("imagecodecs")  # to write the file, with the image at its end
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise(3, height=50), photometric="rgb", compression="lzw")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match=r"x\.tif cannot be read: .* \(TIFF\w+: .*\)$") as error:
        read_image(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_what_others_print_while_libtiff_decodes_is_printed(capfd: pytest.CaptureFixture) -> None:
    with collected() as messages, libtiff_collected():
        os.write(2, b"TIFFFillStrip: Read error\nepoch 1\n")
    assert messages == ["TIFFFillStrip: Read error"]
    assert capfd.readouterr().err == "epoch 1\n"


def test_pages_are_found_without_going_through_the_earlier_ones_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="rgb", metadata=None)
    opened, num_opened = Image.open, []

    def counted(*args: Any, **kwargs: Any) -> Image.Image:
        num_opened.append(args)
        return opened(*args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    with open_pages(tmp_path / "x.tif") as file:
        for page in (0, 1, 2, 3, 4, 5, 2, 0):
            assert np.array_equal(file.read(page).pixels, pages[page])
    assert len(num_opened) == 1
