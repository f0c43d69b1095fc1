"""Layers that torch does not have, and the choice of norm and padding by name."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from transmute.tensors import Features


def norm_layer(norm: str, channels: int) -> nn.Module:
    """The layer for `instance` (without weights or running statistics), `batch` or `none`."""
    match norm:
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "none":
            return nn.Identity()
    raise ValueError(f"norm is instance, batch or none, but this is {norm!r}")


def bias_before(norm: str) -> bool:
    """Whether a convolution before this norm has a bias.

    Batch norm has one of its own. Before instance norm a bias changes nothing, but the original has it, and so its weight files do;
    without a norm it has none.
    """
    return norm == "instance"


def padding_layer(padding: str, amount: int) -> nn.Module:
    """A layer that adds `amount` pixels on every side: `reflect`, `replicate` or `zeros`."""
    match padding:
        case "reflect":
            return Mirrored(amount)
        case "replicate":
            return nn.ReplicationPad2d(amount)
        case "zeros":
            return nn.ZeroPad2d(amount)
    raise ValueError(f"padding is reflect, replicate or zeros, but this is {padding!r}")


class FewOutputs(nn.Conv2d):
    """A convolution of stride 1 without padding, to few channels from many.

    CPUs compute sixteen outputs or three in the same time, so in bfloat16 the columns of the kernel become outputs of their own, shifted and
    summed: from 64 to 3 channels at 128 px, forward and backward, 5.5 ms in place of 15.9 on two cores (benchmarks/few_outputs.py).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        outputs, inputs, rows, columns = self.weight.shape
        kernel = self.weight.permute(3, 0, 1, 2).reshape(columns * outputs, inputs, rows, 1)
        bias = None if self.bias is None else F.pad(self.bias, (0, (columns - 1) * outputs))  # with the first column, before anything is rounded
        by_column = F.conv2d(input, kernel, bias)
        count, _, height, width = by_column.shape
        picture, channel, row, pixel = by_column.stride()
        shape = (count, columns, outputs, height, width - columns + 1)
        return by_column.as_strided(shape, (picture, outputs * channel + pixel, channel, row, pixel)).sum(1)


class Mirrored(nn.Module):
    """Adds `amount` pixels on every side by reflection."""

    def __init__(self, amount: int) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, features: Features) -> Features:
        return reflected(features, self.amount)


def reflected(features: Features, amount: int) -> Features:
    """`amount` more pixels on every side, the border itself not repeated."""
    if torch.are_deterministic_algorithms_enabled():  # the backward of torch's own is not, on a GPU
        for dim in (2, 3):
            size = features.shape[dim]
            before, after = features.narrow(dim, 1, amount), features.narrow(dim, size - 1 - amount, amount)
            features = torch.cat([before.flip(dim), features, after.flip(dim)], dim)
        return features
    # Autocast pads in float32 on a CPU: twice the bytes, and a cast before the next convolution. A copy needs no precision.
    with torch.autocast(features.device.type, enabled=False):
        return F.pad(features, (amount,) * 4, mode="reflect")


def binomial_kernel(size: int) -> torch.Tensor:
    """The blur of Zhang (2019), "Making Convolutional Networks Shift-Invariant Again": a row of Pascal's triangle, times itself.

    Returns:
        (size, size), summing to 1.
    """
    row = torch.tensor([math.comb(size - 1, k) for k in range(size)], dtype=torch.float32)
    kernel = row[:, None] * row[None, :]
    return kernel / kernel.sum()


class BlurDown(nn.Module):
    """Halves a picture: a 3x3 binomial blur of stride 2 over reflected borders."""

    kernel: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", binomial_kernel(3).expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, features: Features) -> Features:
        return F.conv2d(reflected(features, 1), self.kernel.to(features.dtype), stride=2, groups=features.shape[1])


class BlurUp(nn.Module):
    """Doubles a picture: zeros between the pixels, then a 4x4 binomial blur over replicated borders."""

    kernel: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Three of four pixels are zeros before the blur, hence the 4.
        self.register_buffer("kernel", 4 * binomial_kernel(4).expand(channels, 1, 4, 4).clone(), persistent=False)

    def forward(self, features: Features) -> Features:
        # By hand, since torch 2.13 cannot compile the backward of its own replication on a CPU.
        wide = torch.cat([features[..., :1], features, features[..., -1:]], dim=3)
        padded = torch.cat([wide[:, :, :1], wide, wide[:, :, -1:]], dim=2)
        doubled = F.conv_transpose2d(padded, self.kernel.to(features.dtype), stride=2, padding=2, groups=features.shape[1])
        return doubled[:, :, 1:-1, 1:-1]
