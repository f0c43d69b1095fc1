"""Where images come from, and their preprocessing."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from transmute.config.base import Argument, Settings, Size


def _known_color(color: str | None) -> str | None:
    from PIL import ImageColor  # --help should not import Pillow

    if color is not None:
        ImageColor.getrgb(color)  # raises ValueError for an unknown color
    return color


class Range(Settings):
    """The values of a domain's images that are -1 and 1 for the networks."""

    depth: Literal["uint8", "uint16", "int16", "float32"] = "uint8"
    """Type of the values in files. Translations to this domain are written with it."""
    low: tuple[float, ...] = (0.0,)
    """Value that is -1, for each channel, or one for all."""
    high: tuple[float, ...] = (255.0,)
    """Value that is 1, for each channel, or one for all."""
    origin: Literal["full", "percentiles", "set"] = "full"
    """full: all values of the type. percentiles: the 0.1 and 99.9 percentiles of the training
    images. set: by the user."""

    @property
    def is_8_bit(self) -> bool:
        """Whether it is all values of 8 bits."""
        return self.depth == "uint8" and (self.low, self.high) == ((0.0,), (255.0,))

    def __str__(self) -> str:
        pairs = zip(self.low, self.high, strict=True)
        return ",".join(f"{low:.6g}:{high:.6g}" for low, high in pairs)

    @classmethod
    def parsed(cls, text: str) -> "Range":
        """Parses LOW:HIGH, or one such pair per channel, separated by commas.

        Raises:
            ValueError: If it is something else.
        """
        try:
            pairs = [tuple(map(float, pair.split(":"))) for pair in text.split(",")]
            low, high = zip(*pairs, strict=True)
        except ValueError:
            low, high = (0.0,), (0.0,)
        if not all(
            -math.inf < bottom < top < math.inf for bottom, top in zip(low, high, strict=True)
        ):
            raise ValueError(
                f"{text!r} is not a range. Write LOW:HIGH, such as -1000:1000, or one for each "
                "channel, separated by commas"
            )
        return cls(low=low, high=high, origin="set")


def _range_text(text: str) -> str:
    Range.parsed(text)
    return text.strip()


RangeText = Annotated[str, AfterValidator(_range_text)]
"""LOW:HIGH, or one such pair per channel, separated by commas."""


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
    channels_a: int | None = Field(default=None, ge=1, le=4096)
    """Channels of domain a: 3 for RGB, 1 for gray, or any other number. If omitted, 3 for images of
    8 bits in gray or RGB; otherwise those of the files."""
    channels_b: int | None = Field(default=None, ge=1, le=4096)
    """Channels of domain b, as for a."""
    range_a: Annotated[Range | None, Argument(flag=False)] = None
    """Values of domain a that are -1 and 1 for the networks. Found before training (or set by
    `data.range_a`)."""
    range_b: Annotated[Range | None, Argument(flag=False)] = None
    """Values of domain b, as for a."""
    background: Annotated[str | None, AfterValidator(_known_color)] = None
    """Color on which transparent images are put, by name or as #rrggbb. Translations have no alpha
    channel then. If omitted, the colors under transparent pixels are used, and translations keep
    the alpha channel of their input."""
    sequential: bool = False
    """Use images in the order of their names, without shuffling or random pairing."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of a and of b; RGB until they are known."""
        return self.channels_a or 3, self.channels_b or 3

    @property
    def ranges(self) -> tuple[Range, Range]:
        """Ranges of a and of b; 8 bits until they are known."""
        return self.range_a or Range(), self.range_b or Range()


FOUND_IN_IMAGES = ("channels_a", "channels_b", "range_a", "range_b")
"""Settings of preprocessing that are found in the training images, unless they are set."""


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
    max_images: int | None = Field(default=None, ge=1, le=10**9)
    """Use only the first N images of each domain."""
    cache: bool = False
    """Keep decoded images in memory."""
    workers: int | None = Field(default=None, ge=0, le=256)
    """Number of processes that load images. If omitted, 4 with a GPU, and 0 on a CPU or with a
    cache."""
    timeout: float = Field(default=600, gt=0)
    """Seconds after which training ends if the worker processes have not loaded a batch."""
    reader: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Function that reads an image: it takes a path and returns an array (height, width[,
    channels]). If set, every file in the folders counts as an image."""
    range_a: Annotated[RangeText | None, Argument("LOW:HIGH")] = None
    """Values of domain a that are -1 and 1 for the networks, such as -1000:1000 for CT, or one pair
    for each channel, separated by commas. If omitted, the full range of 8 bits; for other types the
    0.1 and 99.9 percentiles of the training images."""
    range_b: Annotated[RangeText | None, Argument("LOW:HIGH")] = None
    """Values of domain b, as for a."""
    pages: Literal["all", "first"] = "all"
    """Pages and frames of files that have several: each is an image, or only the first is used."""
    max_pixels: int = Field(default=1_000_000_000, ge=1)
    """Images with more pixels are refused before they are decoded."""
