"""Images of every type that a translator accepts, as tensors."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from transmute.errors import UserError
from transmute.images import open_image, to_tensor
from transmute.tensors import Images

ImageInput = str | Path | Image.Image | np.ndarray | torch.Tensor
"""An image: a path, a PIL image, a uint8 array (height, width) or (height, width, 1, 3 or 4), or a
float tensor (channels, height, width) or (1, channels, height, width) in [-1, 1]."""


def tensor_and_alpha(
    image: object, *, channels: int, background: str, half: str | None
) -> tuple[Images, Image.Image | None]:
    """Converts an image to a tensor.

    Args:
        image: An `ImageInput`.
        channels: Channels that the tensor should have.
        background: Color behind transparent pixels.
        half: `left` or `right` half of an image that is not a tensor; None for all of it.

    Returns:
        (1, channels, height, width) in [-1, 1], and the alpha channel (mode L) if there is one.

    Raises:
        UserError: If it is not an image, or cannot have that many channels.
    """
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
            f"this model expects {channels} channels, and images have 1 or 3. Use a tensor with "
            "Translator.translate"
        )
    if isinstance(image, np.ndarray):
        shape_fits = image.ndim >= 2 and image.shape[2:] in ((), (1,), (3,), (4,)) and image.size
        if image.dtype != np.uint8 or not shape_fits:
            raise UserError(
                "an array should be uint8 (height, width) or (height, width, 1, 3 or 4), but is "
                f"{image.shape} of {image.dtype}"
            )
        image = Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)
    if not isinstance(image, (str, Path, Image.Image)):
        raise UserError(
            "an image should be a path, a PIL image, an array or a tensor (or a list or tuple of "
            f"them), but is of type {type(image).__name__}"
        )
    source = Path(image) if isinstance(image, str) else image
    opened, alpha = open_image(source, channels=channels, background=background, half=half)
    return to_tensor(opened), alpha
