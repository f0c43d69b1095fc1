"""The U-Net generator of pix2pix (Isola et al. 2017, section 6.1.1), and PyTorch-GAN's variant of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transmute.networks.layers import bias_before, norm_layer
from transmute.tensors import Images


class UNet(nn.Module):
    """4x4 convolutions of stride 2 down to the innermost level, transposed ones up again, each beside its skip.

    No norm after the first and the innermost step down, nor after the last step up; dropout on the way up in the levels beyond five.

    Shapes:
        (batch, in_channels, height, width) in [-1, 1] -> (batch, out_channels, height, width) in [-1, 1];
        height and width are multiples of 2 ** depth.
    """

    def __init__(self, *, in_channels: int, out_channels: int, width: int, depth: int, norm: str, dropout: bool) -> None:
        super().__init__()
        bias = bias_before(norm)
        channels = [width * min(2**level, 8) for level in range(depth)]
        innermost = depth - 1
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            # The original writes its LeakyReLU into the skip in place; the ReLU on the way up makes that the same as this.
            before = [] if level == 0 else [nn.LeakyReLU(0.2)]
            above = in_channels if level == 0 else channels[level - 1]
            after = [] if level in (0, innermost) else [norm_layer(norm, channels[level])]
            self.downs.append(nn.Sequential(*before, nn.Conv2d(above, channels[level], 4, stride=2, padding=1, bias=bias), *after))
        for level in reversed(range(depth)):
            inside = channels[level] if level == innermost else 2 * channels[level]
            if level == 0:
                self.ups.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inside, out_channels, 4, stride=2, padding=1), nn.Tanh()))
                continue
            outside = channels[level - 1]
            drop = [nn.Dropout(0.5)] if dropout and 4 < level < innermost else []
            up = nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=bias)
            self.ups.append(nn.Sequential(nn.ReLU(), up, norm_layer(norm, outside), *drop))

    def forward(self, images: Images) -> Images:
        return _down_and_up(self.downs, self.ups, images, lambda skip, inner: torch.cat([skip, inner], dim=1))


class PyTorchGANUNet(nn.Module):
    """PyTorch-GAN's U-Net: instance norm, activations after the norm, no biases, and nearest upsampling as the last step up.

    Dropout of one half in the levels beyond three, on both ways. No norm after the first and the innermost step down.

    Shapes:
        As `UNet`.
    """

    def __init__(self, *, in_channels: int, out_channels: int, width: int, depth: int, dropout: bool) -> None:
        super().__init__()
        channels = [width * min(2**level, 8) for level in range(depth)]
        innermost = depth - 1
        drops = [[nn.Dropout(0.5)] if dropout and level > 2 else [] for level in range(depth)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            above = in_channels if level == 0 else channels[level - 1]
            norm = [] if level in (0, innermost) else [nn.InstanceNorm2d(channels[level])]
            conv = nn.Conv2d(above, channels[level], 4, stride=2, padding=1, bias=False)
            self.downs.append(nn.Sequential(conv, *norm, nn.LeakyReLU(0.2), *drops[level]))
        for level in reversed(range(1, depth)):
            inside, outside = channels[level] * (1 if level == innermost else 2), channels[level - 1]
            up = nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=False)
            self.ups.append(nn.Sequential(up, nn.InstanceNorm2d(outside), nn.ReLU(), *drops[level - 1]))
        last = nn.Conv2d(2 * width, out_channels, 4, padding=1)
        self.ups.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 0, 1, 0)), last, nn.Tanh()))

    def forward(self, images: Images) -> Images:
        return _down_and_up(self.downs, self.ups, images, lambda skip, inner: torch.cat([inner, skip], dim=1))


def _down_and_up(downs: nn.ModuleList, ups: nn.ModuleList, images: Images, joined: Callable[[Tensor, Tensor], Tensor]) -> Images:
    """Down to the innermost level and up again, each level joined with its skip."""
    skips = [images]
    for down in downs:
        skips.append(down(skips[-1]))
    inner = skips.pop()
    for up in ups[:-1]:
        inner = joined(skips.pop(), up(inner))
    # Under autocast the layers compute in bfloat16; losses must not.
    return ups[-1](inner).to(images.dtype)
