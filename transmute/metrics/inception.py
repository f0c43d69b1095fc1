"""The Inception network of FID: Szegedy et al. (2016), "Rethinking the Inception Architecture", in the version of December 2015.

Its weights were published by TensorFlow and carried over under the names that torchvision gives to the layers. It differs from
torchvision's own network: average pools do not count the padding, the last block has a maximum pool, and there are 1008 classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transmute.tensors import Images


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: int | str = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(inputs)))


Link = tuple[int, int | tuple[int, int]]
"""Channels out and kernel of a convolution that keeps height and width."""
Chains = Mapping[str, Sequence[Link | list[Link]]]


class Mixed(nn.Module):
    """Chains of convolutions side by side, their outputs joined.

    Args:
        in_channels: Of the input.
        chains: By name, the links of each; a list among them is a fork, whose outputs are joined.
        pool: What the last branch pools by, mean or max, before its own convolution to `pooled` channels.
        pooled: Channels of that branch; 0 halves height and width: the last link of each chain and the pool have stride 2.
    """

    def __init__(self, in_channels: int, chains: Chains, *, pool: str = "mean", pooled: int = 0) -> None:
        super().__init__()
        self.pool, self.halves = pool, not pooled
        self.chains: list[list[list[str]]] = []
        for chain, links in chains.items():
            channels, names = in_channels, []
            for place, link in enumerate(links, 1):
                fork = link if isinstance(link, list) else [link]
                keys = [f"{chain}_{place}{'ab'[i]}" for i in range(2)] if len(fork) > 1 else [chain if len(links) == 1 else f"{chain}_{place}"]
                stride, padding = (2, 0) if self.halves and place == len(links) else (1, "same")
                for key, (out_channels, kernel) in zip(keys, fork, strict=True):
                    self.add_module(key, Convolution(channels, out_channels, kernel, stride=stride, padding=padding))
                channels = fork[0][0]
                names.append(keys)
            self.chains.append(names)
        self.branch_pool = Convolution(in_channels, pooled, 1) if pooled else None

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            tensor = inputs
            for keys in chain:
                tensor = torch.cat([self.get_submodule(key)(tensor) for key in keys], 1)
            outputs.append(tensor)
        if self.branch_pool is None:
            return torch.cat([*outputs, F.max_pool2d(inputs, 3, 2)], 1)
        pooled = F.max_pool2d(inputs, 3, 1, 1) if self.pool == "max" else F.avg_pool2d(inputs, 3, 1, 1, count_include_pad=False)
        return torch.cat([*outputs, self.branch_pool(pooled)], 1)


def _mixed_5(in_channels: int, pooled: int) -> Mixed:
    chains = {"branch1x1": [(64, 1)], "branch5x5": [(48, 1), (64, 5)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}
    return Mixed(in_channels, chains, pooled=pooled)


def _mixed_6(width: int) -> Mixed:
    row, column = (1, 7), (7, 1)
    long = [(width, 1), (width, column), (width, row), (width, column), (192, row)]
    return Mixed(768, {"branch1x1": [(192, 1)], "branch7x7": [(width, 1), (width, row), (192, column)], "branch7x7dbl": long}, pooled=192)


def _mixed_7(in_channels: int, pool: str) -> Mixed:
    fork: list[Link] = [(384, (1, 3)), (384, (3, 1))]
    chains = {"branch1x1": [(320, 1)], "branch3x3": [(384, 1), fork], "branch3x3dbl": [(448, 1), (384, 3), fork]}
    return Mixed(in_channels, chains, pool=pool, pooled=192)


class Inception(nn.Module):
    """Pictures of 299 x 299 to the 2048 means of the last layer's maps."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _mixed_5(192, 32), _mixed_5(256, 64), _mixed_5(288, 64)
        self.Mixed_6a = Mixed(288, {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]})
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (_mixed_6(width) for width in (128, 160, 160, 192))
        self.Mixed_7a = Mixed(768, {"branch3x3": [(192, 1), (320, 3)], "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)]})
        self.Mixed_7b, self.Mixed_7c = _mixed_7(1280, "mean"), _mixed_7(2048, "max")

    def forward(self, images: Images) -> Tensor:
        """(batch, 3, 299, 299) in [-1, 1] to (batch, 2048)."""
        stem = self.Conv2d_1a_3x3((127.5 * images - 0.5) / 128)  # of a level in 0..255, the network takes (level - 128) / 128
        stem = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(stem)), 3, 2)
        maps = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(stem)), 3, 2)
        maps = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(maps)))
        maps = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(maps)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(maps))).mean((2, 3))
