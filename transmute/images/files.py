"""Image files, color and the range [-1, 1]: the only module that handles file formats."""

import io
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from transmute import plugins
from transmute.errors import RankError
from transmute.files import replacing

if TYPE_CHECKING:
    import torch

    from transmute.tensors import Images

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

# Large images are a normal input here, not an attack.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageError(RankError):
    """An image that cannot be used, and why."""


def open_image(
    source: str | Path | Image.Image,
    *,
    channels: int = 3,
    background: str = "white",
    half: str | None = None,
    reader: str | None = None,
) -> tuple[Image.Image, Image.Image | None]:
    """Opens an image as a viewer displays it: upright (EXIF), in sRGB, with 8 bits.

    Only the first frame of an animation is used.

    Args:
        source: Path of the file, or an image opened with Pillow.
        channels: 3 for RGB, 1 for gray.
        background: Color under transparent pixels.
        half: "left" or "right" of two images side by side; None for the whole.
        reader: `FILE.py:NAME` of a function that reads the file instead of Pillow: from a path to a
            uint8 array (height, width[, 1, 3 or 4]).

    Returns:
        The image (mode RGB or L), and its alpha channel (mode L) if it has one. `info["mode"]` of
        the image is Pillow's name for how the file stores colors: RGB, L (gray), CMYK, I;16, ...

    Raises:
        ImageError: If the file is missing, truncated or not an image, or if the reader fails.
        UserError: If the reader cannot be loaded.
    """
    name = "the image" if isinstance(source, Image.Image) else str(source)
    if reader is not None and not isinstance(source, Image.Image):
        source = _read_with(reader, Path(source))
    try:
        # An image that is already open stays open.
        with Image.open(source) if isinstance(source, str | Path) else nullcontext(source) as file:
            file.load()
            upright = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise ImageError(f"there is no file {name}") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image that can be read") from None
    # Pillow's readers raise almost any exception on damaged files (struct.error, SyntaxError, ...).
    except Exception as error:
        raise ImageError(f"{name} cannot be read: {error}") from None
    image, alpha = _converted(crop_half(upright, half), name, channels, background)
    image.info["mode"] = upright.mode
    return image, alpha


def crop_half(image: Image.Image, half: str | None) -> Image.Image:
    """Crops one of two images side by side.

    The middle column of an odd width belongs to neither half.

    Args:
        image: The whole image.
        half: "left", "right", or None for the whole.
    """
    width = image.width // 2
    if half is None or width == 0:
        return image
    left = 0 if half == "left" else image.width - width
    return image.crop((left, 0, left + width, image.height))


def _read_with(reader: str, path: Path) -> Image.Image:
    """Reads an image with a user-defined function, `FILE.py:NAME`."""
    function = plugins.load(reader)
    try:
        array = np.asarray(function(path))
    except Exception as error:  # user code may raise anything
        raise ImageError(f"{path}: {reader} failed: {type(error).__name__}: {error}") from None
    return from_array(array, name=f"{path}: the result of {reader}")


def _converted(
    image: Image.Image, name: str, channels: int, background: str
) -> tuple[Image.Image, Image.Image | None]:
    """Converts an image to RGB or gray on a background. Also returns its alpha channel."""
    mode = "RGB" if channels == 3 else "L"
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels: it is {image.width}x{image.height}")
    if image.mode == "F":
        raise ImageError(
            f"{name} contains 32-bit floats, whose range is unknown. Save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scale
        levels = np.clip(np.asarray(image, dtype=np.float64) / 257, 0, 255).round()
        return Image.fromarray(levels.astype(np.uint8)).convert(mode), None
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    color = _in_srgb(image if image.mode == "CMYK" else image.convert("RGB")).convert("RGB")
    if alpha is not None:
        color = Image.composite(color, Image.new("RGB", image.size, background), alpha)
    return color.convert(mode), alpha


def _in_srgb(image: Image.Image) -> Image.Image:
    """Converts an RGB or CMYK image to sRGB, using its embedded profile."""
    # There may be no profile, a broken one, or one for another color space.
    with suppress(KeyError, ImageCms.PyCMSError, OSError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if "sRGB" not in ImageCms.getProfileDescription(source):
            return ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB") or image
    return image


def to_bytes_tensor(image: Image.Image) -> "torch.Tensor":
    """Converts an image of mode RGB or L to uint8 (channels, height, width)."""
    import torch

    return torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1).contiguous()


def normalize(pixels: "torch.Tensor") -> "Images":
    """Converts uint8 of any shape to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_tensor(image: Image.Image) -> "Images":
    """Converts an image of mode RGB or L to float32 (1, channels, height, width) in [-1, 1]."""
    return normalize(to_bytes_tensor(image))[None]


def to_pil(images: "Images") -> Image.Image:
    """Converts one image in [-1, 1] to mode L (1 channel) or RGB (3 channels).

    Values are rounded to the nearest of 256 levels, and clipped.

    Args:
        images: (channels, height, width) or (1, channels, height, width).
    """
    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()
    return from_array(levels.reshape(images.shape[-3:]).permute(1, 2, 0).cpu().numpy())


def from_array(array: np.ndarray, name: str = "an array") -> Image.Image:
    """Converts a uint8 array (height, width) or (height, width, 1, 3 or 4) to an image.

    Args:
        array: The array.
        name: Subject of the error message.

    Raises:
        ImageError: If it is another array.
    """
    shape_fits = array.ndim >= 2 and array.shape[2:] in ((), (1,), (3,), (4,)) and array.size
    if array.dtype != np.uint8 or not shape_fits:
        raise ImageError(
            f"{name} should be uint8 (height, width) or (height, width, 1, 3 or 4), but is "
            f"{array.shape} of {array.dtype}"
        )
    return Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)


def save_image(image: Image.Image, path: Path) -> None:
    """Writes an image atomically, in the format of the path's extension.

    JPEG and WebP have quality 95. Alpha is dropped where the format has none.
    """
    suffix = path.suffix.lower()
    if suffix in (".jpg", ".jpeg", ".ppm", ".bmp") and image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    options: dict[str, Any] = {"quality": 95} if suffix in (".jpg", ".jpeg", ".webp") else {}
    text = PngImagePlugin.PngInfo()  # other formats ignore it
    if "sheet" in image.info:
        text.add_text("sheet", image.info["sheet"])
    with replacing(path) as temporary:
        image.save(temporary, pnginfo=text, **options)
