"""The classifiers whose layers LPIPS compares: AlexNet, VGG16 and SqueezeNet 1.1, layers and keys as torchvision's `features`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from transmute.tensors import Images


class Backbone(nn.Module):
    """A chain of layers with taps.

    Args:
        layers: In their order.
        taps: After how many layers a tap lies; those of LPIPS (Zhang et al. 2018), where each is after a ReLU.
        caffe: The weights take blue, green, red in 0..255 less their means, as Caffe's did, not red, green, blue
            in [0, 1], less mean and divided by spread, as torchvision's.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, layers: Iterator[nn.Module], taps: tuple[int, ...], *, caffe: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps, self.caffe = taps, caffe
        mean, spread = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)) if caffe else ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor(spread)[:, None, None], persistent=False)

    def layers(self, images: Images) -> list[Tensor]:
        """What each tap gives of (batch, 3, height, width) in [-1, 1]."""
        tensor = (127.5 * (images + 1) - self.mean) / self.spread
        tensor = tensor.flip(1) if self.caffe else tensor
        found = []
        for start, end in itertools.pairwise((0, *self.taps)):
            tensor = self.features[start:end](tensor)
            found.append(tensor)
        return found

    def forward(self, images: Images) -> Tensor:
        """(batch, 3, height, width) in [-1, 1] to (batch, features): the means of the last tap's maps.

        The features of each place have length 1 before (times the root of their number), so that figures of different weights
        have one scale, and a few bright places do not outweigh all others.
        """
        last = self.layers(images)[-1]
        return nn.functional.normalize(last, dim=1).mean((2, 3)) * last.shape[1] ** 0.5


class Fire(nn.Module):
    """Iandola et al. (2016), "SqueezeNet": a 1 x 1 convolution to few channels, then 1 x 1 and 3 x 3 side by side."""

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        squeezed = self.squeeze(inputs).relu()
        return torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], 1).relu()


def squeezenet(*, caffe: bool = False) -> Backbone:
    """SqueezeNet 1.1: 512 features."""

    def layers() -> Iterator[nn.Module]:
        yield from (nn.Conv2d(3, 64, 3, 2), nn.ReLU())
        channels = 64
        for fires in ([(16, 64), (16, 64)], [(32, 128), (32, 128)], [(48, 192), (48, 192), (64, 256), (64, 256)]):
            yield nn.MaxPool2d(3, 2, ceil_mode=True)
            for squeezed, expanded in fires:
                yield Fire(channels, squeezed, expanded)
                channels = 2 * expanded

    return Backbone(layers(), (2, 5, 8, 10, 11, 12, 13), caffe=caffe)


def vgg16(*, caffe: bool = False) -> Backbone:
    """Simonyan and Zisserman (2015): 512 features."""

    def layers() -> Iterator[nn.Module]:
        channels = 3
        for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            if channels > 3:
                yield nn.MaxPool2d(2, 2)
            for _ in range(depth):
                yield from (nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
                channels = width

    return Backbone(layers(), (4, 9, 16, 23, 30), caffe=caffe)


def alexnet(*, caffe: bool = False) -> Backbone:
    """Krizhevsky (2014), "One weird trick": 256 features."""

    def layers() -> Iterator[nn.Module]:
        yield from (nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2))
        yield from (nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2))
        for in_channels, width in ((192, 384), (384, 256), (256, 256)):
            yield from (nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())

    return Backbone(layers(), (2, 5, 8, 10, 12), caffe=caffe)
