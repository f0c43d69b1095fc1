"""CIE Lab: lightness and two colors, scaled to about [-1, 1]. D65 white, 2 degrees, sRGB's transfer curve."""

from __future__ import annotations

import torch

from transmute.tensors import Images

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def to_lab(images: Images) -> tuple[Images, Images]:
    """RGB in [-1, 1] to lightness (1 channel, L / 50 - 1, in [-1, 1]) and colors (2 channels, a / 110 and b / 110)."""
    srgb = (images + 1) / 2
    linear = torch.where(srgb > 0.04045, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    # Numbers of Python, not tensors: these would be copied to a GPU in each step, which no CUDA graph can capture.
    red, green, blue = linear.unbind(1)
    xyz = torch.stack([(r * red + g * green + b * blue) / white for (r, g, b), white in zip(_TO_XYZ, _WHITE, strict=True)], dim=1)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return (116 * y - 16)[:, None] / 50 - 1, torch.stack([500 * (x - y), 200 * (y - z)], dim=1) / 110


def to_rgb(lightness: Images, colors: Images) -> Images:
    """The way back; colors that a screen cannot show are clipped to [-1, 1]."""
    y = ((lightness[:, 0] + 1) * 50 + 16) / 116
    curved = torch.stack([y + colors[:, 0] * 110 / 500, y, y - colors[:, 1] * 110 / 200], dim=1)
    xyz = torch.where(curved > 0.2068966, curved**3, (curved - 16 / 116) / 7.787) * lightness.new_tensor(_WHITE).view(3, 1, 1)
    linear = torch.einsum("ij,njhw->nihw", lightness.new_tensor(_TO_XYZ).inverse(), xyz).clamp(0, 1)
    srgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return srgb * 2 - 1
