"""Discriminators: pictures in, one score for each patch out. High means real."""

from __future__ import annotations

from torch import nn

from transmute.networks.layers import BlurDown, bias_before, norm_layer
from transmute.tensors import Images, Scores


class Discriminator(nn.Module):
    """A sequence of layers that scores patches.

    Shapes:
        (batch, channels, height, width) in [-1, 1] -> (batch, 1, rows, columns), unbounded: the games squash where they need to.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Images) -> Scores:
        # Under autocast the layers compute in bfloat16; losses must not.
        return self.layers(images).to(images.dtype)


def patchgan(*, in_channels: int, width: int, layers: int, norm: str, downsampling: str) -> Discriminator:
    """The PatchGAN of pix2pix (Isola et al. 2017, section 6.1.2): C64-C128-C256-C512 for three layers, 70x70 patches.

    With `antialiased` downsampling (CUT), convolutions of stride 1 followed by a blur of stride 2.
    """
    channels = [in_channels] + [width * min(2**layer, 8) for layer in range(layers + 1)]
    stack: list[nn.Module] = []
    for layer in range(layers + 1):
        stride = 2 if layer < layers and downsampling == "strided" else 1
        norms = [norm_layer(norm, channels[layer + 1])] if layer else []
        conv = nn.Conv2d(channels[layer], channels[layer + 1], 4, stride=stride, padding=1, bias=layer == 0 or bias_before(norm))
        stack += [conv, *norms, nn.LeakyReLU(0.2)]
        if layer < layers and downsampling == "antialiased":
            stack.append(BlurDown(channels[layer + 1]))
    return Discriminator(*stack, nn.Conv2d(channels[-1], 1, 4, padding=1))


def pixelgan(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """The 1x1 PixelGAN of pix2pix (Isola et al. 2017, section 6.1.2)."""
    bias = bias_before(norm)
    return Discriminator(
        nn.Conv2d(in_channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 1, bias=bias),
        norm_layer(norm, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 1, bias=bias),
    )


def four_stride(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """PyTorch-GAN's variant: four layers of stride 2, then a 4x4 convolution that keeps the size (one more row and column above and left)."""
    stack: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for channels in (width, 2 * width, 4 * width):
        conv = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=bias_before(norm))
        stack += [conv, norm_layer(norm, 2 * channels), nn.LeakyReLU(0.2)]
    return Discriminator(*stack, nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(8 * width, 1, 4, padding=1))
