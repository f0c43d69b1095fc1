"""Translates generated image files with a model that changes nothing, and compares them.

    python -m benchmarks.images

Prints the table in docs/images.md. Outputs are read without Transmute: with Pillow, tifffile,
numpy and imagecodecs.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, ImageSequence

from transmute.config.data import PreprocessConfig, Range
from transmute.config.networks import ResNetConfig
from transmute.images.raster import Depth
from transmute.translation.files import translate_file
from transmute.translation.model import ModelCard
from transmute.translation.translator import Translator

HEIGHT, WIDTH = 12, 20
Arrays = list[np.ndarray]
ROTATED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.transpose(1, 0, 2),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).transpose(1, 0, 2),
    8: lambda array: np.rot90(array),
}
"""How images are rotated by their orientation tag."""


@dataclass(frozen=True)
class Case:
    """A file, and how to compare its translation.

    Attributes:
        format, mode, depth, variant: Columns of the table.
        name: Name of the file.
        write: Writes the file.
        view: Reads pages of a file as a viewer shows them, with alpha as the last channel.
        expected: The pages that the file contains. By default, `view` reads them from it.
        output: Name of the translation.
        tolerance: Largest difference in units of the depth: 0, except for lossy formats.
    """

    format: str
    mode: str
    depth: Depth
    variant: str
    name: str
    write: Callable[[Path], object]
    view: Callable[[Path], Arrays]
    expected: Arrays | None = None
    output: str = ""
    tolerance: float = 0
    channels: int = field(default=3)


@cache
def identity(channels: int, depth: Depth) -> Translator:
    """A translator whose network returns its input: a residual generator of zeros."""
    limits = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-32768, 32767)}
    low, high = limits.get(depth, (-1000, 1000))
    values = Range(depth=depth, low=(low,), high=(high,))
    config = ResNetConfig(width=2, blocks=1, residual=True)
    card = ModelCard(
        transmute="0",
        method="cyclegan",
        direction="a_to_b",
        source="a",
        target="b",
        generator=config,
        in_channels=channels,
        out_channels=channels,
        size="16",
        preprocess=PreprocessConfig(
            channels_a=channels, channels_b=channels, range_a=values, range_b=values
        ),
    )
    network = config.build(channels, channels)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    return Translator.of(card, network.eval(), torch.device("cpu"))


def pixels(channels: int, depth: Depth = "uint8", seed: int = 0) -> np.ndarray:
    """Random values, with all extremes, as (height, width, channels)."""
    rng = np.random.default_rng(seed)
    if depth == "float32":
        return rng.uniform(-1000, 1000, (HEIGHT, WIDTH, channels)).astype(np.float32)
    limits = np.iinfo(depth)
    values = rng.integers(limits.min, limits.max + 1, (HEIGHT, WIDTH, channels))
    values[0, 0], values[0, 1] = limits.min, limits.max
    return values.astype(depth)


def with_alpha(array: np.ndarray) -> np.ndarray:
    """Adds an alpha channel of all levels, among them 0 and opaque."""
    full = 1.0 if array.dtype == np.float32 else np.iinfo(array.dtype).max
    alpha = np.linspace(0, full, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    return np.dstack([array, alpha.astype(array.dtype)])


def seen_with_pillow(path: Path) -> Arrays:
    """Frames as 8-bit RGBA in sRGB, upright. Of GIF and animations, clear pixels are black."""
    with Image.open(path) as image:
        frames = []
        for frame in ImageSequence.Iterator(image):
            upright = ImageOps.exif_transpose(frame)
            color = upright.convert("RGBA")
            if profile := frame.info.get("icc_profile"):
                alpha = color.getchannel("A")
                mode = "L" if upright.mode in ("L", "LA") else "RGB"
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                srgb = ImageCms.createProfile("sRGB")
                if not _is_same(source, ImageCms.ImageCmsProfile(srgb)):
                    if upright.mode != "CMYK":
                        upright = color.convert(mode)
                    # Optimized, the library is up to 10 levels off in dark gray.
                    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
                    color = ImageCms.profileToProfile(
                        upright, source, srgb, outputMode="RGB", flags=flags
                    )
                    assert color is not None
                    color.putalpha(alpha)
            array = np.array(color)
            if image.format == "GIF" or getattr(image, "n_frames", 1) > 1:
                array[array[:, :, 3] == 0] = 0
            frames.append(array)
        return frames


def _is_same(one: Any, other: Any) -> bool:
    return one.tobytes()[128:] == other.tobytes()[128:]


def seen_with_tifffile(path: Path) -> Arrays:
    """Pages of a TIFF file in chunky order, as (height, width, channels)."""
    with tifffile.TiffFile(path) as file:
        pages = [page.asarray() for page in file.pages]
    return [page if page.ndim == 3 else page[:, :, None] for page in pages]


def seen_with_numpy(path: Path) -> Arrays:
    """Arrays of a .npy or .npz file."""
    loaded = np.load(path)
    arrays = [loaded] if isinstance(loaded, np.ndarray) else list(loaded.values())
    return [array.reshape(HEIGHT, WIDTH, -1) for array in arrays]


CODECS = {
    "png": (imagecodecs.png_encode, imagecodecs.png_decode),
    "jpeg2k": (imagecodecs.jpeg2k_encode, imagecodecs.jpeg2k_decode),
    "jpegxl": (imagecodecs.jpegxl_encode, imagecodecs.jpegxl_decode),
}


def seen_with_imagecodecs(codec: str, path: Path) -> Arrays:
    """The image in a file, as (height, width, channels)."""
    _, decode = CODECS[codec]
    decoded = decode(path.read_bytes())
    return [decoded.reshape(HEIGHT, WIDTH, -1)]


def seen_as_pnm(path: Path) -> Arrays:
    """The samples of a binary PNM file of 16 bits with a header of one line."""
    head, _, data = path.read_bytes().partition(b" 65535\n")
    channels = 3 if head.startswith(b"P6") else 1
    return [np.frombuffer(data, ">u2").reshape(HEIGHT, WIDTH, channels)]


def wide_profile() -> bytes:
    """A profile of sRGB's curves in which red and green are exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def gray_profile(gamma: float) -> bytes:
    """A gray profile of a gamma curve (version 2)."""

    def tag(kind: bytes, data: bytes) -> bytes:
        return kind + bytes(4) + data

    white = np.array([0.9642, 1, 0.8249]) * 65536
    description = tag(b"desc", (5).to_bytes(4, "big") + b"gray\0" + bytes(78 + 1))
    curve = tag(b"curv", (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + b"\0\0")
    tags = {
        b"desc": description,
        b"wtpt": tag(b"XYZ ", white.round().astype(">i4").tobytes()),
        b"kTRC": curve,
    }
    table, body = len(tags).to_bytes(4, "big"), b""
    for name, data in tags.items():
        offset = 132 + 12 * len(tags) + len(body)
        table += name + offset.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += data + bytes(-len(data) % 4)
    size = (128 + len(table) + len(body)).to_bytes(4, "big")
    head = size + b"\0\0\0\0\x02\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + white.round().astype(">i4").tobytes()).ljust(128, b"\0") + table + body


def profiles() -> dict[str, tuple[str, bytes]]:
    """Profiles by name, with the mode of images that have them."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "sRGB profile": ("RGB", srgb),
        "RGB of other primaries": ("RGB", wide_profile()),
        "gray gamma 1.0": ("L", gray_profile(1.0)),
        "gray gamma 2.2": ("L", gray_profile(2.2)),
    }


def image_of(mode: str, seed: int = 0) -> Image.Image:
    """A random image of a Pillow mode of 8 bits."""
    if mode == "1":
        return Image.fromarray(pixels(1, seed=seed)[:, :, 0]).convert("1")
    if mode in ("P", "P and tRNS"):
        image = Image.fromarray(pixels(1, seed=seed)[:, :, 0] % 200)
        image.putpalette(
            np.random.default_rng(seed).integers(0, 256, 768).astype(np.uint8).tobytes()
        )
        return image
    array = pixels(len(mode.removesuffix("A")), seed=seed)
    array = with_alpha(array) if mode.endswith("A") else array
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array, mode or None)


def pillow_cases() -> Iterator[Case]:
    """8-bit images of all formats that Pillow writes."""
    modes = {
        "PNG": ("1", "L", "LA", "RGB", "RGBA", "P", "P and tRNS"),
        "WebP": ("RGB", "RGBA"),
        "GIF": ("L", "P", "P and tRNS"),
        "JPEG2000": ("L", "LA", "RGB", "RGBA"),
        "BMP": ("1", "L", "RGB", "P"),
        "TGA": ("L", "LA", "RGB", "RGBA", "P"),
        "PPM": ("1", "L", "RGB"),
        "TIFF": ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "LAB"),
    }
    endings = {"JPEG2000": "jp2", "TIFF": "tif"}
    for kind, names in modes.items():
        for mode in names:
            options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WebP" else {}
            if mode == "P and tRNS":
                options["transparency"] = 7 if kind == "GIF" else bytes(range(0, 250, 5))
            image = image_of("P" if mode == "LAB" else mode)
            if mode == "LAB":
                image = Image.merge("LAB", image_of("RGB").split())
            write = partial(image.save, format=kind.upper(), **options)
            name = f"{kind}-{mode.replace(' ', '-')}.{endings.get(kind, kind.lower())}"
            channels = 1 if mode in ("1", "L", "LA") else 3
            yield Case(kind, mode, "uint8", "", name, write, seen_with_pillow, channels=channels)
    for kind in ("JPEG", "AVIF", "WebP"):
        for mode in ("L", "RGB") if kind == "JPEG" else ("RGB", "RGBA"):
            image = image_of(mode).resize((4, 4))
            smooth = image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            exif = Image.Exif()
            exif[0x0112] = 6
            write = partial(smooth.save, format=kind.upper(), quality=95, exif=exif, exact=True)
            yield Case(
                kind, mode, "uint8", "orientation 6", f"lossy-{mode}.{kind.lower()}", write,
                seen_with_pillow, tolerance=12, channels=1 if mode == "L" else 3,
            )  # fmt: skip


def oriented_cases() -> Iterator[Case]:
    """The eight orientations of EXIF and TIFF."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        variant = f"orientation {orientation}"
        for kind, ending in (("PNG", "png"), ("WebP", "webp")):
            options = {"lossless": True, "exact": True} if kind == "WebP" else {}
            write = partial(image_of("RGBA").save, format=kind.upper(), exif=exif, **options)
            name = f"{kind}-{orientation}.{ending}"
            yield Case(kind, "RGBA", "uint8", variant, name, write, seen_with_pillow)
        stored, upright = pixels(3, "uint16"), ROTATED[orientation](pixels(3, "uint16"))
        tag = (274, 3, 1, orientation, True)
        for depth in ("uint8", "uint16"):
            write = partial(_write_tiff, stored.astype(depth), photometric="rgb", extratags=[tag])
            yield Case(
                "TIFF", "3 channels", depth, variant, f"{depth}-{orientation}.tif", write,
                seen_with_tifffile, [upright.astype(depth)],
            )  # fmt: skip


def profile_cases() -> Iterator[Case]:
    """Color profiles."""
    for variant, (mode, profile) in profiles().items():
        for kind, ending in (("PNG", "png"), ("TIFF", "tif")):
            for suffix in ("", "A"):
                image = image_of(mode + suffix)
                write = partial(image.save, format=kind, icc_profile=profile)
                name = f"{kind}-{mode}{suffix}-{variant.replace(' ', '-')}.{ending}"
                yield Case(
                    kind, mode + suffix, "uint8", variant, name, write, seen_with_pillow,
                    channels=len(mode), tolerance=0,
                )  # fmt: skip


def animated_cases() -> Iterator[Case]:
    """Animations, and TIFF files of several pages."""
    for kind, ending, modes in (
        ("GIF", "gif", ("P", "P and tRNS")),
        ("PNG", "png", ("RGB", "RGBA")),
        ("WebP", "webp", ("RGB", "RGBA")),
        ("TIFF", "tif", ("L", "RGB", "RGBA")),
    ):
        for mode in modes:
            first, *others = [image_of(mode, seed) for seed in range(3)]
            options: dict[str, Any] = {"save_all": True, "append_images": others}
            options |= {} if kind == "TIFF" else {"duration": [100, 200, 300], "loop": 2}
            options |= {"lossless": True, "exact": True} if kind == "WebP" else {}
            options |= {"transparency": 7, "disposal": 2} if mode == "P and tRNS" else {}
            write = partial(first.save, format=kind, **options)
            name = f"{kind}-{mode.replace(' ', '-')}-3.{ending}"
            yield Case(
                kind, mode, "uint8", "3 frames", name, write, seen_with_pillow,
                channels=1 if mode == "L" else 3,
            )  # fmt: skip


def tiff_cases() -> Iterator[Case]:
    """Deep TIFF files."""
    depths: tuple[Depth, ...] = ("uint8", "uint16", "int16", "float32")
    layouts: dict[str, dict[str, Any]] = {
        "": {},
        "planar": {"planarconfig": "separate"},
        "tiled": {"tile": (16, 16)},
        "big-endian": {"byteorder": ">"},
        "BigTIFF": {"bigtiff": True},
        "LZW": {"compression": "lzw", "predictor": True},
    }
    for depth in depths:
        for channels in (1, 3, 4, 6):
            for alpha in (False, True):
                for layout, options in layouts.items():
                    if layout == "planar" and channels == 1:
                        continue
                    yield _tiff_case(depth, channels, alpha, layout, options)
        array = pixels(1, depth)[:, :, 0]
        inverted = -array if depth == "float32" else ~array
        write = partial(_write_tiff, inverted, photometric="miniswhite")
        yield Case(
            "TIFF", _channels(1), depth, "WhiteIsZero", f"white-{depth}.tif", write,
            seen_with_tifffile, [array[:, :, None]], channels=1,
        )  # fmt: skip
        stack = np.stack([pixels(3, depth, seed) for seed in range(3)])
        write = partial(_write_tiff, stack, photometric="rgb")
        yield Case(
            "TIFF", _channels(3), depth, "3 pages", f"pages-{depth}.tif", write,
            seen_with_tifffile, list(stack),
        )  # fmt: skip
    for axes in ("ZYX", "ZCYX"):
        shape = (3, 2)[: len(axes) - 2]
        stack = np.random.default_rng(0).integers(0, 65536, (*shape, HEIGHT, WIDTH), np.uint16)
        write = partial(_write_tiff, stack, imagej=True, metadata={"axes": axes})
        pages = [np.moveaxis(page.reshape(-1, HEIGHT, WIDTH), 0, 2) for page in stack]
        yield Case(
            "TIFF", _channels(pages[0].shape[2]), "uint16", f"ImageJ {axes}", f"{axes}.tif",
            write, seen_with_tifffile, pages, channels=pages[0].shape[2],
        )  # fmt: skip


def _tiff_case(
    depth: Depth, channels: int, alpha: bool, layout: str, options: dict[str, Any]
) -> Case:
    array = pixels(channels, depth)
    if alpha:
        array = with_alpha(array)
        if depth == "float32":
            array = array.astype(np.float32)
    rgb, mode = channels == 3, _channels(channels) + " and alpha" * alpha
    samples = array.shape[2]
    extra = [0] * (0 if rgb else channels - 1) + [2] * alpha
    data = np.moveaxis(array, 2, 0) if layout == "planar" else array
    options = {"planarconfig": "contig"} | options if samples > 1 else options
    options |= {"extrasamples": extra} if extra else {}
    photometric = "rgb" if rgb else "minisblack"
    write = partial(
        _write_tiff, data if samples > 1 else data[:, :, 0], photometric=photometric, **options
    )
    name = f"{depth}-{channels}{'a' * alpha}-{layout}.tif"
    return Case(
        "TIFF", mode, depth, layout, name, write, seen_with_tifffile, [array], channels=channels
    )


def _channels(number: int) -> str:
    return f"{number} channel" + "s" * (number > 1)


def _write_tiff(array: np.ndarray, path: Path, **options: Any) -> None:
    tifffile.imwrite(path, array, **options)


def multiplied_cases() -> Iterator[Case]:
    """TIFF files whose colors are multiplied with alpha."""
    depths: tuple[Depth, ...] = ("uint8", "uint16")
    for depth in depths:
        straight = with_alpha(pixels(3, depth))
        straight[:, :, 3] = np.iinfo(depth).max
        straight[straight[:, :, 0] % 2 == 0] = 0  # clear or opaque, where no rounding is
        write = partial(_write_tiff, straight, photometric="rgb", extrasamples=["assocalpha"])
        yield Case(
            "TIFF", "3 channels and alpha", depth, "multiplied with alpha", f"mult-{depth}.tif",
            write, seen_with_tifffile, [straight],
        )  # fmt: skip


def _write_bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def array_cases() -> Iterator[Case]:
    """16-bit PNG, PNM and JPEG 2000, JPEG XL, and arrays."""
    for mode, channels, alpha in (("L", 1, 0), ("LA", 1, 1), ("RGB", 3, 0), ("RGBA", 3, 1)):
        array = with_alpha(pixels(channels, "uint16")) if alpha else pixels(channels, "uint16")
        squeezed = array[:, :, 0] if array.shape[2] == 1 else array
        for kind, codec, ending in (
            ("PNG", "png", "png"), ("JPEG2000", "jpeg2k", "jp2"), ("JPEG XL", "jpegxl", "jxl"),
        ):  # fmt: skip
            if codec == "jpeg2k" and mode == "LA":
                continue
            options = {"png": {}, "jpeg2k": {"codecformat": "jp2", "level": 0, "reversible": True}}
            encode, _ = CODECS[codec]
            encoded = encode(squeezed, **options.get(codec, {"lossless": True}))
            yield Case(
                kind, mode, "uint16", "", f"deep-{mode}.{ending}", partial(_write_bytes, encoded),
                partial(seen_with_imagecodecs, codec), [array], channels=channels,
            )  # fmt: skip
        if not alpha:
            head = b"P%d %d %d 65535\n" % (5 if channels == 1 else 6, WIDTH, HEIGHT)
            yield Case(
                "PPM", mode, "uint16", "", f"deep-{mode}.ppm",
                partial(_write_bytes, head + array.astype(">u2").tobytes()), seen_as_pnm, [array],
                channels=channels,
            )  # fmt: skip
    depths: tuple[Depth, ...] = ("uint8", "uint16", "int16", "float32")
    for depth in depths:
        for channels in (1, 6):
            array = pixels(channels, depth)
            for kind, save in (("npy", np.save), ("npz", np.savez)):
                yield Case(
                    kind, _channels(channels), depth, "", f"{depth}-{channels}.{kind}",
                    partial(_save, save, array), seen_with_numpy, [array], channels=channels,
                )  # fmt: skip


def _save(save: Callable[..., None], array: np.ndarray, path: Path) -> None:
    save(path, array)


def all_cases() -> list[Case]:
    """All files of the corpus."""
    return [
        case
        for cases in (
            pillow_cases, oriented_cases, profile_cases, animated_cases, tiff_cases,
            multiplied_cases, array_cases,
        )
        for case in cases()
    ]  # fmt: skip


def difference(case: Case, folder: Path) -> float:
    """Translates a file, and returns the largest difference to it, in units of its depth.

    Raises:
        RuntimeError: If it cannot be translated, or has another number of pages or size.
    """
    source, target = folder / case.name, folder / "translated" / (case.output or case.name)
    case.write(source)
    translator = identity(case.channels, case.depth)
    error, _ = translate_file(translator, source, target)
    if error:
        raise RuntimeError(error)
    expected, found = case.expected or case.view(source), case.view(target)
    if [page.shape for page in expected] != [page.shape for page in found]:
        shapes = [[page.shape for page in pages] for pages in (expected, found)]
        raise RuntimeError(f"{case.name}: {shapes[0]} became {shapes[1]}")
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(one.astype(np.float64) - other).max()) for one, other in pairs)


def table(rows: dict[tuple[str, str], list[tuple[Case, float]]]) -> str:
    """A Markdown table of the largest differences by format and depth."""
    lines = [
        "| format | values | images | variants | largest difference |",
        "|---|---|---|---|---|",
    ]
    for (kind, depth), results in rows.items():
        modes = list(dict.fromkeys(case.mode.removesuffix(" and alpha") for case, _ in results))
        if any(case.mode.endswith(" and alpha") for case, _ in results):
            modes.append("all with and without alpha")
        variants = dict.fromkeys(case.variant for case, _ in results if case.variant)
        if "orientation 8" in variants:
            others = [name for name in variants if not name.startswith("orientation")]
            variants = ["8 orientations", *others]
        largest = max(difference for _, difference in results)
        text = f"{largest / 2000:.0e} of the range" if depth == "float32" else f"{largest:.0f}"
        columns = (kind, depth, ", ".join(modes), ", ".join(variants), text)
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    rows: dict[tuple[str, str], list[tuple[Case, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in all_cases():
            kind = f"{case.format}, lossy" if case.tolerance else case.format
            results = rows.setdefault((kind, case.depth), [])
            results.append((case, difference(case, Path(folder))))
    print(table(rows))
    print(f"\n{sum(map(len, rows.values()))} files")


if __name__ == "__main__":
    main()
