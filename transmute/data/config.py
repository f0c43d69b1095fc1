"""Where pictures come from, and what is done to them on the way. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from transmute.settings import Settings, Size


def _known_color(color: str) -> str:
    if color != "white":  # the default needs no look, and --help no Pillow
        from PIL import ImageColor

        ImageColor.getrgb(color)  # raises ValueError for what is no color
    return color


class PreprocessConfig(Settings):
    """From a picture on disk to what training sees; part of the recipe and of every model file."""

    mode: Literal["resize-and-crop", "cover-and-crop", "crop", "scale-width", "scale-width-and-crop", "none"] = "resize-and-crop"
    """Resize to load-size and crop at random; the same in proportion, so that load-size is covered; crop only; make as wide as
    load-size, the height in proportion (at least that of --size); the same, then crop; or leave as it is. Without a crop, sides
    are rounded to what the generator takes."""
    load_size: Size | None = None
    """Pixels after resizing and before any crop; None is --size times 286/256, as in the original."""
    settled: float = Field(default=0.0, ge=0, le=1)
    """Share of the training, at its end, in which load-size is --size itself, so that nothing is cropped off (CUT: 0.5)."""
    flip: bool = True
    """Mirror half of the pictures left to right."""
    channels_a: Literal[1, 3] = 3
    """Channels of domain a: 3 for RGB, 1 for gray."""
    channels_b: Literal[1, 3] = 3
    """Channels of domain b: 3 for RGB, 1 for gray."""
    background: Annotated[str, AfterValidator(_known_color)] = "white"
    """Color under transparent pixels, by name or as #rrggbb."""
    serial: bool = False
    """Keep pictures in the order of their names, domain b beside domain a, and nothing drawn at random in the order."""


class SourceConfig(Settings):
    """Where pictures come from and how they are read; nothing here is kept in a model."""

    a: Path | None = None
    """Folder of domain a, in place of a data set folder."""
    b: Path | None = None
    """Folder of domain b."""
    swap: bool = False
    """Exchange the domains: what is found as a is b."""
    skip_bad: bool = False
    """Leave unreadable pictures out (and say so) instead of stopping."""
    max_pictures: int | None = Field(default=None, ge=1)
    """Use only the first so many pictures of each domain."""
    cache: bool = False
    """Keep decoded pictures in memory."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that load pictures; None is up to 4 beside a GPU and none beside a CPU or with a cache."""
