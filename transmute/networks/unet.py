"""The U-Net generator of pix2pix (Isola et al. 2017, section 6.1.1), and that of PyTorch-GAN."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from transmute.networks.layers import NORMS, has_bias
from transmute.tensors import Images

Block = Callable[[int, int, int], Sequence[nn.Module]]
"""Makes the layers of a level from the level and the channels before and after."""


class UNet(nn.Module):
    """An encoder and a decoder with a skip connection at every level.

    Args:
        in_channels: Channels of the images.
        width: Channels inside the outermost level, doubled at each further one up to the fourth.
        depth: Number of levels.
        down: Layers of the encoder at a level, from 0 (outermost), which halve the size.
        up: Layers of the decoder at a level, which double the size.
        last: Layers of the decoder at the outermost level.
        skip_first: The skip connection's channels precede the decoder's.

    Shapes:
        (batch, in_channels, height, width) in [-1, 1] -> (batch, out_channels, height, width) in
        [-1, 1]. Height and width are multiples of 2 ** depth.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        depth: int,
        down: Block,
        up: Block,
        last: Sequence[nn.Module],
        skip_first: bool,
    ) -> None:
        super().__init__()
        self.skip_first = skip_first
        channels = [in_channels] + [width * min(2**level, 8) for level in range(depth)]
        joined = [2 * count for count in channels[:-1]] + channels[-1:]  # with the skip connection
        self.downs = nn.ModuleList(
            nn.Sequential(*down(level, *channels[level : level + 2])) for level in range(depth)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(*up(level, joined[level + 1], channels[level]))
            for level in range(depth - 1, 0, -1)
        )
        self.ups.append(nn.Sequential(*last))

    def forward(self, images: Images) -> Images:
        skips = [images]
        for down in self.downs:
            skips.append(down(skips[-1]))
        features = skips.pop()
        for up in self.ups[:-1]:
            pair = skips.pop(), up(features)
            features = torch.cat(pair if self.skip_first else pair[::-1], dim=1)
        # Under autocast the layers compute in bfloat16; losses must not.
        return self.ups[-1](features).to(images.dtype)


def unet(
    *, in_channels: int, out_channels: int, width: int, depth: int, norm: str, dropout: bool
) -> UNet:
    """U-Net of pix2pix: 4x4 convolutions of stride 2, and transposed ones in the decoder.

    No norm after the first and the innermost convolution of the encoder, nor after the last of the
    decoder. Dropout in the decoder, in the levels beyond the fifth.
    """

    def down(level: int, before: int, after: int) -> list[nn.Module]:
        return [
            # pytorch-CycleGAN-and-pix2pix applies this in place, which also changes the skip
            # connection. The ReLU in the decoder makes the result the same.
            *([nn.LeakyReLU(0.2)] if level > 0 else []),
            nn.Conv2d(before, after, 4, 2, 1, bias=has_bias(norm)),
            *([NORMS[norm](after)] if 0 < level < depth - 1 else []),
        ]

    def up(level: int, before: int, after: int) -> list[nn.Module]:
        return [
            nn.ReLU(),
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=has_bias(norm)),
            NORMS[norm](after),
            *([nn.Dropout(0.5)] if dropout and 4 < level < depth - 1 else []),
        ]

    return UNet(
        in_channels=in_channels,
        width=width,
        depth=depth,
        down=down,
        up=up,
        last=[nn.ReLU(), nn.ConvTranspose2d(2 * width, out_channels, 4, 2, 1), nn.Tanh()],
        skip_first=True,
    )


def pytorch_gan_unet(
    *, in_channels: int, out_channels: int, width: int, depth: int, dropout: bool
) -> UNet:
    """U-Net of PyTorch-GAN: instance norm before the activations, and no biases.

    No norm after the first and the innermost convolution of the encoder. Dropout in encoder and
    decoder, in the levels beyond the third. The last layers are nearest upsampling and a
    convolution.
    """

    def down(level: int, before: int, after: int) -> list[nn.Module]:
        return [
            nn.Conv2d(before, after, 4, 2, 1, bias=False),
            *([nn.InstanceNorm2d(after)] if 0 < level < depth - 1 else []),
            nn.LeakyReLU(0.2),
            *([nn.Dropout(0.5)] if dropout and level > 2 else []),
        ]

    def up(level: int, before: int, after: int) -> list[nn.Module]:
        return [
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(after),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout and level > 3 else []),
        ]

    return UNet(
        in_channels=in_channels,
        width=width,
        depth=depth,
        down=down,
        up=up,
        last=[
            nn.Upsample(scale_factor=2),
            nn.ZeroPad2d((1, 0, 1, 0)),
            nn.Conv2d(2 * width, out_channels, 4, padding=1),
            nn.Tanh(),
        ],
        skip_first=False,
    )
