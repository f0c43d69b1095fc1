"""The ResNet generator of Johnson et al. (2016), as in CycleGAN (Zhu et al. 2017, section 7.2)."""

from collections.abc import Sequence

from torch import nn

from transmute.networks.layers import NORMS, PADDINGS, BlurDown, BlurUp, FewOutputsConv2d, has_bias
from transmute.tensors import Features, Images


class ResidualBlock(nn.Module):
    """x + f(x), where f is two 3x3 convolutions with norm, and a ReLU between them."""

    def __init__(self, channels: int, *, norm: str, dropout: bool, padding: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            PADDINGS[padding](1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            NORMS[norm](channels),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            PADDINGS[padding](1),
            nn.Conv2d(channels, channels, 3, bias=has_bias(norm)),
            NORMS[norm](channels),
        )

    def forward(self, features: Features) -> Features:
        return features + self.layers(features)


class ResNet(nn.Module):
    """c7s1-w, d2w, d4w, residual blocks, u2w, uw, c7s1-out, tanh, in the notation of the paper.

    That is for two levels. `layers` is a plain sequence, so that an image can be processed in bands
    of rows.

    Args:
        residual: Add twice the output to the input, and clamp the sum to [-1, 1]. Others: see
            `transmute.config.networks.ResNetConfig`.

    Shapes:
        (batch, in_channels, height, width) in [-1, 1] -> (batch, out_channels, height, width) in
        [-1, 1]. Height and width are multiples of 2 ** levels.
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
        self.in_channels, self.residual = in_channels, residual
        bias = has_bias(norm)
        layers = [
            PADDINGS[padding](3),
            nn.Conv2d(in_channels, width, 7, bias=bias),
            NORMS[norm](width),
            nn.ReLU(),
        ]
        stride = 2 if downsampling == "strided" else 1
        widths = [width * 2**level for level in range(levels + 1)]
        for channels in widths[1:]:
            layers += [
                nn.Conv2d(channels // 2, channels, 3, stride=stride, padding=1, bias=bias),
                NORMS[norm](channels),
                nn.ReLU(),
                *([BlurDown(channels)] if downsampling == "antialiased" else []),
            ]
        layers += [
            ResidualBlock(widths[-1], norm=norm, dropout=dropout, padding=padding)
            for _ in range(blocks)
        ]
        for channels in widths[-2::-1]:
            layers += [*_upsampling(upsampling, channels, bias), NORMS[norm](channels), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, PADDINGS[padding](3), FewOutputsConv2d(width, out_channels, 7), nn.Tanh()
        )

    def features(self, images: Images, indices: Sequence[int]) -> list[Features]:
        """Computes the outputs of some layers.

        Args:
            images: (batch, in_channels, height, width).
            indices: Increasing indices into `layers`. Layers after the last one are not computed.
        """
        features, outputs = images, []
        for index, layer in enumerate(list(self.layers)[: indices[-1] + 1]):
            features = layer(features)
            if index in indices:
                outputs.append(features)
        return outputs

    def feature_channels(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Channels of the outputs of some layers. Indices that no layer has are skipped."""
        channels = [self.in_channels]
        for layer in self.layers:
            is_convolution = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
            channels.append(layer.out_channels if is_convolution else channels[-1])
        return tuple(channels[index + 1] for index in indices if index < len(self.layers))

    def forward(self, images: Images) -> Images:
        # Under autocast the layers compute in bfloat16; losses must not.
        output = self.layers(images).to(images.dtype)
        # Twice, because colors differ by up to 2, and a tanh is at most 1.
        return (images + 2 * output).clamp(-1, 1) if self.residual else output


def _upsampling(name: str, channels: int, bias: bool) -> list[nn.Module]:
    """Layers that double the size and halve the channels, to `channels`."""
    if name == "transposed":
        return [nn.ConvTranspose2d(2 * channels, channels, 3, 2, 1, output_padding=1, bias=bias)]
    resize = nn.Upsample(scale_factor=2) if name == "nearest" else BlurUp(2 * channels)
    return [resize, nn.Conv2d(2 * channels, channels, 3, padding=1, bias=bias)]
