"""The Python interface for translating images with one model."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import nn

from transmute import plugins
from transmute.config.base import Size, width_and_height
from transmute.config.networks import GeneratorConfig
from transmute.device import select_device, select_precision
from transmute.errors import UserError
from transmute.images.files import from_array, open_image, to_pil, to_tensor
from transmute.lab import to_lab, to_rgb
from transmute.tensors import Images
from transmute.translation.model import ModelCard, load_model, model_files

ImageInput = str | Path | Image.Image | np.ndarray | torch.Tensor
"""An image: a path, a PIL image, a uint8 array (height, width) or (height, width, 1, 3 or 4), or a
float tensor (channels, height, width) or (1, channels, height, width) in [-1, 1]."""


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
            it fast. That halves the time and changes pixels by about one level of 255.
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
            A PIL image of mode RGB or L (RGBA or LA if the input has an alpha channel), or a list
            of them.

        Raises:
            UserError: If an input is not an image that the model can translate.
        """
        if isinstance(images, (list, tuple)):
            return [self(image, size=size, half=half) for image in images]
        tensor, alpha = self._open(images, half)
        if size is not None:
            resized = to_pil(tensor).resize(width_and_height(size), Image.Resampling.BICUBIC)
            tensor = to_tensor(resized)
        if self.card.colors == "lab":
            lightness, _ = to_lab(tensor)
            outputs = to_rgb(lightness, self.translate(lightness).cpu())
        else:
            outputs = self.translate(tensor)
        output = to_pil(outputs)
        if alpha is not None:
            output.putalpha(alpha.resize(output.size, Image.Resampling.BICUBIC))
        return output

    def _open(self, image: object, half: str | None) -> tuple[Images, Image.Image | None]:
        """Converts an image to a tensor, in color for models of CIE Lab.

        Returns:
            (1, channels, height, width) in [-1, 1], and the alpha channel (mode L) if there is one.

        Raises:
            UserError: If it is not an image, or cannot have the channels of the model.
        """
        channels = 3 if self.card.colors == "lab" else self.card.in_channels
        if isinstance(image, torch.Tensor):
            if half is not None:
                raise UserError("`half` does not apply to tensors. Crop the tensor instead")
            images = image[None] if image.ndim == 3 else image
            shape_fits = images.shape[:-2] == (1, channels) and images.numel() > 0
            if not shape_fits or not image.is_floating_point():
                raise UserError(
                    f"a tensor should be float ({channels}, height, width) in [-1, 1], but is "
                    f"{tuple(image.shape)} of {image.dtype}. Use Translator.translate for batches"
                )
            return images.float(), None
        if channels not in (1, 3):
            raise UserError(
                f"this model expects {channels} channels, and images have 1 or 3. Use a tensor "
                "with Translator.translate"
            )
        if not isinstance(image, (str, Path, Image.Image, np.ndarray)):
            raise UserError(
                "an image should be a path, a PIL image, an array or a tensor (or a list or tuple "
                f"of them), but is of type {type(image).__name__}"
            )
        opened, alpha = open_image(
            from_array(image) if isinstance(image, np.ndarray) else image,
            channels=channels,
            background=self.card.preprocess.background,
            half=half,
        )
        return to_tensor(opened), alpha

    @torch.inference_mode()
    def translate(self, images: Images) -> Images:
        """Translates a batch of tensors of any height and width.

        Images are padded by reflection to a size that the network accepts. Outputs are cropped.

        Args:
            images: (batch, channels, height, width) in [-1, 1].

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
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            outputs = torch.cat([self.network(batch) for batch in batches])
        top, left = (len(rows) - height) // 2, (len(columns) - width) // 2
        return outputs[:, :, top : top + height, left : left + width]


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
