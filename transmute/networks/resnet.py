"""The ResNet generator of Johnson et al. (2016) as CycleGAN uses it (Zhu et al. 2017, section 7.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from transmute.networks.layers import BlurDown, BlurUp, FewOutputs, bias_before, norm_layer, padding_layer
from transmute.tensors import Features, Images


class ResidualBlock(nn.Module):
    """x + f(x), where f is two 3x3 convolutions with norm, a ReLU between them, and no activation after."""

    def __init__(self, channels: int, *, norm: str, dropout: bool, padding: str) -> None:
        super().__init__()
        bias = bias_before(norm)
        self.layers = nn.Sequential(
            padding_layer(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            padding_layer(padding, 1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, features: Features) -> Features:
        return features + self.layers(features)


class ResNet(nn.Module):
    """c7s1-w, d2w, d4w, residual blocks, u2w, uw, c7s1-out, tanh (for two levels), in the notation of the CycleGAN paper.

    `layers` is a plain sequence, so that a picture can be walked through it band by band.

    Shapes:
        (batch, in_channels, height, width) in [-1, 1] -> (batch, out_channels, height, width) in [-1, 1];
        height and width are multiples of 2 ** levels.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        levels: int,
        blocks: int,
        norm: str,
        dropout: bool,
        padding: str,
        downsampling: str,
        upsampling: str,
        residual: bool,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.in_channels = in_channels
        bias = bias_before(norm)
        layers: list[nn.Module] = [padding_layer(padding, 3), nn.Conv2d(in_channels, width, 7, bias=bias), norm_layer(norm, width), nn.ReLU()]
        widths = [width * 2**level for level in range(levels)]
        for channels in widths:
            stride = 2 if downsampling == "strided" else 1
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride=stride, padding=1, bias=bias), norm_layer(norm, 2 * channels), nn.ReLU()]
            if downsampling == "antialiased":
                layers.append(BlurDown(2 * channels))
        layers += [ResidualBlock(2**levels * width, norm=norm, dropout=dropout, padding=padding) for _ in range(blocks)]
        for channels in (2 * width for width in reversed(widths)):
            match upsampling:
                case "transposed":
                    layers.append(nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=bias))
                case "nearest":
                    layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels // 2, 3, padding=1, bias=bias)]
                case "antialiased":
                    layers += [BlurUp(channels), nn.Conv2d(channels, channels // 2, 3, padding=1, bias=bias)]
                case _:
                    raise ValueError(f"upsampling is transposed, nearest or antialiased, but this is {upsampling!r}")
            layers += [norm_layer(norm, channels // 2), nn.ReLU()]
        layers += [padding_layer(padding, 3), FewOutputs(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def features(self, images: Images, places: Sequence[int]) -> list[Features]:
        """What comes out of the layers at these places of the sequence (in rising order); later layers are left out."""
        found: list[Features] = []
        for place, layer in enumerate(list(self.layers)[: places[-1] + 1]):
            images = layer(images)
            if place in places:
                found.append(images)
        return found

    def channels_after(self, places: Sequence[int]) -> tuple[int, ...]:
        """The channels of `features`."""
        channels, found = self.in_channels, []
        for place, layer in enumerate(self.layers):
            channels = layer.out_channels if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) else channels
            found += [channels] if place in places else []
        return tuple(found)

    def start_as_identity(self) -> None:
        """Makes a residual generator give back what it gets, until it has learned something."""
        last = self.layers[-2]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, images: Images) -> Images:
        # Under autocast the layers compute in bfloat16; losses must not.
        output = self.layers(images).to(images.dtype)
        # Twice the tanh reaches from any color to any other.
        return (images + 2 * output).clamp(-1, 1) if self.residual else output
