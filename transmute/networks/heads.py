"""The projection heads of CUT (Park et al. 2020, section 3): from a generator's features to vectors that can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from transmute.tensors import Features, Vectors


class ProjectionHeads(nn.Module):
    """One two-layer perceptron for each compared layer of the generator.

    Args:
        channels: Channels of each layer's features.
        width: Length of the vectors.
    """

    def __init__(self, channels: Sequence[int], *, width: int) -> None:
        super().__init__()
        self.channels, self.width = tuple(channels), width
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width)) for count in channels)

    def forward(self, features: Sequence[Features], places: Sequence[torch.Tensor]) -> list[Vectors]:
        """The vectors at some places of each layer.

        Args:
            features: (batch, channels, height, width) of each layer.
            places: Which of its height * width positions, row by row.

        Returns:
            For each layer (batch, places, width), of length 1.
        """
        vectors = []
        for head, layer, place in zip(self.heads, features, places, strict=True):
            # Under autocast the heads compute in bfloat16; losses must not.
            sampled = head(layer.flatten(2)[:, :, place].transpose(1, 2)).to(next(head.parameters()).dtype)
            vectors.append(sampled / (sampled.norm(dim=2, keepdim=True) + 1e-7))
        return vectors
