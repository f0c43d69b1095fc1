"""The Inception network of FID.

The architecture of Szegedy et al. (2016), "Rethinking the Inception Architecture", in the version
of December 2015. TensorFlow published its weights; the file used here names the layers as
torchvision does. It differs from torchvision's network: average pools do not count the padding,
the last block has a max pool, and there are 1008 classes.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transmute.tensors import Images

Branch = Sequence[Mapping[str, tuple[Any, ...]]]
"""Steps of convolutions by their keys: output channels, kernel, stride and padding. By default,
height and width are kept. Outputs of convolutions of one step are concatenated."""
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

    The last branch is a pool, followed by a convolution unless the block downsamples.

    Args:
        in_channels: Input channels.
        branches: All branches but the last.
        pool: The last branch's pool.
        pool_channels: Output channels of the last branch's convolution. 0 means none.
    """

    def __init__(
        self,
        in_channels: int,
        branches: Sequence[Branch],
        pool: nn.Module,
        pool_channels: int = 0,
    ) -> None:
        super().__init__(
            {
                "pool": pool,
                "branch_pool": _convolution(in_channels, pool_channels, 1)
                if pool_channels
                else nn.Identity(),
            }
        )
        self.branches = branches
        for branch in branches:
            channels = in_channels
            for step in branch:
                self.update({key: _convolution(channels, *layer) for key, layer in step.items()})
                channels = next(iter(step.values()))[0]

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = []
        for branch in self.branches:
            tensor = inputs
            for step in branch:
                tensor = torch.cat([self[key](tensor) for key in step], 1)
            outputs.append(tensor)
        return torch.cat([*outputs, self["branch_pool"](self["pool"](inputs))], 1)


def _block_5(in_channels: int, pool_channels: int) -> InceptionBlock:
    return InceptionBlock(
        in_channels,
        [
            [{"branch1x1": (64, 1)}],
            [{"branch5x5_1": (48, 1)}, {"branch5x5_2": (64, 5)}],
            [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3)}],
        ],
        _mean_pool(),
        pool_channels,
    )


def _block_6(width: int) -> InceptionBlock:
    return InceptionBlock(
        768,
        [
            [{"branch1x1": (192, 1)}],
            [
                {"branch7x7_1": (width, 1)},
                {"branch7x7_2": (width, ROW)},
                {"branch7x7_3": (192, COLUMN)},
            ],
            [
                {"branch7x7dbl_1": (width, 1)},
                {"branch7x7dbl_2": (width, COLUMN)},
                {"branch7x7dbl_3": (width, ROW)},
                {"branch7x7dbl_4": (width, COLUMN)},
                {"branch7x7dbl_5": (192, ROW)},
            ],
        ],
        _mean_pool(),
        192,
    )


def _block_7(in_channels: int, pool: nn.Module) -> InceptionBlock:
    return InceptionBlock(
        in_channels,
        [
            [{"branch1x1": (320, 1)}],
            [
                {"branch3x3_1": (384, 1)},
                {"branch3x3_2a": (384, (1, 3)), "branch3x3_2b": (384, (3, 1))},
            ],
            [
                {"branch3x3dbl_1": (448, 1)},
                {"branch3x3dbl_2": (384, 3)},
                {"branch3x3dbl_3a": (384, (1, 3)), "branch3x3dbl_3b": (384, (3, 1))},
            ],
        ],
        pool,
        192,
    )


def _mean_pool() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


DOWNSAMPLING_6 = (
    [{"branch3x3": (384, 3, 2, 0)}],
    [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3, 2, 0)}],
)
DOWNSAMPLING_7 = (
    [{"branch3x3_1": (192, 1)}, {"branch3x3_2": (320, 3, 2, 0)}],
    [
        {"branch7x7x3_1": (192, 1)},
        {"branch7x7x3_2": (192, ROW)},
        {"branch7x7x3_3": (192, COLUMN)},
        {"branch7x7x3_4": (192, 3, 2, 0)},
    ],
)
"""Branches of the blocks that halve height and width."""


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
                Mixed_7b=_block_7(1280, _mean_pool()),
                Mixed_7c=_block_7(2048, nn.MaxPool2d(3, 1, 1)),
            )
        )

    def forward(self, input: Images) -> Tensor:
        """(batch, 3, 299, 299) in [-1, 1] to (batch, 2048)."""
        # The network expects (level - 128) / 128 of a level in 0..255.
        return super().forward((127.5 * input - 0.5) / 128).mean((2, 3))
