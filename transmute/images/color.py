"""Conversion to sRGB by the color profiles in image files."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_MODES = {"GRAY": ("L",), "RGB ": ("RGB",), "CMYK": ("CMYK",)}


@lru_cache(maxsize=16)
def _profile(data: bytes) -> Any:
    """An ICC profile (ImageCmsProfile), or None if it is damaged."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(data))
    except (OSError, ImageCms.PyCMSError):
        return None


@lru_cache(maxsize=16)
def is_srgb(data: bytes) -> bool:
    """Whether a profile is equivalent to sRGB: within 3 levels for a grid of 729 colors."""
    profile = _profile(data)
    if profile is None or profile.profile.xcolor_space != "RGB ":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    converted = _converted(Image.fromarray(cube), profile)
    if converted is None:
        return False
    return bool(np.abs(np.asarray(converted).astype(int) - cube).max() <= 3)


def to_srgb(image: Image.Image, data: bytes | None) -> tuple[Image.Image, str | None]:
    """Converts an image of mode RGB, L or CMYK to sRGB (RGB, or L for gray) by its profile.

    Args:
        image: The image.
        data: Its ICC profile, if it has one.

    Returns:
        The image, and a sentence if the profile could not be applied.
    """
    gray, kind = image.mode == "L", image.mode
    plain = image if kind in ("RGB", "L") else image.convert("RGB")
    if data is None or is_srgb(data):
        return plain, None
    profile = _profile(data)
    if profile is None:
        return plain, "its color profile is damaged and is not applied"
    space = profile.profile.xcolor_space
    if gray and space == "RGB ":
        image, kind = image.convert("RGB"), "RGB"
    if kind not in _MODES.get(space, ()):
        return plain, (
            f"its color profile {profile_name(data)} is for {space.strip()} and is not applied, "
            f"because the pixels are {kind}"
        )
    converted = _converted(image, profile)
    if converted is None:
        return plain, f"its color profile {profile_name(data)} cannot be applied"
    return (converted.getchannel(0) if gray else converted), None


def fits(data: bytes, channels: int) -> bool:
    """Whether a profile is for images of a number of channels: RGB for 3, gray for 1."""
    profile = _profile(data)
    space = profile.profile.xcolor_space if profile else ""
    return (space, channels) in (("RGB ", 3), ("GRAY", 1))


def not_applied(data: bytes, depth: str) -> str:
    """The sentence about a profile of pixels that are not converted to sRGB."""
    return f"its color profile {profile_name(data)} is not applied, because it has {depth} values"


def profile_name(data: bytes) -> str:
    """Description of an ICC profile."""
    profile = _profile(data)
    return ImageCms.getProfileDescription(profile).strip() if profile else "(damaged)"


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """Converts to RGB, or to L for gray; None if the profile is unusable."""
    is_gray = image.mode == "L"
    # A table of all levels, because the library interpolates gray coarsely when optimizing.
    source = Image.fromarray(np.arange(256, dtype=np.uint8)[None]) if is_gray else image
    flags = ImageCms.Flags.NOOPTIMIZE if is_gray else ImageCms.Flags.NONE
    try:
        converted = ImageCms.profileToProfile(source, profile, SRGB, outputMode="RGB", flags=flags)
    except ImageCms.PyCMSError:
        return None
    if is_gray and converted is not None:
        return image.point(converted.getchannel(0).tobytes())
    return converted
