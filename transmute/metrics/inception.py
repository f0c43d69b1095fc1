"""The Inception network of FID.

The architecture of Szegedy et al. (2016), "Rethinking the Inception Architecture", in the version
of December 2015. TensorFlow published its weights; the file used here names the layers as
torchvision does. It differs from torchvision's network: average pools do not count the padding,
the last block has a max pool, and there are 1008 classes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transmute.tensors import Images

Layers = Mapping[str, tuple[Any, ...]]
"""Convolutions by their keys: the key of the input ("" or "pool" for the block's), output channels,
kernel, stride and padding. By default, height and width are kept."""
ROW, COLUMN = (1, 7), (7, 1)


def _convolution(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | str = "same",
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
            bn=nn.BatchNorm2d(out_channels, eps=1e-3),
            relu=nn.ReLU(),
        )
    )


class InceptionBlock(nn.ModuleDict):
    """Branches in parallel, whose outputs are concatenated.

    Args:
        in_channels: Input channels.
        layers: The convolutions of all branches.
        pool: Pool of the block's input, which is the last output unless a convolution follows.
    """

    def __init__(self, in_channels: int, layers: Layers, pool: nn.Module) -> None:
        super().__init__({"pool": pool})
        self.inputs = {key: source for key, (source, *_) in layers.items()}
        channels = {"": in_channels, "pool": in_channels}
        for key, (source, *layer) in layers.items():
            self[key] = _convolution(channels[source], *layer)
            channels[key] = layer[0]

    def forward(self, inputs: Tensor) -> Tensor:
        tensors = {"": inputs, "pool": self["pool"](inputs)}
        for key, source in self.inputs.items():
            tensors[key] = self[key](tensors[source])
        sources = self.inputs.values()
        return torch.cat([tensors[key] for key in (*self.inputs, "pool") if key not in sources], 1)


def _block_5(in_channels: int, pool_channels: int) -> InceptionBlock:
    return InceptionBlock(
        in_channels,
        {
            "branch1x1": ("", 64, 1),
            "branch5x5_1": ("", 48, 1),
            "branch5x5_2": ("branch5x5_1", 64, 5),
            "branch3x3dbl_1": ("", 64, 1),
            "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
            "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3),
            "branch_pool": ("pool", pool_channels, 1),
        },
        _mean_pool(),
    )


def _block_6(width: int) -> InceptionBlock:
    return InceptionBlock(
        768,
        {
            "branch1x1": ("", 192, 1),
            "branch7x7_1": ("", width, 1),
            "branch7x7_2": ("branch7x7_1", width, ROW),
            "branch7x7_3": ("branch7x7_2", 192, COLUMN),
            "branch7x7dbl_1": ("", width, 1),
            "branch7x7dbl_2": ("branch7x7dbl_1", width, COLUMN),
            "branch7x7dbl_3": ("branch7x7dbl_2", width, ROW),
            "branch7x7dbl_4": ("branch7x7dbl_3", width, COLUMN),
            "branch7x7dbl_5": ("branch7x7dbl_4", 192, ROW),
            "branch_pool": ("pool", 192, 1),
        },
        _mean_pool(),
    )


def _mean_pool() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


DOWNSAMPLING_6 = {
    "branch3x3": ("", 384, 3, 2, 0),
    "branch3x3dbl_1": ("", 64, 1),
    "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
    "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3, 2, 0),
}
DOWNSAMPLING_7 = {
    "branch3x3_1": ("", 192, 1),
    "branch3x3_2": ("branch3x3_1", 320, 3, 2, 0),
    "branch7x7x3_1": ("", 192, 1),
    "branch7x7x3_2": ("branch7x7x3_1", 192, ROW),
    "branch7x7x3_3": ("branch7x7x3_2", 192, COLUMN),
    "branch7x7x3_4": ("branch7x7x3_3", 192, 3, 2, 0),
}
"""Layers of the blocks that halve height and width."""
BLOCK_7 = {
    "branch1x1": ("", 320, 1),
    "branch3x3_1": ("", 384, 1),
    "branch3x3_2a": ("branch3x3_1", 384, (1, 3)),
    "branch3x3_2b": ("branch3x3_1", 384, (3, 1)),
    "branch3x3dbl_1": ("", 448, 1),
    "branch3x3dbl_2": ("branch3x3dbl_1", 384, 3),
    "branch3x3dbl_3a": ("branch3x3dbl_2", 384, (1, 3)),
    "branch3x3dbl_3b": ("branch3x3dbl_2", 384, (3, 1)),
    "branch_pool": ("pool", 192, 1),
}
"""Layers of the two last blocks."""


class Inception(nn.Sequential):
    """Images of 299 x 299 pixels to 2048 features, the means of the last layer's maps."""

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                Conv2d_1a_3x3=_convolution(3, 32, 3, 2, 0),
                Conv2d_2a_3x3=_convolution(32, 32, 3, 1, 0),
                Conv2d_2b_3x3=_convolution(32, 64, 3),
                pool_1=nn.MaxPool2d(3, 2),
                Conv2d_3b_1x1=_convolution(64, 80, 1),
                Conv2d_4a_3x3=_convolution(80, 192, 3, 1, 0),
                pool_2=nn.MaxPool2d(3, 2),
                Mixed_5b=_block_5(192, 32),
                Mixed_5c=_block_5(256, 64),
                Mixed_5d=_block_5(288, 64),
                Mixed_6a=InceptionBlock(288, DOWNSAMPLING_6, nn.MaxPool2d(3, 2)),
                Mixed_6b=_block_6(128),
                Mixed_6c=_block_6(160),
                Mixed_6d=_block_6(160),
                Mixed_6e=_block_6(192),
                Mixed_7a=InceptionBlock(768, DOWNSAMPLING_7, nn.MaxPool2d(3, 2)),
                Mixed_7b=InceptionBlock(1280, BLOCK_7, _mean_pool()),
                Mixed_7c=InceptionBlock(2048, BLOCK_7, nn.MaxPool2d(3, 1, 1)),
            )
        )

    def forward(self, input: Images) -> Tensor:
        """(batch, 3, 299, 299) in [-1, 1] to (batch, 2048)."""
        # The network expects (level - 128) / 128 of a level in 0..255.
        return super().forward((127.5 * input - 0.5) / 128).mean((2, 3))
