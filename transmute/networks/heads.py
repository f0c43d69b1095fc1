"""CUT's projection heads (Park et al. 2020, section 3), from features to comparable vectors."""

from collections.abc import Sequence

import torch
from torch import nn

from transmute.tensors import Features, Vectors


class ProjectionHeads(nn.Module):
    """A two-layer perceptron for each compared layer of the generator.

    Args:
        channels: Channels of each layer's features.
        width: Length of the vectors.
    """

    def __init__(self, *, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width))
            for count in channels
        )

    def forward(
        self, features: Sequence[Features], positions: Sequence[torch.Tensor]
    ) -> list[Vectors]:
        """Projects the features at some positions of each layer.

        Args:
            features: (batch, channels, height, width) of each layer.
            positions: (positions,) indices into the height * width positions, row by row, of each
                layer.

        Returns:
            (batch, positions, width) unit vectors of each layer.
        """
        vectors = []
        for head, layer, indices in zip(self.heads, features, positions, strict=True):
            projected = head(layer.flatten(2)[:, :, indices].transpose(1, 2))
            # Under autocast the heads compute in bfloat16; losses must not.
            projected = projected.to(next(head.parameters()).dtype)
            vectors.append(projected / (projected.norm(dim=2, keepdim=True) + 1e-7))
        return vectors
