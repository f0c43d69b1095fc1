"""Generators, discriminators and their initial weights."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, SerializeAsAny

from transmute.config.base import Kind, choice
from transmute.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from transmute.networks.resnet import ResNet

Module = TypeVar("Module", bound="nn.Module")
Norm = Literal["instance", "batch", "none"]
Padding = Literal["reflect", "replicate", "zeros"]
Channels = Annotated[int, Field(ge=1, le=4096)]
"""Channels of images, or those after the first layer of a network."""


class InitializationConfig(Kind):
    """Initial weights. Biases start at 0."""

    name: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    gain: float = Field(default=0.02, gt=0)
    """Standard deviation of `normal`, factor of `xavier` and `orthogonal`; unused by `kaiming`.
    Batch norm weights are drawn from N(1, gain)."""


class NetworkConfig(Kind):
    """A network."""

    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def stride(self) -> int:
        """Sides of an image must be multiples of this, in pixels."""
        return 1

    @property
    def min_size(self) -> int:
        """Shortest side that the layers can process, in pixels."""
        return self.stride

    def initialized(self, network: Module) -> Module:
        """Initializes the weights according to `init` and returns the network."""
        from transmute.networks.layers import initialize

        initialize(network, self.init.name, self.init.gain)
        return network


class GeneratorConfig(NetworkConfig):
    """A generator: (batch, in_channels, height, width) in [-1, 1] to the same with out_channels."""

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> "nn.Module":
        """Builds the network with newly initialized weights."""


class DiscriminatorConfig(NetworkConfig):
    """A discriminator: (batch, in_channels, height, width) in [-1, 1] to patch scores.

    The scores are (batch, 1, rows, columns), unbounded; high means real.
    """

    @abstractmethod
    def build(self, in_channels: int) -> "nn.Module":
        """Builds the network with newly initialized weights."""


class ResNetConfig(GeneratorConfig):
    """CycleGAN's generator: downsampling, residual blocks, upsampling."""

    name: Literal["resnet"] = "resnet"
    width: Channels = 64
    """Channels after the first layer, doubled at each downsampling."""
    levels: int = Field(default=2, ge=0, le=12)
    """Downsamplings. Fewer keep finer detail, with a smaller receptive field; the paper uses 2."""
    blocks: int = Field(default=9, ge=0, le=1000)
    """Residual blocks (in the paper 6 for 128 px, 9 for 256 px and more)."""
    norm: Norm = "instance"
    """Normalization. Batch statistics are per process unless `sync_batch_norm` is set."""
    dropout: bool = False
    """Dropout of 0.5 inside the residual blocks."""
    padding: Padding = "reflect"
    """Padding of the 7x7 convolutions and of the blocks."""
    downsampling: Literal["strided", "antialiased"] = "strided"
    """Convolution of stride 2, or (as in CUT) of stride 1 followed by a blur of stride 2."""
    upsampling: Literal["transposed", "nearest", "antialiased"] = "transposed"
    """Transposed convolution (the paper), nearest + convolution (no checkerboard), or CUT's."""
    residual: bool = False
    """Prediction of the difference to the input, starting from zero. Not in the paper."""

    @property
    def stride(self) -> int:
        return 2**self.levels

    @property
    def min_size(self) -> int:
        return max(4, 2 * self.stride)

    def build(self, in_channels: int, out_channels: int) -> "ResNet":
        from transmute.networks.resnet import ResNet

        if self.residual and in_channels != out_channels:
            raise UserError(
                f"a residual generator adds to its input, so {in_channels} channels cannot become "
                f"{out_channels}. Set `method.generator.residual=False`"
            )
        network = self.initialized(
            ResNet(in_channels=in_channels, out_channels=out_channels, **self.arguments())
        )
        if self.residual:  # returns its input until it has learned something
            network.layers[-2].get_parameter("weight").data.zero_()
        return network


class AnyUNetConfig(GeneratorConfig):
    """An encoder and a decoder with a skip connection at every level."""

    width: Channels = 64
    """Channels after the first layer, doubled at each level up to eight times as many."""
    depth: int = Field(default=8, ge=2, le=16)
    """Levels: 8 in the paper's unet_256, 7 in unet_128. Sides must be multiples of 2^depth."""

    @property
    def stride(self) -> int:
        return 2**self.depth


class UNetConfig(AnyUNetConfig):
    """pix2pix's generator: an encoder and a decoder with a skip connection at every level."""

    name: Literal["unet"] = "unet"
    norm: Norm = "batch"
    """Normalization. Batch statistics are per process unless `sync_batch_norm` is set."""
    dropout: bool = True
    """Dropout of 0.5 in the decoder, in levels beyond the fifth."""

    def build(self, in_channels: int, out_channels: int) -> "nn.Module":
        from transmute.networks.unet import unet

        return self.initialized(
            unet(in_channels=in_channels, out_channels=out_channels, **self.arguments())
        )


class PyTorchGANUNetConfig(AnyUNetConfig):
    """PyTorch-GAN's U-Net: instance norm before the activations, nearest upsampling at the end."""

    name: Literal["pytorch-gan-unet"] = "pytorch-gan-unet"
    dropout: bool = True
    """Dropout of 0.5 in the levels beyond the third."""

    def build(self, in_channels: int, out_channels: int) -> "nn.Module":
        from transmute.networks.unet import pytorch_gan_unet

        return self.initialized(
            pytorch_gan_unet(in_channels=in_channels, out_channels=out_channels, **self.arguments())
        )


class ConvDiscriminatorConfig(DiscriminatorConfig):
    """A stack of convolutions."""

    width: Channels = 64
    """Channels after the first layer. Layers of stride 2 double them, up to eight times as many."""
    norm: Norm = "instance"
    """Normalization."""


class PatchGANConfig(ConvDiscriminatorConfig):
    """The discriminator of pix2pix and CycleGAN, which scores overlapping patches."""

    name: Literal["patchgan"] = "patchgan"
    layers: int = Field(default=3, ge=1, le=12)
    """Layers of stride 2: 3 gives patches of 70x70 pixels, 2 of 34x34, 1 of 16x16."""
    downsampling: Literal["strided", "antialiased"] = "strided"
    """Convolution of stride 2, or (as in CUT) of stride 1 followed by a blur of stride 2."""

    @property
    def min_size(self) -> int:
        return 3 * 2**self.layers

    def build(self, in_channels: int) -> "nn.Module":
        from transmute.networks.discriminators import patchgan

        return self.initialized(patchgan(in_channels=in_channels, **self.arguments()))


class PixelGANConfig(ConvDiscriminatorConfig):
    """A discriminator that scores each pixel independently."""

    name: Literal["pixel"] = "pixel"

    @property
    def min_size(self) -> int:
        return 2

    def build(self, in_channels: int) -> "nn.Module":
        from transmute.networks.discriminators import pixelgan

        return self.initialized(pixelgan(in_channels=in_channels, **self.arguments()))


class FourStrideConfig(ConvDiscriminatorConfig):
    """PyTorch-GAN's discriminator: four layers of stride 2, one score for each 16x16 pixels."""

    name: Literal["four-stride"] = "four-stride"

    @property
    def min_size(self) -> int:
        return 32

    def build(self, in_channels: int) -> "nn.Module":
        from transmute.networks.discriminators import four_stride

        return self.initialized(four_stride(in_channels=in_channels, **self.arguments()))


class HeadsConfig(NetworkConfig):
    """CUT's projection heads, which map the generator's features to comparable vectors."""

    name: Literal["heads"] = "heads"
    channels: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(max_length=64)
    """Channels of the features of each layer."""
    width: Channels
    """Length of the vectors."""
    init: InitializationConfig = InitializationConfig(name="xavier")
    """Initial weights."""

    def build(self, in_channels: int = 0) -> "nn.Module":
        from transmute.networks.heads import ProjectionHeads

        return self.initialized(ProjectionHeads(**self.arguments()))


AnyGenerator = Annotated[
    SerializeAsAny[GeneratorConfig],
    choice(
        ResNetConfig,
        UNetConfig,
        PyTorchGANUNetConfig,
        aliases={
            "resnet-9": {"name": "resnet", "blocks": 9},
            "resnet-6": {"name": "resnet", "blocks": 6},
            "unet-256": {"name": "unet", "depth": 8},
            "unet-128": {"name": "unet", "depth": 7},
        },
    ),
]
AnyDiscriminator = Annotated[
    SerializeAsAny[DiscriminatorConfig], choice(PatchGANConfig, PixelGANConfig, FourStrideConfig)
]
AnyPart = Annotated[
    SerializeAsAny[NetworkConfig],
    choice(PatchGANConfig, PixelGANConfig, FourStrideConfig, HeadsConfig),
]
"""A network that is needed only for training: a discriminator, or CUT's heads."""
