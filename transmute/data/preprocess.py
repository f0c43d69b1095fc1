"""From an opened image to the pixels that training sees."""

from dataclasses import dataclass, replace

from transmute.config.base import width_and_height
from transmute.config.data import PreprocessConfig
from transmute.images.raster import Raster


@dataclass(frozen=True)
class Geometry:
    """Sizes of images during preprocessing, as (width, height) in pixels.

    Attributes:
        mode: See `PreprocessConfig.mode`.
        size: Size after the crop, in modes that crop.
        load: Size before the crop, in modes that resize.
        stride: Without a crop, sides are rounded to multiples of this.
    """

    mode: str
    size: tuple[int, int]
    load: tuple[int, int]
    stride: int

    @classmethod
    def of(cls, config: PreprocessConfig, size: str, stride: int) -> "Geometry":
        """The geometry of a recipe with this `size`."""
        width, height = width_and_height(size)
        if config.load_size:
            load = width_and_height(config.load_size)
        elif config.mode == "cover-and-crop":  # as PyTorch-GAN computes and rounds it
            load = int(width * 1.12), int(height * 1.12)
        else:
            load = round(width * 286 / 256), round(height * 286 / 256)
        return cls(config.mode, (width, height), load, stride)

    @property
    def crops(self) -> bool:
        """Whether images are cropped to `size`."""
        return self.mode.endswith("crop")

    @property
    def uncropped(self) -> "Geometry":
        """The same, but resizing directly to the size after the crop."""
        return replace(self, load=self.size)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """The size before the crop of an image of this size."""
        load_width, load_height = self.load
        scaled_width, scaled_height = load_height * width / height, load_width * height / width
        sizes = {
            "resize": self.load,
            "cover": (max(load_width, scaled_width), max(load_height, scaled_height)),
            "scale-width": (load_width, max(scaled_height, self.size[1])),
        }
        exact = sizes.get(self.mode.removesuffix("-and-crop"), (width, height))
        # torchvision and pytorch-CycleGAN-and-pix2pix drop fractions of a pixel.
        width, height = (
            max(1, int(side)) if self.crops else max(1, round(side / self.stride)) * self.stride
            for side in exact
        )
        return width, height

    def resize(self, image: Raster) -> Raster:
        """Resizes an image for training, before the crop, with Pillow's bicubic filter."""
        return image.resized(self.resized(*image.size))

    def crop(self, image: Raster, x: float = 0.5, y: float = 0.5, flip: bool = False) -> Raster:
        """Crops and mirrors an image returned by `resize`.

        Args:
            image: The resized image.
            x, y: Position of the crop, from left to right and from top to bottom, in [0, 1).
            flip: Mirror the image left to right.
        """
        if self.crops:
            width, height = self.size
            left, top = int(x * (image.width - width + 1)), int(y * (image.height - height + 1))
            image = image.cropped(left, top, width, height)
        return image.mirrored() if flip else image

    def whole(self, image: Raster) -> Raster:
        """Preprocesses an image without randomness.

        It is resized to the final size, or cropped in the middle if the mode is "crop".
        """
        return self.crop((self.uncropped if self.crops else self).resize(image))
