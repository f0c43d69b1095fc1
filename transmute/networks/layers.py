"""Layers that torch does not have, and norms, paddings and initial weights by name."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from transmute.tensors import Features


class ReflectionPad(nn.ReflectionPad2d):
    """Pads every side by reflection, without repeating the border.

    Unlike its base class it has a deterministic gradient on GPUs, if torch is set to deterministic
    algorithms, and keeps bfloat16 under autocast on CPUs.
    """

    def forward(self, input: Features) -> Features:
        features, amount = input, self.padding[0]
        if torch.are_deterministic_algorithms_enabled():
            for dim in (2, 3):
                before = features.narrow(dim, 1, amount).flip(dim)
                after = features.narrow(dim, features.shape[dim] - 1 - amount, amount).flip(dim)
                features = torch.cat([before, features, after], dim)
            return features
        # On CPUs, autocast pads in float32: twice the bytes, and a cast before the next layer.
        with torch.autocast("cpu", enabled=False):
            return super().forward(features)


NORMS: dict[str, type[nn.Module]] = {
    "instance": nn.InstanceNorm2d,
    "batch": nn.BatchNorm2d,
    "none": nn.Identity,
}
"""Norms by name, each called with the number of channels. Instance norm has no weights and no
running statistics."""
PADDINGS: dict[str, type[nn.Module]] = {
    "reflect": ReflectionPad,
    "replicate": nn.ReplicationPad2d,
    "zeros": nn.ZeroPad2d,
}
"""Paddings by name, each called with the number of pixels to add on every side."""


def has_bias(norm: str) -> bool:
    """Whether a convolution followed by this norm has a bias.

    Batch norm has its own bias. Instance norm cancels a bias, but the reference implementation
    (pytorch-CycleGAN-and-pix2pix) and its weight files have one. Without a norm, it has none.
    """
    return norm == "instance"


class FewOutputsConv2d(nn.Conv2d):
    """A convolution to few channels from many, faster on CPUs in bfloat16; no stride or padding.

    CPUs compute three output channels in the same time as sixteen. In bfloat16, the columns of the
    kernel therefore become separate output channels, which are shifted and summed. From 64 to 3
    channels at 128 px, forward and backward take 5.5 ms instead of 15.9 ms on two cores
    (benchmarks/few_outputs.py).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        outputs, inputs, rows, columns = self.weight.shape
        kernel = self.weight.permute(3, 0, 1, 2).reshape(columns * outputs, inputs, rows, 1)
        # The bias is added to the first column, before anything is rounded.
        bias = None if self.bias is None else F.pad(self.bias, (0, (columns - 1) * outputs))
        by_column = F.conv2d(input, kernel, bias)
        batch, _, height, width = by_column.shape
        image, channel, row, pixel = by_column.stride()
        shape = (batch, columns, outputs, height, width - columns + 1)
        strides = (image, outputs * channel + pixel, channel, row, pixel)
        return by_column.as_strided(shape, strides).sum(1)


def blur_kernel(size: int) -> torch.Tensor:
    """Binomial blur: the outer product of a row of Pascal's triangle with itself.

    Zhang (2019), "Making Convolutional Networks Shift-Invariant Again".

    Returns:
        (size, size), summing to 1.
    """
    row = torch.tensor([math.comb(size - 1, k) for k in range(size)], dtype=torch.float32)
    return row.outer(row) / row.sum() ** 2


class BlurDown(nn.Module):
    """Halves height and width: a 3x3 binomial blur of stride 2, with reflection padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad = ReflectionPad(1)
        self.kernel = nn.Buffer(blur_kernel(3).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, features: Features) -> Features:
        return F.conv2d(
            self.pad(features), self.kernel.to(features.dtype), stride=2, groups=features.shape[1]
        )


class BlurUp(nn.Module):
    """Doubles height and width: zeros between pixels, then a 4x4 binomial blur.

    The padding replicates the border.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Times 4, because three of four pixels are zeros before the blur.
        self.kernel = nn.Buffer(4 * blur_kernel(4).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, features: Features) -> Features:
        # torch 2.13 cannot compile the backward pass of its replication padding on CPUs.
        wide = torch.cat([features[..., :1], features, features[..., -1:]], dim=3)
        padded = torch.cat([wide[:, :, :1], wide, wide[:, :, -1:]], dim=2)
        doubled = F.conv_transpose2d(
            padded, self.kernel.to(features.dtype), stride=2, padding=2, groups=features.shape[1]
        )
        return doubled[:, :, 1:-1, 1:-1]


INITIALIZATIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, std=gain),
    "xavier": nn.init.xavier_normal_,
    "kaiming": lambda weight, gain: nn.init.kaiming_normal_(weight),
    "orthogonal": nn.init.orthogonal_,
}
"""Functions of a weight and the gain that draw the weight in place: N(0, gain), Glorot and Bengio
(2010), He et al. (2015) with fan-in and without gain, and Saxe et al. (2013)."""


def initialize(network: nn.Module, name: str, gain: float) -> None:
    """Draws all weights of a network in place, as pytorch-CycleGAN-and-pix2pix does.

    Batch norms get weights from N(1, gain). Biases become zero.

    Args:
        network: The network.
        name: A key of `INITIALIZATIONS`.
        gain: Standard deviation or factor.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return  # there is nothing to draw, and to do so would import torch's compiler
    for module in network.modules():
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d() | nn.Linear():
                INITIALIZATIONS[name](module.weight, gain)
            case nn.BatchNorm2d():
                nn.init.normal_(module.weight, 1.0, gain)
            case _:
                continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
