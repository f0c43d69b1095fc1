"""From an opened picture to the pixels that training sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from transmute.data.config import PreprocessConfig
from transmute.settings import width_and_height


@dataclass(frozen=True)
class Draw:
    """The random decisions for one picture; both halves of a pair get the same.

    Attributes:
        x, y: Place of the crop between left and right, top and bottom, in [0, 1).
        flip: Whether it is mirrored.
    """

    x: float
    y: float
    flip: bool


def random_draw(random: np.random.Generator, flip: bool) -> Draw:
    """Draws a place, and with `flip` whether to mirror, evenly."""
    x, y, coin = random.random(3)
    return Draw(x, y, bool(flip and coin < 0.5))


@dataclass(frozen=True)
class Geometry:
    """Sizes of the pictures on their way: (width, height) in pixels.

    Attributes:
        mode: See `PreprocessConfig.mode`.
        size: What training sees where the mode crops.
        load: What is cropped from where the mode resizes.
        stride: Sides without a crop are rounded to multiples of this.
    """

    mode: str
    size: tuple[int, int]
    load: tuple[int, int]
    stride: int

    @classmethod
    def of(cls, config: PreprocessConfig, size: str, stride: int) -> Geometry:
        width, height = width_and_height(size)
        load = (round(width * 286 / 256), round(height * 286 / 256)) if config.load_size is None else width_and_height(config.load_size)
        return cls(config.mode, (width, height), load, stride)

    @property
    def crops(self) -> bool:
        return self.mode in ("resize-and-crop", "cover-and-crop", "crop", "scale-width-and-crop")

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """The size to which a picture of this size is resized before any crop."""
        match self.mode:
            case "resize-and-crop":
                return self.load
            case "cover-and-crop":
                scale = max(self.load[0] / width, self.load[1] / height)
                return max(round(scale * width), self.load[0]), max(round(scale * height), self.load[1])
            case "scale-width-and-crop":
                return self.load[0], max(round(self.load[0] * height / width), self.size[1])
            case "scale-width":
                return self._rounded(self.load[0], max(self.load[0] * height / width, self.size[1]))
            case "none":
                return self._rounded(width, height)
        return width, height

    @property
    def settled(self) -> Geometry:
        """The same without more before the crop than what is left after it."""
        return replace(self, load=self.size)

    def _rounded(self, width: float, height: float) -> tuple[int, int]:
        return max(1, round(width / self.stride)) * self.stride, max(1, round(height / self.stride)) * self.stride

    def final(self, width: int, height: int) -> tuple[int, int]:
        """The size that training sees of a picture of this size."""
        return self.size if self.crops else self.resized(width, height)

    def resize(self, image: Image.Image) -> Image.Image:
        """The part of preprocessing that is always the same, and can be kept. Pillow's bicubic."""
        return _resize(image, self.resized(*image.size))

    def crop(self, image: Image.Image, draw: Draw) -> Image.Image:
        """The random part, of what `resize` gave."""
        if self.crops:
            width, height = self.size
            left = int(draw.x * (image.width - width + 1))
            top = int(draw.y * (image.height - height + 1))
            image = image.crop((left, top, left + width, top + height))
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.flip else image

    def whole(self, image: Image.Image) -> Image.Image:
        """The picture without chance: resized to the final size where training resizes, else its middle."""
        image = image if self.mode == "crop" else self.settled.resize(image) if self.crops else self.resize(image)
        return self.crop(image, Draw(0.5, 0.5, flip=False))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
