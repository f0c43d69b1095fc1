from __future__ import annotations

import io
import os
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from tests.images.samples import HALF_RED, RED, noise, read_pages, saved, tiff_of
from transmute.images import limits
from transmute.images.decode import count_pages, open_pages, read_image
from transmute.images.raster import ImageError


def solid(kind: str, value: float) -> Image.Image:
    return Image.fromarray(np.full((2, 2), value, dtype=kind))


@pytest.mark.parametrize(
    ("image", "name", "expected", "mode"),
    [
        (Image.new("RGB", (2, 2), RED), "x.png", RED, "RGB"),
        (Image.new("RGB", (2, 2), RED), "x.bmp", RED, "RGB"),
        (Image.new("RGB", (2, 2), RED), "x.ppm", RED, "RGB"),
        (Image.new("RGB", (2, 2), RED), "x.tga", RED, "RGB"),
        (Image.new("RGB", (2, 2), RED), "x.jp2", RED, "RGB"),
        (Image.new("RGB", (2, 2), RED).convert("P"), "x.gif", RED, "P"),
        (Image.new("RGB", (2, 2), RED).quantize(4), "palette.png", RED, "P"),
        (Image.new("L", (2, 2), 100), "gray.png", (100,), "L"),
        (Image.new("L", (2, 2), 100), "gray.pgm", (100,), "L"),
        (Image.new("1", (2, 2), 1), "bits.png", (255,), "1"),
        (Image.new("LA", (2, 2), (7, 0)), "gray-alpha.png", (7,), "LA"),
        (Image.new("RGBA", (2, 2), HALF_RED), "half.png", RED, "RGBA"),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "ink.tif", RED, "CMYK"),
        (solid("uint16", 32896), "deep.png", (32896,), "I;16"),
        (solid("uint16", 65535), "deep.tif", (65535,), "uint16"),
        (solid("float32", 0.5), "float.tif", (0.5,), "float32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_have_the_values_that_a_viewer_displays(
    tmp_path: Path, image: Image.Image, name: str, expected: tuple, mode: str
) -> None:
    raster = read_image(saved(image, tmp_path / name))
    assert raster.mode == mode
    assert np.array_equal(raster.pixels, np.full((2, 2, len(expected)), expected))


@pytest.mark.parametrize("ending", ["jfif", "avif", "jpg", "webp", "jp2", "tga", "pgm"])
def test_all_common_formats_are_read(tmp_path: Path, ending: str) -> None:
    image = Image.linear_gradient("L").resize((16, 16))
    format = {"jfif": "JPEG", "pgm": "PPM"}.get(ending)
    raster = read_image(saved(image, tmp_path / f"x.{ending}", format=format))
    assert np.abs(raster.pixels[:, :, :1].astype(int)[:, :, 0] - np.asarray(image)).max() <= 8


def test_the_contents_decide_where_the_extension_is_wrong(tmp_path: Path) -> None:
    pixels = noise()
    for name, format in (("png.jpg", "PNG"), ("tiff.png", "TIFF"), ("png.tif", "PNG")):
        path = saved(Image.fromarray(pixels), tmp_path / name, format=format)
        assert np.array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "compression"), [("uint8", None), ("uint8", "lzw"), ("uint16", None), ("png", None)]
)
def test_images_are_upright(
    tmp_path: Path, orientation: int, kind: str, compression: str | None
) -> None:
    upright = noise(1, "uint8")
    # How a camera stores it, from the definition of the EXIF orientation.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: np.rot90(upright, 2),
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    stored, path = np.ascontiguousarray(stored), tmp_path / "x"
    if kind == "png":
        exif = Image.Exif()
        exif[0x0112] = orientation
        saved(Image.fromarray(stored), path, format="PNG", exif=exif)
    else:
        tag = (274, 3, 1, orientation, True)
        if compression:
            pytest.importorskip("imagecodecs")  # to write the file
        tifffile.imwrite(path, stored.astype(kind), extratags=[tag], compression=compression)
    assert np.array_equal(read_image(path).pixels[:, :, 0], upright)


def test_a_transparent_palette_color_is_transparent_and_keeps_its_color(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    raster = read_image(saved(image, tmp_path / "x.png", transparency=0))
    assert raster.pixels.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert raster.alpha is not None
    assert raster.alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize("mode", ["La", "PA"])
def test_other_modes_with_alpha_of_pillow_are_read(mode: str) -> None:
    gray = Image.fromarray(np.dstack([noise(1), np.full((6, 10), 255, np.uint8)]))
    image = gray.convert(mode) if mode == "La" else gray.convert("RGBA").convert("PA")
    image.putalpha(image.getchannel("A").point([9] * 256)) if mode == "PA" else None
    raster = read_image(image)
    assert raster.alpha is not None
    assert raster.alpha.min() == (255 if mode == "La" else 9)
    assert raster.channels == (1 if mode == "La" else 3)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_all_frames_are_read_with_their_durations(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(4)]
    options: dict[str, Any] = (
        {} if ending == "tif" else {"duration": [100, 200, 300, 400], "loop": 3}
    )
    options |= {"lossless": True} if ending == "webp" else {}
    path = tmp_path / f"x.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    pages = read_pages(path)
    assert count_pages(path) == 4
    assert [page.pixels[0, 0].tolist() for page in pages] == [[60 * i, 0, 0] for i in range(4)]
    if ending != "tif":
        assert [page.tags.duration for page in pages] == [100, 200, 300, 400]
        assert {page.tags.loop for page in pages} == {3}
    with pytest.raises(ImageError, match="has 4 pages, so there is no page 5"):
        read_image(path, page=4)


def test_of_a_phone_photo_with_several_images_the_first_is_read_and_the_others_are_reported(
    tmp_path: Path,
) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    (raster,) = read_pages(tmp_path / "x.jpg")
    assert raster.pixels[0, 0, 0] > 250
    assert raster.notes == ("only the first of its 2 images is read",)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_color_of_16_bits_in_a_png_file_is_read_exactly(tmp_path: Path, mode: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = noise({"LA": 2, "RGB": 3, "RGBA": 4}[mode], "uint16")
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(pixels))
    with open_pages(tmp_path / "x.png") as pages:
        pages.read(0)
        raster = pages.read(0)  # Pillow has decoded it with 8 bits
    joined = raster.pixels
    joined = joined if raster.alpha is None else np.dstack([joined, raster.alpha])
    assert raster.depth == "uint16"
    assert np.array_equal(joined, pixels)


@pytest.mark.parametrize("magic", [b"P2", b"P3", b"P5", b"P6"])
@pytest.mark.parametrize("maximum", [1023, 4095, 65535])
def test_pnm_samples_of_16_bits_are_scaled_by_their_maximum(
    tmp_path: Path, magic: bytes, maximum: int
) -> None:
    shape = (6, 10, 3 if magic in (b"P3", b"P6") else 1)
    values = np.random.default_rng(0).integers(0, maximum + 1, shape)
    values[0, :2] = [[0], [maximum]]
    text = b" ".join(b"%d" % value for value in values.ravel())
    data = text if magic in (b"P2", b"P3") else values.astype(">u2").tobytes()
    (tmp_path / "x.ppm").write_bytes(b"%s\n# comment\n10 6\n%d\n%s" % (magic, maximum, data))
    pixels = read_image(tmp_path / "x.ppm").pixels
    assert pixels.dtype == np.uint16
    # Pillow truncates gray, which is less than a level of 16 bits.
    assert np.abs(pixels - values * (65535 / maximum)).max() < 1
    assert (pixels.min(), pixels.max()) == (0, 65535)


def test_color_of_12_bits_in_a_jpeg_2000_file_is_read_exactly_or_its_loss_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = noise(3, "uint16", 32, 32) >> 4
    options = {"level": 0, "reversible": True, "bitspersample": 12}
    encoded = imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", **options)
    (tmp_path / "x.jp2").write_bytes(encoded)
    assert np.array_equal(read_image(tmp_path / "x.jp2").pixels, pixels << 4)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    raster = read_image(tmp_path / "x.jp2")
    assert raster.depth == "uint8"
    assert raster.notes == (
        "its 12 bits per channel are read as 8. To read all: pip install imagecodecs",
    )


def test_an_animation_of_16_bit_color_is_read_with_8_and_that_is_reported(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = noise(3, "uint16")
    (tmp_path / "x.png").write_bytes(imagecodecs.apng_encode(np.stack([pixels, pixels[::-1]])))
    first, second = read_pages(tmp_path / "x.png")
    assert first.depth == second.depth == "uint8"
    assert np.abs(first.pixels - pixels / 257).max() <= 1  # the high byte
    assert first.notes == ("its frames have 16 bits per channel, which are read as 8",)


def test_avif_of_10_bits_is_read_with_8_and_that_is_reported(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = noise(3, "uint16") >> 6
    (tmp_path / "x.avif").write_bytes(imagecodecs.avif_encode(pixels, bitspersample=10))
    assert "10 or 12 bits per channel are read as 8" in read_image(tmp_path / "x.avif").notes[0]


def test_arrays_of_8_bits_with_2_or_4_channels_have_alpha() -> None:
    raster = read_image(noise(4))
    assert (raster.channels, raster.mode) == (3, "RGBA")
    assert read_image(noise(4, "uint16")).channels == 4
    with pytest.raises(ImageError, match=r"\(3, 64, 64\) looks like \(channels, height, width\)"):
        read_image(np.zeros((3, 64, 64)))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty"),
        (b"not an image", "is not an image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read|is not an image"),
        (b"GIF89a", "cannot be read|is not an image"),
        (b"BM", "cannot be read|is not an image"),
        (b"\xff\xd8\xff\xe0", "cannot be read|is not an image"),
        (b"II*\x00", "cannot be read"),
        (b"P6\n", "cannot be read|is not an image"),
        (b"\x93NUMPY", "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n{} loop\n", "PostScript or PDF"),
        (b"%PDF-1.7\n", "PostScript or PDF"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "is not an image"),  # WMF
    ],
)
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.eps"])
def test_a_file_that_is_not_an_image_is_an_error_of_one_line(
    tmp_path: Path, contents: bytes, message: str, name: str
) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ImageError, match=message) as error:
        read_image(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_special_files_are_refused_without_blocking(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="is not a regular file"):
        read_image(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "loop.png").symlink_to("loop.png")
        (tmp_path / "broken.png").symlink_to("missing.png")
        with pytest.raises(ImageError, match="is not a regular file"):
            read_image(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match=r"loop\.png cannot be read"):
            read_image(tmp_path / "loop.png")
        with pytest.raises(ImageError, match="is a link to a missing file"):
            read_image(tmp_path / "broken.png")


def _encoded(kind: str) -> bytes:
    """An image file of 16x16 pixels."""
    file, image = io.BytesIO(), Image.effect_noise((16, 16), 60)
    if kind.startswith("tifffile"):
        options: dict[str, Any] = {"compression": "zlib"} if kind == "tifffile-zlib" else {}
        tifffile.imwrite(file, noise(6, "uint16", 16, 16), photometric="minisblack", **options)
    elif kind == "npy":
        np.save(file, noise(3, "uint16", 16, 16))
    elif kind == "npz":
        np.savez(file, noise(3, "uint16", 16, 16), noise(1, "float32", 16, 16))
    elif kind == "PNG16":
        Image.fromarray(noise(1, "uint16", 16, 16)).save(file, "PNG")
    elif kind == "PPM16":
        file.write(b"P6 16 16 65535\n" + noise(3, "uint16", 16, 16).astype(">u2").tobytes())
    else:
        image.convert("RGB").save(file, kind)
    return file.getvalue()


KINDS = (
    *("PNG", "JPEG", "TIFF", "GIF", "WEBP", "AVIF", "JPEG2000", "BMP", "PNG16", "PPM16"),
    *("tifffile", "tifffile-zlib", "npy", "npz"),
)
ENCODED = {kind: _encoded(kind) for kind in KINDS}


@given(
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    kind=st.sampled_from(KINDS),
)
def test_damaged_files_open_or_are_image_errors_of_one_line(
    tmp_path_factory, cut: float, flips, kind: str
) -> None:
    whole = ENCODED[kind]
    contents = bytearray(whole[: max(1, int(len(whole) * cut))])
    for position, value in flips:
        # Most damage is in headers, whose checks differ.
        contents[(position if position % 2 else position % 400) % len(contents)] = value
    path = tmp_path_factory.mktemp("damaged") / ("x.npz" if kind == "npz" else "x.png")
    path.write_bytes(contents)
    try:
        with open_pages(path, max_pixels=10**6) as pages:
            for page in range(min(pages.number, 3)):
                pages.read(page)
        outcome = "x."
    except ImageError as error:
        outcome = str(error)
    assert "x." in outcome
    assert "\n" not in outcome
    path.unlink()  # fails in these tests if the file is still open


def test_warnings_of_libraries_become_notes_of_the_file_they_are_about(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    damaged = tmp_path / "damaged.jpg"
    Image.fromarray(noise()).save(damaged, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x0f\x01\x02\0")
    sound = saved(Image.fromarray(noise()), tmp_path / "sound.jpg")
    tifffile.imwrite(tmp_path / "x.tif", noise(3, "uint16"), photometric="rgb")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    data[data.index(struct.pack("<HH", 282, 5)) + 2] = 99  # a type that does not exist
    (tmp_path / "x.tif").write_bytes(data)
    notes: dict[Path, list[tuple[str, ...]]] = {}

    def read(path: Path) -> None:
        notes[path] = [read_image(path).notes for _ in range(20)]

    paths = (damaged, sound, tmp_path / "x.tif")
    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("EXIF" in note for one in notes[damaged] for note in one)
    assert all(notes[damaged])
    assert set(notes[sound]) == {()}
    assert all("99" in note[0] for note in notes[tmp_path / "x.tif"])
    assert capfd.readouterr().err == ""


def test_other_warnings_are_printed_as_before(tmp_path: Path) -> None:
    read_image(saved(Image.new("L", (2, 2)), tmp_path / "x.png"))
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "ppm", "npy"])
def test_a_file_is_closed_after_reading(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    np.save(path, noise(3, "uint16")) if ending == "npy" else Image.fromarray(noise()).save(path)
    raster = read_image(path)
    path.unlink()  # fails in these tests if the file is open or mapped
    assert raster.size == (10, 6)


def test_an_error_of_the_caller_is_not_one_of_the_file(tmp_path: Path) -> None:
    path = saved(Image.new("L", (2, 2)), tmp_path / "x.png")
    with pytest.raises(RuntimeError, match="out of memory"), open_pages(path):
        raise RuntimeError("out of memory")


def test_a_large_sound_image_is_read_and_max_pixels_is_checked_by_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("1", (14000, 13000), 1), tmp_path / "slide.png")
    assert read_image(path).size == (14000, 13000)

    def decode(image: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(ImageError, match=r"14000x13000 = 182,000,000 pixels, more than"):
        read_image(path, max_pixels=10**8)
    monkeypatch.setattr(limits, "free_memory", lambda: 2**27)
    with pytest.raises(ImageError, match=r"needs 0\.7 GiB of memory to decode"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png", "tif", "npy"])
def test_a_file_that_claims_a_gigantic_size_is_refused_by_its_header(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "png":
        head = b"IHDR" + struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + empty)
    elif kind == "tif":
        data = bytearray(tiff_of(np.zeros((2, 2), "<u2")))
        for tag in (256, 257):
            where = data.index(struct.pack("<HHI", tag, 3, 1))
            data[where : where + 12] = struct.pack("<HHII", tag, 4, 1, 2**20)
        path.write_bytes(data)
    else:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**15, 2**15)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ImageError, match=r"pixels, more than `max_pixels=10000`"):
        read_image(path, max_pixels=10**4)


def test_long_texts_in_a_png_file_do_not_stop_it(tmp_path: Path) -> None:
    path, pixels = tmp_path / "text.png", noise()
    Image.fromarray(pixels).save(path)
    raw = path.read_bytes()
    chunk = b"zTXt" + b"Comment\0\0" + zlib.compress(b"a" * 70_000_000)
    head = struct.pack(">I", len(chunk) - 4)
    text = head + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(raw[:33] + text + raw[33:])
    assert np.array_equal(read_image(path).pixels, pixels)


def test_a_reader_is_called_with_the_path_and_its_errors_name_the_file(tmp_path: Path) -> None:
    script, path = tmp_path / "mine.py", tmp_path / "x.bin"
    script.write_text(
        "import numpy as np\n"
        "def read(path): return np.fromfile(path, '<f4').reshape(2, 3)\n"
        "def wrong(path): raise KeyError('no')\n",
        encoding="utf-8",
    )
    np.arange(6, dtype="<f4").tofile(path)
    raster = read_image(path, reader=f"{script}:read")
    assert (raster.depth, raster.size) == ("float32", (3, 2))
    with pytest.raises(ImageError, match=r"x\.bin.*wrong failed: KeyError: 'no'"):
        read_image(path, reader=f"{script}:wrong")


def test_a_gif_that_was_cut_says_how_many_frames_are_left(tmp_path: Path) -> None:
    frames = [Image.effect_noise((32, 32), 90 + i) for i in range(5)]
    path = tmp_path / "x.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_image(path).notes == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_pages(path) as pages:
        assert 0 < pages.number < 5
        note = f"its end is missing: only its first {pages.number} frames are read"
        assert pages.read(0).notes == (note,)
