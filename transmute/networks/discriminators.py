"""Discriminators: one score per patch of an image. High scores mean real."""

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
    channels = [in_channels] + [width * min(2**layer, 8) for layer in range(layers + 1)]
    stack: list[nn.Module] = []
    for layer in range(layers + 1):
        inputs, outputs = channels[layer : layer + 2]
        stride = 2 if layer < layers and downsampling == "strided" else 1
        norms = [NORMS[norm](outputs)] if layer > 0 else []
        blurs = [BlurDown(outputs)] if layer < layers and downsampling == "antialiased" else []
        conv = nn.Conv2d(inputs, outputs, 4, stride, 1, bias=layer == 0 or has_bias(norm))
        stack += [conv, *norms, nn.LeakyReLU(0.2), *blurs]
    return Discriminator(*stack, nn.Conv2d(channels[-1], 1, 4, padding=1))


def pixelgan(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """PixelGAN of pix2pix, which has only 1x1 convolutions (Isola et al. 2017, section 6.1.2)."""
    bias = has_bias(norm)
    return Discriminator(
        nn.Conv2d(in_channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 1, bias=bias),
        NORMS[norm](2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 1, bias=bias),
    )


def four_stride(*, in_channels: int, width: int, norm: str) -> Discriminator:
    """PyTorch-GAN's variant of PatchGAN, with four layers of stride 2.

    The last convolution (4x4) keeps the size: it pads one more row at the top and one more column
    at the left.
    """
    stack = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for channels in (width, 2 * width, 4 * width):
        conv = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=has_bias(norm))
        stack += [conv, NORMS[norm](2 * channels), nn.LeakyReLU(0.2)]
    return Discriminator(*stack, nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(8 * width, 1, 4, padding=1))
