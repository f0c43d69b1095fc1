from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.samples import HALF_RED, noise, read_pages, saved
from transmute.images.decode import read_image
from transmute.images.encode import (
    WRITABLE,
    best_ending,
    save_image,
    save_pages,
    too_large,
    why_not,
)
from transmute.images.raster import Depth, ImageError, Raster, Tags

LOSSLESS = ("png", "bmp", "tif", "jp2", "ppm", "tga", "npy", "npz")


def raster(
    channels: int = 3, depth: Depth = "uint8", *, alpha: bool = False, tags: Tags | None = None
) -> Raster:
    pixels = noise(channels, depth).reshape(6, 10, channels)
    pixels = pixels.astype(np.float32) if depth == "int16" else pixels
    levels = np.linspace(0, 1, 60).reshape(6, 10)
    full = {"uint8": 255, "uint16": 65535}.get(depth, 1)
    return Raster(
        pixels,
        (levels * full).astype(pixels.dtype) if alpha else None,
        depth,
        tags=tags or Tags(),
    )


def same(one: Raster, other: Raster) -> bool:
    return np.array_equal(joined(one), joined(other)) and one.depth == other.depth


def joined(one: Raster) -> np.ndarray:
    return one.pixels if one.alpha is None else np.dstack([one.pixels, one.alpha])


@pytest.mark.parametrize("ending", [*LOSSLESS, "jxl"])
@pytest.mark.parametrize("depth", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("alpha", [False, True])
def test_what_a_lossless_format_can_hold_is_read_back_exactly_and_the_rest_is_refused(
    tmp_path: Path, ending: str, depth: Depth, channels: int, alpha: bool
) -> None:
    source, path = raster(channels, depth, alpha=alpha), tmp_path / f"x.{ending}"
    if ending == "jxl" or (ending == "jp2" and depth == "uint16"):
        pytest.importorskip("imagecodecs")
    if why_not(source, path.suffix):
        with pytest.raises(
            ImageError, match=r"x\.\w+ cannot be written, because \.\w+ cannot hold"
        ):
            save_pages([source], path)
        assert not list(tmp_path.iterdir())
        return
    save_pages([source], path)
    found = read_image(path)
    if ending in ("npy", "npz"):  # have no alpha: it is a channel
        array = joined(source)
        if depth == "int16" and alpha:
            array = np.dstack([source.pixels, (array[:, :, -1] * 32767).round()])
        assert np.array_equal(joined(found), array)
    elif depth == "int16" and alpha:
        assert np.abs(joined(found) - joined(source)).max() < 1e-4  # 15 bits of alpha
    else:
        assert same(found, source)


def test_what_each_format_holds_is_written_in_the_error() -> None:
    assert why_not(raster(6), ".jpg") == ".jpg cannot hold 6 channels"
    assert why_not(raster(3, "float32"), ".png") == ".png cannot hold float32 values"
    assert why_not(raster(alpha=True), ".jpg") == ".jpg cannot hold transparency"
    assert why_not(raster(), ".jpg", pages=2) == ".jpg cannot hold 2 pages"
    assert why_not(raster(3, "uint16"), ".png", pages=2) is not None
    assert why_not(raster(), ".dcm") == ".dcm is not that of a format that can be written"
    assert best_ending(raster(6)) == best_ending(raster(3, "int16")) == ".tif"
    assert best_ending(raster(3, "uint16", alpha=True)) == ".png"
    with pytest.raises(ImageError, match="`format=auto` or `format=tif`"):
        save_pages([raster(6)], Path("x.png"))


def test_opaque_alpha_is_dropped_where_a_format_has_none(tmp_path: Path) -> None:
    pixels = noise()
    save_pages([Raster(pixels, np.full((6, 10), 255, np.uint8))], tmp_path / "x.bmp")
    assert np.array_equal(read_image(tmp_path / "x.bmp").pixels, pixels)


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "jp2", "tga"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colors_under_transparent_pixels_are_kept(
    tmp_path: Path, ending: str, channels: int
) -> None:
    source = raster(channels, alpha=True, tags=Tags(is_lossless=True))
    save_pages([source], tmp_path / f"x.{ending}")
    found = read_image(tmp_path / f"x.{ending}").with_channels(channels)
    assert np.array_equal(joined(found), joined(source))


def of_few_colors(count: int, seed: int, *, clear: bool) -> Raster:
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    pixels = colors[np.arange(600).reshape(20, 30) % count]
    alpha = np.where(rng.random((20, 30)) < 0.2, 0, 255).astype(np.uint8) if clear else None
    if alpha is not None:  # colors that are not seen need no entry in the palette
        pixels[alpha == 0] = rng.integers(0, 256, ((alpha == 0).sum(), 3))
    return Raster(pixels, alpha, tags=Tags(duration=100 * (seed + 1), loop=2))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("count", [1, 2, 255, 256])
def test_a_gif_of_at_most_256_colors_is_exact(
    tmp_path: Path, frames: int, clear: bool, count: int
) -> None:
    count = min(count, 255) if clear else count
    pages = [of_few_colors(count, seed, clear=clear) for seed in range(frames)]
    save_pages(pages, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as image:
        assert getattr(image, "n_frames", 1) == frames
        for index, page in enumerate(pages):
            image.seek(index)
            seen = np.array(image.convert("RGBA"))
            if frames > 1:
                assert image.info["duration"] == page.tags.duration
                assert image.info["loop"] == 2
            if page.alpha is None:
                assert (seen[:, :, 3] == 255).all()
            else:
                assert np.array_equal(seen[:, :, 3], page.alpha)
            shown = seen[:, :, 3] > 0
            assert np.array_equal(seen[:, :, :3][shown], page.pixels[shown])


def test_a_gif_of_more_colors_is_close_and_gray_is_exact(tmp_path: Path) -> None:
    smooth = Image.linear_gradient("L").resize((64, 64))
    many = Image.merge("RGB", (smooth, smooth.rotate(90), smooth.rotate(180)))
    save_pages([Raster(np.asarray(many))], tmp_path / "x.gif")
    assert np.abs(read_image(tmp_path / "x.gif").pixels.astype(int) - many).mean() < 12
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    save_pages([Raster(gray)], tmp_path / "gray.gif")
    assert np.array_equal(
        read_image(tmp_path / "gray.gif").with_channels(3).pixels, gray.repeat(3, 2)
    )


@pytest.mark.parametrize("ending", ["png", "webp"])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_animations_keep_pixels_durations_and_loops(
    tmp_path: Path, ending: str, alpha: bool
) -> None:
    pages = []
    for seed, duration in enumerate((100, 200, 300)):
        tags = Tags(duration=duration, loop=3, is_lossless=True)
        page = raster(alpha=alpha, tags=tags)
        pages.append(Raster(np.roll(page.pixels, seed, 0), page.alpha, tags=tags))
    save_pages(pages, tmp_path / f"x.{ending}")
    found = read_pages(tmp_path / f"x.{ending}")
    assert [(page.tags.duration, page.tags.loop) for page in found] == [
        (100, 3), (200, 3), (300, 3),
    ]  # fmt: skip
    for one, other in zip(found, pages, strict=True):
        # Pillow's encoder of animated WebP changes colors where alpha is 0.
        shown = np.s_[:] if other.alpha is None or ending == "png" else other.alpha > 0
        assert np.array_equal(joined(one)[shown], joined(other)[shown])


def test_a_lossless_webp_stays_lossless_and_a_lossy_one_lossy(tmp_path: Path) -> None:
    image = Image.fromarray(noise())
    for name, options in (("lossless", {"lossless": True}), ("lossy", {"quality": 90})):
        source = read_image(saved(image, tmp_path / f"{name}.webp", **options))
        save_pages([source], tmp_path / f"{name}.out.webp")
        written = read_image(tmp_path / f"{name}.out.webp")
        assert np.array_equal(written.pixels, source.pixels) == (name == "lossless")


def exif_of(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[271] = "Canon"
    exif[315] = "Jörg".encode()
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return exif


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "avif"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif"])
def test_exif_is_kept_without_its_orientation(tmp_path: Path, source: str, target: str) -> None:
    image = Image.fromarray(noise())
    first = read_image(saved(image, tmp_path / f"x.{source}", exif=exif_of()))
    assert first.size == (6, 10)
    save_pages([first], tmp_path / f"y.{target}")
    with Image.open(tmp_path / f"y.{target}") as written:
        exif = written.getexif()
        assert written.size == (6, 10)
        assert 0x0112 not in exif
        assert exif[271] == "Canon"
        # Pillow writes texts of AVIF as ASCII.
        assert "avif" in (source, target) or exif[315].encode("latin-1") == "Jörg".encode()
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"


def test_exif_is_kept_in_png_files_of_16_bits(tmp_path: Path) -> None:
    exif = exif_of().tobytes()
    save_pages([raster(3, "uint16", tags=Tags(exif=exif, dpi=(300, 200)))], tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.getexif()[271] == "Canon"
        assert image.info["dpi"] == pytest.approx((300, 200), abs=0.01)  # per meter in the file


def test_camera_and_author_of_a_photo_are_kept_in_tiff(tmp_path: Path) -> None:
    source = read_image(saved(Image.fromarray(noise()), tmp_path / "x.jpg", exif=exif_of()))
    save_pages([source], tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        tags = file.pages.first.tags
        assert tags[271].value == "Canon"
        assert tags[315].value.encode("latin-1") in ("Jörg".encode(), "Jörg".encode("latin-1"))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_georeference_author_and_resolution_of_a_tiff_file_are_kept(
    tmp_path: Path, kind: str
) -> None:
    tags: dict[int, tuple[int, int, Any]] = {
        33550: (12, 3, (10.0, 10.0, 0.0)),
        33922: (12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)),
        34735: (3, 8, (1, 1, 0, 1, 1024, 0, 1, 1)),
        34737: (2, 0, b"WGS 84|"),
        42112: (2, 0, b"<GDALMetadata/>"),
        42113: (2, 0, b"-9999"),
        315: (2, 0, "Jörg".encode()),
    }
    tifffile.imwrite(
        tmp_path / "x.tif",
        noise(3, kind),
        photometric="rgb",
        resolution=(300, 200),
        resolutionunit="INCH",
        extratags=[(code, *tag, True) for code, tag in tags.items()],
    )
    save_pages(read_pages(tmp_path / "x.tif"), tmp_path / "y.tif")
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        found = file.pages.first.tags
        for code, (_, _, value) in tags.items():
            assert found[code].value == (value.decode() if isinstance(value, bytes) else value)
        assert (found[282].value, found[283].value, found[296].value) == ((300, 1), (200, 1), 2)


@pytest.mark.parametrize("source", ["jpg", "png", "bmp", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "bmp", "tif"])
def test_the_resolution_is_kept(tmp_path: Path, source: str, target: str) -> None:
    first = read_image(saved(Image.fromarray(noise()), tmp_path / f"x.{source}", dpi=(300, 200)))
    save_pages([first], tmp_path / f"y.{target}")
    with Image.open(tmp_path / f"y.{target}") as image:
        # Files of some formats have whole pixels per meter.
        assert image.info["dpi"] == pytest.approx((300, 200), abs=0.02)


def test_a_resolution_that_jpeg_cannot_hold_does_not_stop_it(tmp_path: Path) -> None:
    save_pages([raster(tags=Tags(dpi=(1e6, 1e6)))], tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").size == (10, 6)


@pytest.mark.parametrize("depth", ["uint8", "uint16", "int16", "float32"])
def test_all_pages_of_a_tiff_or_npz_file_are_written(tmp_path: Path, depth: Depth) -> None:
    first = raster(6, depth)
    pages = [first, Raster(first.pixels[::-1], depth=depth)]
    for ending in ("tif", "npz"):
        save_pages(pages, tmp_path / f"x.{ending}")
        found = read_pages(tmp_path / f"x.{ending}")
        assert all(same(one, other) for one, other in zip(found, pages, strict=True))


@pytest.mark.parametrize("ending", sorted(WRITABLE))
def test_every_extension_that_is_writable_is_written_and_read_back(
    tmp_path: Path, ending: str
) -> None:
    if ending == ".jxl":
        pytest.importorskip("imagecodecs")
    smooth = np.asarray(Image.linear_gradient("L").resize((32, 32)))[:, :, None].repeat(3, 2)
    path = tmp_path / f"x{ending}"
    save_pages([Raster(smooth)], path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert np.abs(read_image(path).pixels.astype(int) - smooth).max() <= 8


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    save_image(Image.new("RGBA", (4, 4), HALF_RED), tmp_path / "deep" / "x.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.png"]
    with Image.open(tmp_path / "deep" / "x.png") as saved_image:
        assert saved_image.mode == "RGBA"


@pytest.mark.parametrize(
    ("ending", "width", "exif"), [("webp", 16384, 0), ("gif", 65536, 0), ("jpg", 1, 70000)]
)
def test_what_is_too_large_for_a_format_is_an_error_of_one_image(
    ending: str, width: int, exif: int, tmp_path: Path
) -> None:
    tags = Tags(exif=b"Exif\0\0" + bytes(exif) if exif else None)
    raster = Raster(np.zeros((1, width, 3), np.uint8), tags=tags)
    with pytest.raises(ImageError, match=rf"x\.{ending} cannot be written(: .*\w|, because)"):
        save_pages([raster], tmp_path / f"x.{ending}")


@pytest.mark.parametrize("ending", sorted(WRITABLE))
def test_the_largest_side_of_each_format_is_known(ending: str, tmp_path: Path) -> None:
    for size in ((70_000, 1), (1, 70_000)):
        large, path = Raster(np.zeros((*size[::-1], 3), np.uint8)), tmp_path / f"x{ending}"
        if problem := too_large(ending, size):
            assert f"cannot hold {size[0]}x{size[1]} pixels, only " in problem
            with pytest.raises(ImageError, match=r"cannot hold .* `format=png`"):
                save_pages([large], path)
            assert not list(tmp_path.iterdir())
        elif ending != ".jxl":
            save_pages([large], path)
            assert read_image(path).size == size


def test_any_error_of_an_encoder_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"x\.jpg cannot be written: "):
        save_image(Image.new("RGB", (70_000, 1)), tmp_path / "x.jpg")
    with pytest.raises(ImageError, match=r"x\.webp cannot be written: "):
        save_image(Image.new("RGB", (70_000, 1)), tmp_path / "x.webp")
    assert not list(tmp_path.iterdir())
