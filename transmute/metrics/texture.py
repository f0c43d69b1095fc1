"""Statistics of colors and edges: features that need no weights, for quick figures where no network is at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transmute.tensors import Images


class Texture(nn.Module):
    """Mean colors of nine fields, and at four scales the spread of each color and its edges in four directions: 87 features.

    In the spirit of Portilla and Simoncelli (2000), "A Parametric Texture Model"; spreads and edges as logarithms, so that faint
    stripes count as strong ones do. They tell stripes from none and brown from white, and hardly a horse from a cow.
    """

    opponents: Tensor
    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        opponents = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])  # light, red - green, yellow - blue
        self.register_buffer("opponents", opponents[:, :, None, None])
        edges = torch.tensor([[[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]], [[0, -1, 0], [0, 0, 0], [0, 1, 0]], [[-1, 0, 0], [0, 0, 0], [0, 0, 1]]])
        self.register_buffer("edges", torch.cat([edges, edges[2:].flip(2)]).repeat(3, 1, 1)[:, None])

    def forward(self, images: Images) -> Tensor:
        """(batch, 3, height, width) in [-1, 1], sides at least 24, to (batch, 87)."""
        level = F.conv2d(images, self.opponents)
        found = [F.adaptive_avg_pool2d(level, 3).flatten(1)]
        for _ in range(4):
            strengths = [level.std((2, 3)), F.conv2d(level, self.edges, groups=3).abs().mean((2, 3))]
            found += [(strength + 0.01).log() + 3 for strength in strengths]
            level = F.avg_pool2d(level, 2)
        return torch.cat(found, 1)
