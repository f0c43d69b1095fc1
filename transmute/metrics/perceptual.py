"""Distances between two images in the layers of a classifier: LPIPS and the structure distance.

The classifiers are AlexNet, VGG16 and SqueezeNet 1.1. Layers and keys are those of torchvision's
`features`.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transmute.tensors import Images

MIN_SIZE = 32
"""Smallest side in pixels for LPIPS, whose networks downsample by 32."""
_TORCHVISION = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
"""Means and standard deviations of inputs."""


class Backbone(nn.Module):
    """A chain of layers, some of whose outputs LPIPS compares.

    Args:
        layers: The layers, in order.
        taps: Numbers of layers after which an output is taken, and its channels, as in LPIPS (Zhang
            et al. 2018). Each of these layers is a ReLU or ends with one.
        caffe: Whether the weights expect Caffe's inputs (blue, green, red in 0..255, minus the
            means) instead of torchvision's (red, green, blue in [0, 1], normalized).

    Attributes:
        linear: LPIPS's weights of each output, (1, channels, 1, 1).
    """

    def __init__(
        self, layers: Iterable[nn.Module], taps: Mapping[int, int], *, caffe: bool = False
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.linear = nn.ParameterList(torch.ones(1, size, 1, 1) for size in taps.values())
        self.taps, self.caffe = taps, caffe
        self.moments = nn.Buffer(
            torch.tensor(_CAFFE if caffe else _TORCHVISION)[:, :, None, None], persistent=False
        )

    def layers(self, images: Images) -> list[Tensor]:
        """The outputs at all taps, from (batch, 3, height, width) in [-1, 1].

        At each position, the features are normalized to length 1.
        """
        mean, std = self.moments
        tensor = (127.5 * (images + 1) - mean) / std
        tensor = tensor.flip(1) if self.caffe else tensor
        outputs = []
        for start, end in itertools.pairwise((0, *self.taps)):
            tensor = self.features[start:end](tensor)
            outputs.append(nn.functional.normalize(tensor))
        return outputs

    def forward(self, images: Images) -> Tensor:
        """Features for FID and KID: means of the last tap's feature maps.

        They are multiplied by the square root of their number. So metrics with different weights
        have one scale, and a few strong activations do not outweigh all others.

        Args:
            images: (batch, 3, height, width) in [-1, 1].

        Returns:
            (batch, features).
        """
        last = self.layers(images)[-1]
        return last.mean((2, 3)) * last.shape[1] ** 0.5


class Fire(nn.ModuleDict):
    """The block of Iandola et al. (2016), "SqueezeNet".

    A 1 x 1 convolution to fewer channels, then a 1 x 1 and a 3 x 3 convolution in parallel.
    """

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__(
            {
                "squeeze": nn.Conv2d(in_channels, squeezed, 1),
                "expand1x1": nn.Conv2d(squeezed, expanded, 1),
                "expand3x3": nn.Conv2d(squeezed, expanded, 3, padding=1),
            }
        )

    def forward(self, inputs: Tensor) -> Tensor:
        squeezed = self["squeeze"](inputs).relu()
        return torch.cat([self[name](squeezed) for name in ("expand1x1", "expand3x3")], 1).relu()


def _convolution(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, padding: int = 1
) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding), nn.ReLU()


def squeezenet(*, caffe: bool = False) -> Backbone:
    """SqueezeNet 1.1, with 512 features."""
    return Backbone(
        [
            *_convolution(3, 64, stride=2, padding=0),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        ],
        {2: 64, 5: 128, 8: 256, 10: 384, 11: 384, 12: 512, 13: 512},
        caffe=caffe,
    )


def vgg16(*, caffe: bool = False) -> Backbone:
    """VGG16 (Simonyan and Zisserman 2015), with 512 features."""
    return Backbone(
        [
            *_convolution(3, 64),
            *_convolution(64, 64),
            nn.MaxPool2d(2, 2),
            *_convolution(64, 128),
            *_convolution(128, 128),
            nn.MaxPool2d(2, 2),
            *_convolution(128, 256),
            *_convolution(256, 256),
            *_convolution(256, 256),
            nn.MaxPool2d(2, 2),
            *_convolution(256, 512),
            *_convolution(512, 512),
            *_convolution(512, 512),
            nn.MaxPool2d(2, 2),
            *_convolution(512, 512),
            *_convolution(512, 512),
            *_convolution(512, 512),
        ],
        {4: 64, 9: 128, 16: 256, 23: 512, 30: 512},
        caffe=caffe,
    )


def alexnet(*, caffe: bool = False) -> Backbone:
    """AlexNet in the version of Krizhevsky (2014), "One weird trick", with 256 features."""
    return Backbone(
        [
            *_convolution(3, 64, 11, 4, 2),
            nn.MaxPool2d(3, 2),
            *_convolution(64, 192, 5, padding=2),
            nn.MaxPool2d(3, 2),
            *_convolution(192, 384),
            *_convolution(384, 256),
            *_convolution(256, 256),
        ],
        {2: 64, 5: 192, 8: 384, 10: 256, 12: 256},
        caffe=caffe,
    )


@dataclass(frozen=True)
class LPIPS:
    """LPIPS, version 0.1.

    The distance is the sum over layers of the mean over positions of w . (u - v)^2, where u and v
    are the two images' features at a position, normalized to length 1. From Zhang et al. (2018),
    "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

    Attributes:
        name: Name that metrics are labeled with.
        backbone: Network whose layers are compared, with the weights w.
    """

    name: str
    backbone: Backbone

    @torch.inference_mode()
    def __call__(self, one: Images, two: Images) -> float | None:
        """Distance of two images: 0 for equal ones, None if a side is below `MIN_SIZE`.

        Args:
            one, two: (1, 3, height, width) in [-1, 1], of equal shapes.
        """
        if min(one.shape[2:]) < MIN_SIZE:
            return None
        layers = zip(
            self.backbone.layers(one), self.backbone.layers(two), self.backbone.linear, strict=True
        )
        return sum((w * (u - v).square()).sum(1).mean().item() for u, v, w in layers)


def structure_distance(backbone: Backbone, one: Images, two: Images) -> Tensor:
    """Difference of the self-similarities of two images, which depend on structure, not on colors.

    The self-similarity is the matrix of cosines between the last layer's features at all pairs of
    positions. The distance is the mean squared difference of the two matrices (Tumanyan et al.
    2022, "Splicing ViT Features", equation 5, there on DINO's keys).

    Args:
        backbone: Network that computes the features.
        one, two: (batch, 3, height, width) in [-1, 1], of equal shapes, such as 224 x 224.

    Returns:
        (batch,) in [0, 4]; 0 for equal images.
    """
    features = [backbone.layers(images)[-1].flatten(2) for images in (one, two)]
    cosines = [each.transpose(1, 2) @ each for each in features]
    return (cosines[0] - cosines[1]).square().mean((1, 2))
