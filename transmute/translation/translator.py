"""The Python interface for translating images with one model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, overload

import numpy as np
import torch
from PIL import Image
from torch import nn

from transmute import notebook, plugins
from transmute.config.base import Size, width_and_height
from transmute.config.data import Range
from transmute.config.networks import GeneratorConfig
from transmute.device import select_device, select_precision
from transmute.errors import UserError
from transmute.images.decode import read_image
from transmute.images.limits import require_resizable
from transmute.images.ranges import (
    NORMALIZED,
    clipped_fraction,
    full_range,
    normalized,
    range_for,
    require_channels,
    shown,
    to_raster,
    to_tensor,
)
from transmute.images.raster import Depth, Raster, alpha_as
from transmute.lab import to_lab, to_rgb
from transmute.tensors import Images
from transmute.translation.model import ModelCard, load_model, model_files

ImageInput = str | Path | Image.Image | np.ndarray | torch.Tensor
"""An image: a path, a PIL image, an array (height, width) or (height, width, channels), in which
uint8 with 2 or 4 channels has alpha, or a float tensor (channels, height, width) or (1, channels,
height, width) in [-1, 1]."""


class Translator:
    """A trained model that translates images from one domain to the other.

    Args:
        model: A run folder, a folder of model files, or a model file.
        direction: `a_to_b` or `b_to_a`. The default is the first that the model has.
        to: Name of the domain to translate to, such as `zebra`, instead of a direction.
        step: Which of a run's models: `newest`, `best` (by evaluations during training), or a step.
        device: `cpu`, `cuda`, `cuda:N` for GPU N, or `auto`, which uses a GPU if there
            is one.
        noise: Keep dropout on, as in pix2pix, so that each translation of an image differs.
        precision: `float32`, `bfloat16`, or `auto`, which uses bfloat16 where the device computes
            it fast and images have 8 bits. That halves the time and changes pixels by about one
            level of 255.
        generator: Config class of a generator that is not part of the package, or its
            `FILE.py:NAME`. Needed if the model uses one: a model file never imports code.

    Attributes:
        card: The header of the model file.
        network: The generator, from (batch, channels, height, width) in [-1, 1] to the same.
        device: Where it computes.
        precision: `float32` or `bfloat16`.
        precision_reason: Why this precision is used.

    Raises:
        UserError: If there is no such model, or if it cannot be used here.

    >>> translate = transmute.Translator("runs/h2z", direction="a_to_b")
    >>> translate("horse.jpg").save("zebra.jpg")
    >>> translate("horse.jpg", size="64x48").size
    (64, 48)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        direction: str | None = None,
        to: str | None = None,
        step: int | str = "newest",
        device: str = "auto",
        noise: bool = False,
        precision: str = "auto",
        generator: str | type[GeneratorConfig] | None = None,
    ) -> None:
        files = model_files(Path(model), step)
        outside = (
            plugins.load(generator, GeneratorConfig) if isinstance(generator, str) else generator
        )
        known = [outside] if outside else []
        if to is not None:
            targets = {file: load_model(file, outside=known)[0].target for file in files}
            files = [file for file in files if targets[file] == to]
            if not files:
                raise UserError(
                    f"`to={to}` is not a domain that {model} translates to. Choose one of: "
                    f"{', '.join(targets.values())}"
                )
        file = next((file for file in files if file.stem == direction), files[0])
        card, network = load_model(file, noise=noise, outside=known)
        if to is not None and direction not in (None, card.direction):
            raise UserError(
                f"`to={to}` is the direction {card.direction}, not `direction={direction}`. Omit "
                "one of them"
            )
        if direction not in (None, card.direction):
            raise UserError(f"{model} has no model for {direction}, only for {card.direction}")
        if outside is not None and not isinstance(card.generator, outside):
            raise UserError(
                f"{file} uses the network {card.generator.name!r}, not the one in `generator`. "
                "Omit `generator`"
            )
        self._prepare(card, network, select_device(device), precision)

    @classmethod
    def of(cls, card: ModelCard, network: nn.Module, device: torch.device) -> "Translator":
        """Creates a translator from a network in memory, in float32.

        Args:
            card: Description of the network.
            network: From `transmute.translation.model.inference_copy`.
            device: Where to compute.
        """
        translator = cls.__new__(cls)
        translator._prepare(card, network, device, "float32")
        return translator

    def _prepare(
        self, card: ModelCard, network: nn.Module, device: torch.device, precision: str
    ) -> None:
        self.card, self.network, self.device = card, network.to(device), device
        self.precision, self.precision_reason = select_precision(precision, device)
        # bfloat16 has 8 significant bits, too few for deeper images.
        self.deep_precision = "float32" if precision == "auto" else self.precision
        if not card.target_range.is_8_bit and self.deep_precision != self.precision:
            self.precision = self.deep_precision
            self.precision_reason = f"for {card.target_range.depth} values"

    def _repr_html_(self) -> str:
        """A card for notebooks."""
        card, (width, height) = self.card, width_and_height(self.card.size)
        facts = {
            "method": card.method,
            "direction": card.direction,
            "trained at": f"{width}x{height}",
            "step": card.step,
            "device": f"{self.device}, {self.precision}",
        }
        metrics = {name: f"{value:.4g}" for name, value in card.metrics.items()}
        return notebook.card(f"translator from {card.source} to {card.target}", facts | metrics)

    @overload
    def __call__(
        self, images: ImageInput, *, size: Size | int | None = None, half: str | None = None
    ) -> Image.Image:
        """Translates an image."""

    @overload
    def __call__(
        self,
        images: Sequence[ImageInput],
        *,
        size: Size | int | None = None,
        half: str | None = None,
    ) -> list[Image.Image]:
        """Translates each image in a list or tuple."""

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        size: Size | int | None = None,
        half: str | None = None,
    ) -> Image.Image | list[Image.Image]:
        """Translates an image, or each image in a list or tuple.

        Args:
            images: Paths, PIL images, arrays or tensors, as described for
                `transmute.translation.translator.ImageInput`.
            size: Resize images to this size before translation, as N or "WIDTHxHEIGHT" in pixels.
                By default, each image keeps its size.
            half: `left` or `right` half of images that show a pair side by side; None for all of
                the image. Not for tensors.

        Returns:
            A PIL image of 8 bits, of mode RGB or L (RGBA or LA if the input has an alpha channel),
            or a list of them. Other depths and numbers of channels are returned by `raster`.

        Raises:
            UserError: If an input is not an image that the model can translate, or if the result
                is not gray or RGB.
        """
        if isinstance(images, (list, tuple)):
            return [self(image, size=size, half=half) for image in images]
        known, source = None, cast(ImageInput | Raster, images)
        if isinstance(source, torch.Tensor):
            if half is not None:
                raise UserError("`half` does not apply to tensors. Crop the tensor instead")
            known, source = NORMALIZED, to_raster(self._checked(source), NORMALIZED)
        channels = 3 if self.card.colors == "lab" else self.card.out_channels
        if channels not in (1, 3):
            raise UserError(
                f"this model's translations have {channels} channels, which a PIL image cannot "
                "hold. Use Translator.raster"
            )
        target = self.card.target_range
        depth = "uint8" if target.is_8_bit else None
        result = self.raster(source, size=size, half=half, values=known, depth=depth)
        return shown(result, target)

    def raster(
        self,
        image: ImageInput | Raster,
        *,
        size: Size | int | None = None,
        half: str | None = None,
        values: Range | None = None,
        depth: Depth | None = None,
        name: str = "the image",
    ) -> Raster:
        """Translates an image of any depth and number of channels.

        Args:
            image: The image.
            size, half: As in `__call__`.
            values: Values of the input that are -1 and 1. By default, those of the training images.
            depth: Type of the result. By default, that of the target domain's training images; if
                these have 8 bits and the input has 16, 16 bits.
            name: Subject of error messages, if the image is not a path.

        Returns:
            The translation, with the alpha channel and the metadata of the input. A note says if
            more than 1 % of the input's values were clipped.

        Raises:
            UserError: If it is not an image that the model can translate.
        """
        if not isinstance(image, (str, Path, Image.Image, np.ndarray, Raster)):
            raise UserError(
                "an image should be a path, a PIL image, an array or a tensor (or a list or tuple "
                f"of them), but is of type {type(image).__name__}"
            )
        name = str(image) if isinstance(image, (str, Path)) else name
        source = image if isinstance(image, Raster) else read_image(image)
        source = source.half(half)
        if (background := self.card.preprocess.background) is not None:
            source = source.flattened(background)
        channels = 3 if self.card.colors == "lab" else self.card.in_channels
        converted = source.with_channels(channels, name)
        if size is not None:
            # At least the inputs and outputs, and on the CPU two layers of the full size.
            width = dict(self.card.generator).get("width", 1) if self.device.type == "cpu" else 0
            require_resizable(name, width_and_height(size), 4 * (6 + width))
            converted = converted.resized(width_and_height(size))
        values = values or range_for(converted, self.card.source_range, name)
        require_channels(values, channels, name)
        known = self.card.target_range
        is_deep = known.is_8_bit and source.depth == "uint16"
        depth = depth or ("uint16" if is_deep else known.depth)
        precision = self.precision if depth == "uint8" else self.deep_precision
        result = to_raster(self._outputs(to_tensor(converted, values), precision), known, depth)
        alpha = converted.alpha
        if source.alpha is not None and alpha is None and result.channels == 4:
            result, alpha = replace(result, pixels=result.pixels[:, :, :3]), result.pixels[:, :, 3]
        alpha = None if alpha is None else alpha_as(alpha, result.pixels.dtype)
        notes = source.notes + _value_notes(converted, values)
        return replace(result, alpha=alpha, tags=converted.tags, notes=notes)

    def normalized(self, image: Raster) -> Raster:
        """Translates an image for metrics.

        Args:
            image: An image of 8 bits, or with values in [-1, 1].

        Returns:
            The same kind of image. It has the values that a file in the target domain's depth
            would have.
        """
        values = None if image.depth == "uint8" else NORMALIZED
        return normalized(self.raster(image, values=values), self.card.target_range, "the output")

    def _outputs(self, images: Images, precision: str) -> Images:
        """Translates a batch, of color images for models of CIE Lab."""
        if self.card.colors != "lab":
            return self.translate(images, precision)
        lightness, _ = to_lab(images)
        return to_rgb(lightness, self.translate(lightness, precision).cpu())

    def _checked(self, image: torch.Tensor) -> Images:
        """Checks the shape and the type of a tensor, and returns it as (1, ...)."""
        channels = 3 if self.card.colors == "lab" else self.card.in_channels
        images = image[None] if image.ndim == 3 else image
        shape_fits = images.shape[:-2] == (1, channels) and images.numel() > 0
        if not shape_fits or not image.is_floating_point():
            raise UserError(
                f"a tensor should be float ({channels}, height, width) in [-1, 1], but is "
                f"{tuple(image.shape)} of {image.dtype}. Use Translator.translate for batches"
            )
        return images.float()

    @torch.inference_mode()
    def translate(self, images: Images, precision: str | None = None) -> Images:
        """Translates a batch of tensors of any height and width.

        Images are padded by reflection to a size that the network accepts. Outputs are cropped.

        Args:
            images: (batch, channels, height, width) in [-1, 1].
            precision: float32 or bfloat16. By default, that of the translator.

        Returns:
            (batch, channels, height, width) in [-1, 1], on the translator's device.
        """
        height, width = images.shape[-2:]
        generator = self.card.generator
        rows, columns = (
            reflection_indices(length, generator.stride, generator.min_size).to(self.device)
            for length in (height, width)
        )
        padded = images.to(self.device).index_select(2, rows).index_select(3, columns)
        # In a batch, images would share batch norm statistics.
        batches = padded.split(1) if self.card.per_image_statistics else [padded]
        with torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=(precision or self.precision) == "bfloat16",
        ):
            outputs = torch.cat([self.network(batch) for batch in batches])
        top, left = (len(rows) - height) // 2, (len(columns) - width) // 2
        return outputs[:, :, top : top + height, left : left + width]


def _value_notes(image: Raster, values: Range) -> tuple[str, ...]:
    """Sentences about values that were clipped, or that use little of the range."""
    notes: tuple[str, ...] = ()
    if (clipped := clipped_fraction(image.pixels, values)) > 0.01:
        notes += (f"{clipped:.1%} of its values are outside of {values} and were clipped",)
    if values == full_range("uint16") and (highest := image.pixels.max()) < 2**13:
        notes += (
            f"its highest value is {highest} of 65535, so it is nearly black for the model. If it "
            f"has fewer bits, set `range=0:{2 ** int(highest).bit_length() - 1}`",
        )
    return notes


def reflection_indices(length: int, stride: int, min_size: int) -> torch.Tensor:
    """Indices that pad a side to a multiple of `stride`, at least `min_size`, by reflection.

    The padding is equal on both ends, up to a pixel. If it is longer than the side, the reflection
    is reflected again.

    Args:
        length: Pixels of the side.
        stride: The padded side is a multiple of this.
        min_size: Shortest padded side.

    >>> reflection_indices(3, 4, 8).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    padded = -(-max(length, min_size) // stride) * stride
    before = (padded - length) // 2
    indices = np.pad(np.arange(length), (before, padded - length - before), mode="reflect")
    return torch.from_numpy(indices)
