"""Discriminators: one score per patch of an image. High scores mean real."""

from collections.abc import Sequence

from torch import nn

from transmute.networks.layers import NORMS, BlurDown, has_bias
from transmute.tensors import Images, Scores


class Discriminator(nn.Module):
    """A sequence of layers that scores patches.

    Shapes:
        (batch, channels, height, width) in [-1, 1] -> (batch, 1, rows, columns), unbounded. The
        adversarial loss applies a sigmoid if it needs one.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Images) -> Scores:
        # Under autocast the layers compute in bfloat16; losses must not.
        return self.layers(images).to(images.dtype)


def patchgan(
    *, in_channels: int, width: int, layers: int, norm: str, downsampling: str
) -> Discriminator:
    """PatchGAN of pix2pix (Isola et al. 2017, section 6.1.2).

    With three layers it is C64-C128-C256-C512, which sees patches of 70x70 pixels. `antialiased`
    downsampling (CUT) is a convolution of stride 1 followed by a blur of stride 2.
    """
    stack = _convolutions(in_channels, width, [2] * layers + [1], norm, downsampling)
    return Discriminator(*stack, nn.Conv2d(width * min(2**layers, 8), 1, 4, padding=1))


def pixelgan(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """PixelGAN of pix2pix, which has only 1x1 convolutions (Isola et al. 2017, section 6.1.2)."""
    return Discriminator(
        nn.Conv2d(in_channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 1, bias=has_bias(norm)),
        NORMS[norm](2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 1, bias=has_bias(norm)),
    )


def four_stride(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """PyTorch-GAN's variant of PatchGAN, with four layers of stride 2.

    The last convolution (4x4) keeps the size: it pads one more row at the top and one more column
    at the left.
    """
    stack = _convolutions(in_channels, width, [2] * 4, norm, "strided")
    return Discriminator(*stack, nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(8 * width, 1, 4, padding=1))


def _convolutions(
    in_channels: int, width: int, strides: Sequence[int], norm: str, downsampling: str
) -> list[nn.Module]:
    """4x4 convolutions, each with a norm (but the first) and a leaky ReLU.

    The channels double from layer to layer, up to eight times `width`.
    """
    channels = [in_channels] + [width * min(2**layer, 8) for layer in range(len(strides))]
    layers: list[nn.Module] = []
    for layer, stride in enumerate(strides):
        inputs, outputs = channels[layer : layer + 2]
        blurs = [BlurDown(outputs)] if stride == 2 and downsampling == "antialiased" else []
        layers += [
            nn.Conv2d(
                inputs, outputs, 4, 1 if blurs else stride, 1, bias=layer == 0 or has_bias(norm)
            ),
            *([NORMS[norm](outputs)] if layer > 0 else []),
            nn.LeakyReLU(0.2),
            *blurs,
        ]
    return layers
