"""Distances between two pictures in the layers of a network: LPIPS, and how far their structure differs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transmute.metrics.backbones import Backbone
from transmute.tensors import Images


class LPIPS(nn.Module):
    """Zhang et al. (2018), "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version 0.1.

    The distance is the sum over layers of the mean over places of w . (u - v)^2, with u and v the features of a place, each of length 1.

    Args:
        name: Stands beside every figure.
        backbone: Whose layers are compared.
        weights: w of each layer, (1, channels, 1, 1).
    """

    def __init__(self, name: str, backbone: Backbone, weights: list[Tensor]) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.weights = nn.ParameterList(weights)

    def forward(self, one: Images, two: Images) -> Tensor:
        """(batch, 3, height, width) in [-1, 1], both of one size, to (batch,); 0 for equal pictures."""
        layers = zip(self.backbone.layers(one), self.backbone.layers(two), self.weights, strict=True)
        return torch.stack([(weight * (_unit(u) - _unit(v)).square()).sum(1).mean((1, 2)) for u, v, weight in layers]).sum(0)


def structure_distance(backbone: Backbone, one: Images, two: Images) -> Tensor:
    """How differently the places of two pictures resemble each other, whatever they look like.

    The mean squared difference of the two matrices of cosines between the features of all places of the last layer: the
    self-similarity of Tumanyan et al. (2022), "Splicing ViT Features", equation 5, there on DINO's keys.

    Args:
        backbone: Gives the features.
        one, two: (batch, 3, height, width) in [-1, 1], both of one size; 224 x 224 gives enough places.

    Returns:
        (batch,); 0 for equal pictures, at most 4.
    """
    cosines = []
    for images in (one, two):
        places = _unit(backbone.layers(images)[-1]).flatten(2)
        cosines.append(places.transpose(1, 2) @ places)
    return (cosines[0] - cosines[1]).square().mean((1, 2))


def _unit(layer: Tensor) -> Tensor:
    return layer / (layer.norm(dim=1, keepdim=True) + 1e-10)
