"""Features of images: the resize before a network, which is part of FID's definition, and networks
that need no published weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transmute import plugins
from transmute.errors import UserError, first_line
from transmute.tensors import Images

LIGHT_AND_OPPONENTS = [[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]]
"""Light, red minus green, and yellow minus blue, from RGB."""
EDGES = [
    [[0, 0, 0], [-1, 0, 1], [0, 0, 0]],
    [[0, -1, 0], [0, 0, 0], [0, 1, 0]],
    [[-1, 0, 0], [0, 0, 0], [0, 0, 1]],
    [[0, 0, -1], [0, 0, 0], [1, 0, 0]],
]
"""Kernels of edges in four directions."""


class Texture(nn.Module):
    """87 color and edge statistics.

    The mean colors in a 3 x 3 grid, and at four scales the standard deviation of each color and the
    strength of its edges in four directions; in the spirit of Portilla and Simoncelli (2000), "A
    Parametric Texture Model". The strengths are logarithms, so that faint stripes count as much as
    strong ones. These features separate striped from plain and brown from white, but hardly a horse
    from a cow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opponents = nn.Buffer(torch.tensor(LIGHT_AND_OPPONENTS)[:, :, None, None])
        self.edges = nn.Buffer(torch.tensor(EDGES).float().repeat(3, 1, 1)[:, None])

    def forward(self, images: Images) -> Tensor:
        """(batch, 3, height, width) in [-1, 1], sides at least 24, to (batch, 87)."""
        level = nn.functional.conv2d(images, self.opponents)
        features = [nn.functional.adaptive_avg_pool2d(level, 3).flatten(1)]
        for _ in range(4):
            edges = nn.functional.conv2d(level, self.edges, groups=3).abs().mean((2, 3))
            features += [(strength + 0.01).log() + 3 for strength in (level.std((2, 3)), edges)]
            level = nn.functional.avg_pool2d(level, 2)
        return torch.cat(features, 1)


@dataclass(frozen=True)
class Features:
    """The features that FID and KID compare.

    Attributes:
        name: Name that metrics are labeled with.
        network: From (batch, 3, size, size) in [-1, 1] to (batch, features).
        size: Side in pixels to which images are resized first.
        device: Device of the network.
        classifier: Weights of the classifier on these features, (classes, features), on the CPU.
            None if the network has none.
    """

    name: str
    network: nn.Module
    size: int
    device: torch.device
    classifier: Tensor | None = None

    def probabilities(self, features: Tensor) -> Tensor | None:
        """The class probabilities of features, (images, classes), if there is a classifier.

        They are computed without the classifier's bias, as in the original code of the Inception
        Score.
        """
        if self.classifier is None:
            return None
        return (features @ self.classifier.to(features).T).softmax(1)

    @torch.inference_mode()
    def of(self, images: Iterable[Image.Image]) -> Tensor:
        """Computes features.

        Args:
            images: Images of any size.

        Returns:
            (images, features), float64, on the CPU.

        Raises:
            UserError: If the network fails, or its output has another shape or is not finite.
        """
        batch = torch.cat([resize_antialiased(image, self.size) for image in images]).to(
            self.device
        )
        description = f"the feature network {self.name}"
        features = call_network(
            self.network,
            batch,
            description,
            (len(batch), None),
            "Return a tensor (images, features)",
        )
        if not torch.isfinite(features).all():
            raise UserError(
                f"{description} returns values that are not finite. Its weights are damaged, or "
                "its computation overflows"
            )
        return features.double().cpu()


def resize_antialiased(image: Image.Image, size: int) -> Images:
    """Resizes an image as clean-fid does (Parmar et al. 2022, "On Aliased Resizing").

    Pillow's antialiased bicubic filter on each channel in floating point, clipped to 0..255 and not
    rounded.

    Returns:
        (1, 3, size, size) in [-1, 1].
    """
    channels = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC))
        for channel in np.moveaxis(np.asarray(image.convert("RGB"), dtype=np.float32), 2, 0)
    ]
    return torch.from_numpy(np.stack(channels)).clamp(0, 255)[None] / 127.5 - 1


def build_network(reference: str) -> nn.Module:
    """Calls a user-defined function that returns a torch module.

    Args:
        reference: FILE.py:NAME of the function or class.

    Returns:
        The module, without gradients and in evaluation mode.

    Raises:
        UserError: If the function cannot be loaded, fails, or returns something else.
    """
    network = call(plugins.load(reference), description=f"{reference} failed")
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{reference} returns an object of type {type(network).__name__}. Return a torch module"
        )
    return network.eval().requires_grad_(False)


def call_network(
    network: nn.Module,
    images: Images,
    description: str,
    shape: tuple[int | None, ...],
    advice: str,
) -> Tensor:
    """Runs a network that may be user-defined.

    Args:
        network: The network.
        images: Its input.
        description: Subject of error messages.
        shape: Shape that the output should have, with None for any positive number.
        advice: The sentence that follows if the output is another.

    Raises:
        UserError: If the network fails, or its output has another shape.
    """
    output = call(
        network,
        images,
        description=f"{description} failed on images of shape {tuple(images.shape)}",
    )
    actual = tuple(output.shape) if isinstance(output, Tensor) else ()
    if len(actual) != len(shape) or any(
        size != (wanted or max(size, 1)) for size, wanted in zip(actual, shape, strict=True)
    ):
        raise UserError(
            f"{description} returns {actual or type(output)} for {len(images)} images. {advice}"
        )
    return output


def call(function: Callable[..., Any], *arguments: object, description: str) -> Any:
    """Calls user-defined code.

    Args:
        function, arguments: The call.
        description: Subject of the error message.

    Raises:
        UserError: If it fails.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise UserError(f"{description}: {type(error).__name__}: {first_line(error)}") from error
