"""CIE Lab, scaled to about [-1, 1]: D65 white, 2 degree observer, sRGB transfer curve."""

import torch

from transmute.tensors import Images

# Python numbers, because a CUDA graph cannot capture the copy of a new tensor to the GPU.
_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)


def to_lab(images: Images) -> tuple[Images, Images]:
    """Converts RGB in [-1, 1] to CIE Lab.

    Returns:
        Lightness, L / 50 - 1 in [-1, 1] (1 channel), and colors, a / 110 and b / 110 (2 channels).
    """
    srgb = (images + 1) / 2
    curve = ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    red, green, blue = torch.where(srgb > 0.04045, curve, srgb / 12.92).unbind(1)
    rows = zip(_TO_XYZ, _WHITE, strict=True)
    xyz = [(r * red + g * green + b * blue) / white for (r, g, b), white in rows]
    relative = torch.stack(xyz, dim=1)
    root = relative.clamp(min=0.008856) ** (1 / 3)
    x, y, z = torch.where(relative > 0.008856, root, 7.787 * relative + 16 / 116).unbind(1)
    lightness = (116 * y - 16)[:, None] / 50 - 1
    return lightness, torch.stack([500 * (x - y), 200 * (y - z)], dim=1) / 110


def to_rgb(lightness: Images, colors: Images) -> Images:
    """Inverse of `to_lab`. Colors outside of sRGB are clipped to [-1, 1]."""
    y = ((lightness[:, 0] + 1) * 50 + 16) / 116
    curved = torch.stack([y + colors[:, 0] * 110 / 500, y, y - colors[:, 1] * 110 / 200], dim=1)
    relative = torch.where(curved > 0.2068966, curved**3, (curved - 16 / 116) / 7.787)
    xyz = relative * lightness.new_tensor(_WHITE).view(3, 1, 1)
    linear = torch.einsum("ij,njhw->nihw", lightness.new_tensor(_TO_XYZ).inverse(), xyz).clamp(0, 1)
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear) * 2 - 1
