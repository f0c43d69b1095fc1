"""Which generator, which discriminator, and with what settings. No torch is imported before something is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from transmute.settings import Settings, UserError

if TYPE_CHECKING:
    from transmute.networks.discriminators import Discriminator
    from transmute.networks.heads import ProjectionHeads
    from transmute.networks.resnet import ResNet
    from transmute.networks.unet import PyTorchGANUNet, UNet

Norm = Literal["instance", "batch", "none"]
Padding = Literal["reflect", "replicate", "zeros"]


class InitializationConfig(Settings):
    """How weights start (biases start at 0)."""

    name: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    """Distribution of the weights of convolutions."""
    gain: float = Field(default=0.02, gt=0)
    """Standard deviation of `normal`, factor of `xavier` and `orthogonal`; `kaiming` has none. Batch norm's weights are N(1, gain)."""


class ResNetConfig(Settings):
    """The generator of CycleGAN: steps down, residual blocks, steps up."""

    name: Literal["resnet"] = "resnet"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer; doubled at each step down."""
    levels: int = Field(default=2, ge=0)
    """Steps down, and up again: fewer keep finer detail and see less at once. The paper has 2."""
    blocks: int = Field(default=9, ge=0)
    """Residual blocks (the paper: 6 for 128 px, 9 for 256 px and more)."""
    norm: Norm = "instance"
    """Normalization. Batch statistics are those of each process alone unless --sync-batch-norm is given."""
    dropout: bool = False
    """Dropout of one half inside the residual blocks."""
    padding: Padding = "reflect"
    """Padding of the 7x7 convolutions and of the blocks."""
    downsampling: Literal["strided", "antialiased"] = "strided"
    """A convolution of stride 2, or (as in CUT) stride 1 followed by a blur of stride 2."""
    upsampling: Literal["transposed", "nearest", "antialiased"] = "transposed"
    """Transposed convolution as in the paper; nearest + convolution has no checkerboard; antialiased is CUT's."""
    residual: bool = False
    """Learn the difference to the input, starting from none: spares what need not change. Not in the paper."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def stride(self) -> int:
        """Sides of a picture must be multiples of this, in pixels."""
        return 2**self.levels

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels."""
        return max(4, 2 * self.stride)

    def build(self, in_channels: int, out_channels: int) -> ResNet:
        from transmute.networks.resnet import ResNet

        if self.residual and in_channels != out_channels:
            raise UserError(
                f"a residual generator adds to its input, so {in_channels} channels cannot become {out_channels}: "
                "leave --method.generator.residual out"
            )
        network = ResNet(in_channels=in_channels, out_channels=out_channels, **_settings(self))
        _initialized(self, network)
        if self.residual:
            network.start_as_identity()
        return network


class UNetConfig(Settings):
    """The generator of pix2pix: down to a point and up again, with a skip at every level."""

    name: Literal["unet"] = "unet"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer; doubled at each step down until eight times as many."""
    depth: int = Field(default=8, ge=2)
    """Steps down: 8 is the original's unet_256, 7 its unet_128. Sides must be multiples of 2 to this power."""
    norm: Norm = "batch"
    """Normalization. Batch statistics are those of each process alone unless --sync-batch-norm is given."""
    dropout: bool = True
    """Dropout of one half in the innermost levels on the way up (those beyond five)."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def stride(self) -> int:
        """Sides of a picture must be multiples of this, in pixels."""
        return 2**self.depth

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels."""
        return self.stride

    def build(self, in_channels: int, out_channels: int) -> UNet:
        from transmute.networks.unet import UNet

        return _initialized(self, UNet(in_channels=in_channels, out_channels=out_channels, **_settings(self)))


class PyTorchGANUNetConfig(Settings):
    """PyTorch-GAN's U-Net: instance norm, activations after it, nearest upsampling at the end."""

    name: Literal["pytorch-gan-unet"] = "pytorch-gan-unet"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer; doubled at each step down until eight times as many."""
    depth: int = Field(default=8, ge=2)
    """Steps down. Sides must be multiples of 2 to this power."""
    dropout: bool = True
    """Dropout of one half in the levels beyond three."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def stride(self) -> int:
        """Sides of a picture must be multiples of this, in pixels."""
        return 2**self.depth

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels: instance norm needs two pixels below the innermost level."""
        return self.stride

    def build(self, in_channels: int, out_channels: int) -> PyTorchGANUNet:
        from transmute.networks.unet import PyTorchGANUNet

        return _initialized(self, PyTorchGANUNet(in_channels=in_channels, out_channels=out_channels, **_settings(self)))


class PatchGANConfig(Settings):
    """The discriminator of pix2pix and CycleGAN: it judges overlapping patches."""

    name: Literal["patchgan"] = "patchgan"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer; doubled at each layer until eight times as many."""
    layers: int = Field(default=3, ge=1)
    """Layers of stride 2: 3 judges patches of 70x70 pixels, 2 of 34x34, 1 of 16x16."""
    norm: Norm = "instance"
    """Normalization."""
    downsampling: Literal["strided", "antialiased"] = "strided"
    """Convolutions of stride 2, or (as in CUT) of stride 1 followed by a blur of stride 2."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels."""
        return 3 * 2**self.layers

    def build(self, in_channels: int) -> Discriminator:
        from transmute.networks.discriminators import patchgan

        return _initialized(self, patchgan(in_channels=in_channels, **_settings(self)))


class PixelGANConfig(Settings):
    """A discriminator that judges each pixel alone."""

    name: Literal["pixel"] = "pixel"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer."""
    norm: Norm = "instance"
    """Normalization."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels."""
        return 2

    def build(self, in_channels: int) -> Discriminator:
        from transmute.networks.discriminators import pixelgan

        return _initialized(self, pixelgan(in_channels=in_channels, **_settings(self)))


class FourStrideConfig(Settings):
    """PyTorch-GAN's discriminator: four layers of stride 2, one score for each 16x16 pixels."""

    name: Literal["four-stride"] = "four-stride"
    """Kind; chosen by the flag without `.name`."""
    width: int = Field(default=64, ge=1)
    """Channels after the first layer; doubled at each of the four."""
    norm: Norm = "instance"
    """Normalization."""
    init: InitializationConfig = InitializationConfig()
    """Initial weights."""

    @property
    def smallest(self) -> int:
        """The shortest side that the layers can work on, in pixels."""
        return 32

    def build(self, in_channels: int) -> Discriminator:
        from transmute.networks.discriminators import four_stride

        return _initialized(self, four_stride(in_channels=in_channels, **_settings(self)))


class HeadsConfig(Settings):
    """The projection heads of CUT, which compare the generator's features."""

    name: Literal["heads"] = "heads"
    """Kind; there is one."""
    channels: tuple[int, ...]
    """Channels of the features of each layer."""
    width: int = Field(ge=1)
    """Length of the vectors."""
    init: InitializationConfig = InitializationConfig(name="xavier")
    """Initial weights."""

    def build(self, in_channels: int = 0) -> ProjectionHeads:
        from transmute.networks.heads import ProjectionHeads

        return _initialized(self, ProjectionHeads(self.channels, width=self.width))


def _initialized(config: Any, network: Any) -> Any:
    """The network with weights as its config draws them."""
    from transmute.networks.initialization import initialize

    return initialize(network, config.init.name, config.init.gain)


def _settings(config: Settings) -> dict[str, Any]:
    """What the network itself takes of its config."""
    return {name: value for name, value in config if name not in ("name", "init")}


_ORIGINAL_NAMES: dict[str, dict[str, object]] = {
    "resnet-9": {"name": "resnet", "blocks": 9},
    "resnet-6": {"name": "resnet", "blocks": 6},
    "unet-256": {"name": "unet", "depth": 8},
    "unet-128": {"name": "unet", "depth": 7},
}


def _spelled_out(generator: object) -> object:
    """The original's names for depths and numbers of blocks, as settings."""
    return generator | _ORIGINAL_NAMES.get(generator["name"], {}) if isinstance(generator, dict) and "name" in generator else generator


GeneratorConfig = Annotated[ResNetConfig | UNetConfig | PyTorchGANUNetConfig, Field(discriminator="name"), BeforeValidator(_spelled_out)]
DiscriminatorConfig = Annotated[PatchGANConfig | PixelGANConfig | FourStrideConfig, Field(discriminator="name")]
