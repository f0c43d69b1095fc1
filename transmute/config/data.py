"""Where images come from, and their preprocessing."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from transmute.config.base import Argument, Settings, Size


def _known_color(color: str) -> str:
    from PIL import ImageColor  # --help should not import Pillow

    ImageColor.getrgb(color)  # raises ValueError for an unknown color
    return color


class PreprocessConfig(Settings):
    """Preprocessing of images for training. Part of the recipe and of every model file."""

    mode: Literal[
        "resize-and-crop",
        "cover-and-crop",
        "crop",
        "scale-width",
        "scale-width-and-crop",
        "none",
    ] = "resize-and-crop"
    """resize-and-crop: resize to `preprocess.load_size`, then crop at random. cover-and-crop: the
    same, but keep proportions and cover `preprocess.load_size`. crop: only crop. scale-width:
    resize to the width of `preprocess.load_size`, keeping proportions, but at least to the height
    of `size`. scale-width-and-crop: the same, then crop. none: neither. Without a crop, sides are
    rounded to a multiple that the generator accepts."""
    load_size: Size | None = None
    """Size in pixels after resizing and before cropping. If omitted, 286/256 of `size`, as in
    pytorch-CycleGAN-and-pix2pix; in cover-and-crop, 1.12 times `size`, as in PyTorch-GAN."""
    uncropped: float = Field(default=0.0, ge=0, le=1)
    """Disable random crops for this last fraction of training, by resizing directly to `size` (CUT:
    0.5)."""
    flip: bool = True
    """Random left-right mirroring of half of the images."""
    channels_a: Literal[1, 3] = 3
    """Channels of domain a: 3 for RGB, 1 for gray."""
    channels_b: Literal[1, 3] = 3
    """Channels of domain b: 3 for RGB, 1 for gray."""
    background: Annotated[str, AfterValidator(_known_color)] = "white"
    """Color under transparent pixels, by name or as #rrggbb."""
    sequential: bool = False
    """Use images in the order of their names, without shuffling or random pairing."""


class SourceConfig(Settings):
    """Where images come from and how they are read. Not stored in a model."""

    a: Path | None = None
    """Folder of domain a, instead of a data set folder."""
    b: Path | None = None
    """Folder of domain b."""
    swap: bool = False
    """Exchange the domains a and b."""
    skip_bad: bool = False
    """Skip and report unreadable or unpaired images. By default, they are an error."""
    side_by_side: bool = False
    """Use the left and right halves of side-by-side images of any shape. By default, such an image
    is an error if its width is under 1.5 times its height."""
    max_images: int | None = Field(default=None, ge=1)
    """Use only the first N images of each domain."""
    cache: bool = False
    """Keep decoded images in memory."""
    workers: int | None = Field(default=None, ge=0)
    """Number of processes that load images. If omitted, 4 with a GPU, and 0 on a CPU or with a
    cache."""
    reader: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Function that reads an image: it takes a path and returns a uint8 array (height, width[, 1, 3
    or 4]). If set, every file in the folders counts as an image."""
