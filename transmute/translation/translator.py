"""Translates pictures with one model file, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import nn

from transmute.devices import chosen_device, chosen_precision
from transmute.images import open_picture, to_picture, to_tensor
from transmute.lab import to_lab, to_rgb
from transmute.run import Run
from transmute.settings import Size, UserError, width_and_height
from transmute.tensors import Images
from transmute.translation.model import ModelCard, load_model

Picture = str | Path | Image.Image | np.ndarray | torch.Tensor


class Translator:
    """A trained translator: pictures of one domain in, pictures of the other out.

    Args:
        model: A run folder or a model file.
        step: Which of a run's models: newest, best (by what it was evaluated with in training), or the step.
        direction: a_to_b or b_to_a, where the run has both; None takes the first there is.
        device: Where to compute; auto takes a GPU where there is one.
        noise: Keep dropout on, as pix2pix does: each translation is another.
        precision: float32 or bfloat16; auto is bfloat16 where the device is fast at it, which halves the time
            and moves pixels by about one level of 255.

    Attributes:
        card: What the model file says of itself.
        precision, why: What it computes in, and the reason.
        network: The plain module, float (batch, channels, height, width) in [-1, 1] to the same.

    Example:
        translate = Translator("runs/horse2zebra")
        translate("horse.jpg").save("zebra.jpg")
    """

    def __init__(
        self,
        model: str | Path,
        *,
        direction: str | None = None,
        step: int | str = "newest",
        device: str = "auto",
        noise: bool = False,
        precision: str = "auto",
    ) -> None:
        path = Path(model)
        if path.is_dir():
            path = _model_in(path, direction, step)
        elif not path.exists():
            raise UserError(f"there is no run folder or model file {path}")
        elif step != "newest":
            raise UserError(f"{path} is one model, of which no step can be chosen: name the run folder")
        card, network = load_model(path, noise=noise)
        if direction is not None and direction != card.direction:
            raise UserError(f"{path} translates {card.direction}, not {direction}")
        self._use(card, network, torch.device(chosen_device(device)), precision)

    @classmethod
    def of(cls, card: ModelCard, network: nn.Module, device: torch.device, *, precision: str = "float32") -> Translator:
        """A translator of a network in memory, made ready by `transmute.translation.model.ready`."""
        translator = cls.__new__(cls)
        translator._use(card, network, device, precision)
        return translator

    def _use(self, card: ModelCard, network: nn.Module, device: torch.device, precision: str) -> None:
        self.card, self.network, self.device = card, network.to(device), device
        self.precision, self.why = chosen_precision(precision, device)

    @overload
    def __call__(self, pictures: Picture, *, size: Size | int | None = None, half: str | None = None) -> Image.Image: ...
    @overload
    def __call__(self, pictures: Sequence[Picture], *, size: Size | int | None = None, half: str | None = None) -> list[Image.Image]: ...
    def __call__(
        self, pictures: Picture | Sequence[Picture], *, size: Size | int | None = None, half: str | None = None
    ) -> Image.Image | list[Image.Image]:
        """Translates a picture, or each of a list or tuple.

        Args:
            pictures: A path, a PIL image, a uint8 array (height, width[, channels]), or a float tensor ([1,] channels, height, width) in [-1, 1].
            size: N or "WIDTHxHEIGHT" to work at, and to give back; None keeps the picture's size.
            half: "left" or "right" of files and PIL images that hold two pictures side by side; None for the whole.

        Returns:
            A PIL image of mode RGB or L (RGBA or LA where the input has an alpha channel), or a list of them.

        Raises:
            UserError: If something given is no picture.
        """
        if isinstance(pictures, (list, tuple)):
            return [self._translated(picture, size, half) for picture in pictures]
        if isinstance(pictures, Sequence) and not isinstance(pictures, str):
            raise UserError(f"pictures should be one picture, or a list or tuple of them, but this is of type {type(pictures).__name__}")
        return self._translated(pictures, size, half)

    def _translated(self, picture: Picture, size: Size | int | None, half: str | None) -> Image.Image:
        images, alpha = self._opened(picture, half)
        if size is not None:
            resample = Image.Resampling.BICUBIC
            images = to_tensor(to_picture(images).resize(width_and_height(size), resample))
            alpha = alpha and alpha.resize(width_and_height(size), resample)
        if self.card.colors == "lab":
            lightness, _ = to_lab(images)
            result = to_picture(to_rgb(lightness, self.translate(lightness).cpu()))
        else:
            result = to_picture(self.translate(images))
        if alpha is not None:
            result.putalpha(alpha)
        return result

    def _opened(self, picture: Picture, half: str | None) -> tuple[Images, Image.Image | None]:
        channels, background = 3 if self.card.colors == "lab" else self.card.in_channels, self.card.preprocess.background
        match picture:
            case torch.Tensor():
                images = picture.float()[None] if picture.ndim == 3 else picture.float()
                if images.ndim != 4 or images.shape[:2] != (1, channels) or 0 in images.shape or not picture.is_floating_point():
                    wanted = f"a tensor should be float ({channels}, height, width) in [-1, 1]"
                    raise UserError(f"{wanted}, but is {tuple(picture.shape)} of {picture.dtype}; .translate takes batches")
                return images, None
            case np.ndarray() if picture.dtype != np.uint8:
                raise UserError(f"an array should be uint8, but is {picture.dtype}")
            case np.ndarray() if picture.ndim not in (2, 3) or picture.size == 0 or picture.shape[2:] not in ((), (1,), (3,), (4,)):
                raise UserError(f"an array should be (height, width[, 1, 3 or 4]), but is {picture.shape}")
            case np.ndarray():
                picture = Image.fromarray(picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture)
        if channels not in (1, 3):
            raise UserError(f"this model takes {channels} channels, which no picture has here: give a tensor to .translate")
        if not isinstance(picture, (str, Path, Image.Image)):
            raise UserError(f"a picture is a path, a PIL image, an array or a tensor, but this is of type {type(picture).__name__}")
        source = Path(picture) if isinstance(picture, str) else picture
        opened, alpha = open_picture(source, channels=channels, background=background, half=half)
        return to_tensor(opened), alpha

    @torch.inference_mode()
    def translate(self, images: Images) -> Images:
        """Tensors of any height and width: padded by reflection to what the network takes, and cropped back.

        Args:
            images: (batch, channels, height, width) in [-1, 1].

        Returns:
            The same size, on the network's device.
        """
        height, width = images.shape[-2:]
        generator = self.card.generator
        rows, columns = (reflected(side, generator.stride, generator.smallest).to(self.device) for side in (height, width))
        padded = images.to(self.device).index_select(2, rows).index_select(3, columns)
        top, left = (len(rows) - height) // 2, (len(columns) - width) // 2
        # A batch would share its statistics where each picture is to have its own.
        parts = padded.split(1) if self.card.own_statistics else [padded]
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            translated = torch.cat([self.network(part) for part in parts])
        return translated[:, :, top : top + height, left : left + width]


def translators(model: str | Path, *, step: int | str = "newest", device: str = "auto") -> dict[str, Translator]:
    """The translators in a run, a folder of model files or one of them, by direction; in float32, for figures that do not depend on the device."""
    path = Path(model)
    if not path.is_dir():
        one = Translator(path, step=step, device=device, precision="float32")
        return {one.card.direction: one}
    folder = _model_in(path, None, step).parent
    return {file.stem: Translator(file, device=device, precision="float32") for file in sorted(folder.glob("*_to_*.safetensors"))}


def _model_in(folder: Path, direction: str | None, step: int | str) -> Path:
    """The file of a direction in a folder of model files, else in a run (or one of its folders of models)."""
    found = sorted(path.stem for path in folder.glob("*_to_*.safetensors"))
    if found and (direction or found[0]) not in found:
        raise UserError(f"{folder} has no model for {direction}: it has {' and '.join(found)}")
    if found and step != "newest":
        raise UserError(f"{folder} holds the models of one step, so none can be chosen: name the run folder")
    if found:
        return folder / f"{direction or found[0]}.safetensors"
    inside = {"models": folder.parent}.get(folder.name, folder.parent.parent if folder.parent.name == "models" else folder)
    if not Run(inside).exists() and not Run(inside).models() and list(folder.glob("*.pth")):
        raise UserError(f"{folder} holds files of another tool: make model files of them with 'transmute import {folder}'")
    return Run(inside).model_file(direction, step)


def reflected(length: int, stride: int, smallest: int) -> torch.Tensor:
    """Indices that extend a side to a multiple of the stride, not below the smallest, by reflection, equally on both ends.

    A reflection may be longer than the side itself, which then is mirrored again and again.

    >>> reflected(3, 4, 8).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    padded = -(-max(length, smallest) // stride) * stride
    before = (padded - length) // 2
    if length == 1:
        return torch.zeros(padded, dtype=torch.long)
    period = 2 * (length - 1)
    place = (torch.arange(padded) - before) % period
    return torch.where(place < length, place, period - place)
