"""Pixels: the one place that knows file formats, color and the range [-1, 1]."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, PngImagePlugin

from transmute.settings import OwnError, UserError

if TYPE_CHECKING:
    import torch

    from transmute.tensors import Images

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"})
"""Files with these endings, in any case, are pictures."""


warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # large pictures are what this is for


class PictureError(OwnError):
    """A picture that cannot be read, and why."""


def find_pictures(folder: Path) -> list[Path]:
    """All pictures below a folder in the order of their names; hidden files and folders do not count."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    below = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    return sorted(path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels as a file's header says, or None where it cannot be read."""
    with contextlib.suppress(Exception), Image.open(path) as file:  # Pillow's readers raise almost anything on damaged files
        return file.size
    return None


def picture_mode(path: Path) -> str | None:
    """Pillow's name for how a file stores colors (RGB, L for gray, RGBA, CMYK, I;16, ...), or None where its header cannot be read."""
    with contextlib.suppress(Exception), Image.open(path) as file:  # as above
        return file.mode
    return None


def open_picture(
    source: Path | Image.Image, *, channels: int = 3, background: str = "white", half: str | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """A picture as the eye sees it: upright (EXIF), in sRGB, 8 bits, its first frame, on a background where it is transparent.

    Args:
        source: Path of the file, or a picture that is open already.
        channels: 3 for RGB, 1 for gray.
        background: Color under transparent pixels.
        half: "left" or "right" of two pictures side by side; None for the whole.

    Returns:
        The picture (mode RGB or L), and its alpha channel (mode L) if it has one.

    Raises:
        PictureError: If the file is missing, truncated or no picture.
    """
    if isinstance(source, Image.Image):
        try:
            source.load()
        except Exception as error:  # as below
            raise PictureError(f"the picture cannot be read: {error}") from None
        return _as_seen(_half(ImageOps.exif_transpose(source), half), "the picture", channels, background)
    try:
        with Image.open(source) as file:
            file.load()
            upright = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise PictureError(f"there is no file {source}") from None
    except Image.UnidentifiedImageError:
        raise PictureError(f"{source} is not a picture that can be read") from None
    # Pillow's readers raise almost anything on damaged files (struct.error, SyntaxError, ZeroDivisionError, ...).
    except Exception as error:
        raise PictureError(f"{source} cannot be read: {error}") from None
    return _as_seen(_half(upright, half), str(source), channels, background)


def _half(image: Image.Image, half: str | None) -> Image.Image:
    """One of two pictures side by side; a column that is left over in the middle of an odd width belongs to none."""
    width = image.width // 2
    if half is None or width == 0:
        return image
    return image.crop((0, 0, width, image.height) if half == "left" else (image.width - width, 0, image.width, image.height))


def _as_seen(image: Image.Image, source: str, channels: int, background: str) -> tuple[Image.Image, Image.Image | None]:
    mode = "RGB" if channels == 3 else "L"
    if 0 in image.size:
        raise PictureError(f"{source} has no pixels: it is {image.width}x{image.height}")
    if image.mode == "F":
        raise PictureError(f"{source} holds 32-bit floats, which have no known range: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bits(image).convert(mode), None
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    color = _in_srgb(image if image.mode == "CMYK" else image.convert("RGB")).convert("RGB")
    if alpha is not None:
        color = Image.composite(color, Image.new("RGB", image.size, ImageColor.getrgb(background)), alpha)
    return color.convert(mode), alpha


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits (which Pillow would clip) as 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8))


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        converted = ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken or foreign profile: the pixels as they are
        return image
    return converted or image


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_bytes_tensor(image: Image.Image) -> torch.Tensor:
    """A picture of mode RGB or L as uint8 (channels, height, width)."""
    import torch

    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()


def normalize(pixels: torch.Tensor) -> Images:
    """uint8 to float32 in [-1, 1], any shape."""
    return pixels.float() / 127.5 - 1


def to_pixels(images: Images) -> torch.Tensor:
    """[-1, 1] to uint8, rounded to the nearest level, any shape."""
    import torch

    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_tensor(image: Image.Image) -> Images:
    """A picture of mode RGB or L as float32 (1, channels, height, width) in [-1, 1]."""
    return normalize(to_bytes_tensor(image))[None]


def to_picture(images: Images) -> Image.Image:
    """(channels, height, width) or (1, channels, height, width) in [-1, 1] as a picture; 1 channel is gray, 3 are RGB."""
    pixels = to_pixels(images.reshape(images.shape[-3:])).cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def save_picture(image: Image.Image, path: Path) -> None:
    """Writes a picture in the format of the path's ending, aside first, so that no half-written file is left.

    JPEG and WebP at quality 95; alpha is dropped where the format has none.
    """
    suffix = path.suffix.lower()
    if suffix in (".jpg", ".jpeg", ".ppm", ".bmp") and image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    if suffix in (".jpg", ".jpeg", ".webp"):
        image.save(aside, quality=95)
    elif suffix == ".png" and "sheet" in image.info:
        text = PngImagePlugin.PngInfo()
        text.add_text("sheet", image.info["sheet"])
        image.save(aside, pnginfo=text)
    else:
        image.save(aside)
    with aside.open("r+b") as file:
        os.fsync(file.fileno())
    try:
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
