"""Methods and the weights of their losses."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from transmute.config.base import Kind, choice
from transmute.config.losses import AnyGANLoss, GANLossConfig, LeastSquaresConfig, VanillaConfig
from transmute.config.networks import (
    AnyDiscriminator,
    AnyGenerator,
    Channels,
    InitializationConfig,
    NetworkConfig,
    PatchGANConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.errors import UserError

if TYPE_CHECKING:
    from transmute.methods.base import Method

Direction = Literal["a_to_b", "b_to_a"]


class MethodConfig(Kind):
    """The part of a method's settings that training, evaluation and diagnostics use.

    Custom methods subclass this; see docs/extending.md.
    """

    paired: ClassVar[bool] = False
    """Images with the same index in a batch show the same scene in both domains."""
    one_domain: ClassVar[bool] = False
    """The data is one folder of images. Both domains are computed from each image."""
    colors: ClassVar[Literal["rgb", "lab"]] = "rgb"
    """Color space of the generators: RGB (or gray), or CIE Lab (lightness in, colors out)."""
    discriminator_losses: ClassVar[dict[str, tuple[str, ...]]] = {}
    """For each discriminator, the names of the losses that add up to its loss. The key is the
    domain that it scores, or "" if there is only one discriminator."""

    @property
    def networks(self) -> dict[str, NetworkConfig]:
        """The networks among the settings, by the name of the setting."""
        return {name: value for name, value in self if isinstance(value, NetworkConfig)}

    @property
    def stride(self) -> int:
        """Sides of training images must be multiples of this, in pixels."""
        return math.lcm(*(network.stride for network in self.networks.values()))

    @property
    def needs_equal_sizes(self) -> bool:
        """All images must have the same size, even with a batch size of 1."""
        return False

    @property
    def chance_loss(self) -> float | None:
        """Loss of a discriminator that cannot tell real from fake, by the adversarial loss among
        the settings; None if unknown."""
        losses = (value.chance_loss for _, value in self if isinstance(value, GANLossConfig))
        return next(losses, None)

    @abstractmethod
    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> "Method":
        """Builds the method with newly initialized networks.

        Args:
            channels_a, channels_b: Channels of the domains' images.
            size: (width, height) of training images, or of the largest if they differ.
        """


class AdversarialConfig(MethodConfig):
    """A method with one kind of generator, one kind of discriminator and an adversarial loss."""

    generator: AnyGenerator = ResNetConfig()
    """Network of each generator."""
    discriminator: AnyDiscriminator = PatchGANConfig()
    """Network of each discriminator."""
    adversarial: AnyGANLoss = LeastSquaresConfig()
    """The adversarial loss."""


class CycleGANConfig(AdversarialConfig):
    """Unpaired translation in both directions with cycle consistency."""

    discriminator_losses: ClassVar = {"a": ("discriminator_a",), "b": ("discriminator_b",)}
    name: Literal["cyclegan"] = "cyclegan"
    first: Literal["generators", "discriminators"] = "generators"
    """Which player is updated first in a step."""
    gan: float = Field(default=1.0, ge=0)
    """Weight of the generators' adversarial losses."""
    cycle_a: float = Field(default=10.0, ge=0)
    """Weight of the cycle a -> b -> a (lambda_A in the paper's code)."""
    cycle_b: float = Field(default=10.0, ge=0)
    """Weight of the cycle b -> a -> b (lambda_B in the paper's code)."""
    identity: float = Field(default=0.5, ge=0)
    """Weight of the identity loss as a fraction of that domain's cycle weight. It keeps colors; 0
    turns it off."""
    history: int = Field(default=50, ge=0, le=100_000)
    """Past translations per domain and process on which discriminators are also trained."""

    @property
    def needs_equal_sizes(self) -> bool:
        return self.history > 0

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> "Method":
        from transmute.methods.cyclegan import CycleGAN

        if self.identity > 0 and channels_a != channels_b:
            raise UserError(
                "the identity loss needs equal channels in both domains, but a has "
                f"{channels_a} and b has {channels_b}. Set `method.identity=0`, or make the "
                "channels equal"
            )
        return CycleGAN(self, channels_a, channels_b, size)


class AlignedConfig(AdversarialConfig):
    """A method that compares translations with targets."""

    paired: ClassVar[bool] = True
    discriminator_losses: ClassVar = {"": ("discriminator_fake", "discriminator_real")}
    generator: AnyGenerator = UNetConfig()
    """The generator."""
    discriminator: AnyDiscriminator = PatchGANConfig(norm="batch")
    """The discriminator, which sees the input and the output concatenated."""
    adversarial: AnyGANLoss = VanillaConfig()
    """The adversarial loss."""
    l1: float = Field(default=100.0, ge=0)
    """Weight of the mean absolute difference to the target."""


class Pix2PixConfig(AlignedConfig):
    """Paired translation in one direction."""

    name: Literal["pix2pix"] = "pix2pix"
    direction: Direction = "a_to_b"
    """b_to_a translates from the right half of side-by-side images to the left."""
    first: Literal["generator", "discriminator"] = "discriminator"
    """Which player is updated first in a step."""

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> "Method":
        from transmute.methods.pix2pix import Pix2Pix

        return Pix2Pix(self, channels_a, channels_b)


class ColorizationConfig(AlignedConfig):
    """Colors for gray images: pix2pix in CIE Lab, trained on one folder of color images.

    The generator's input is the lightness, and its outputs are the two color channels.
    """

    one_domain: ClassVar[bool] = True
    colors: ClassVar[Literal["rgb", "lab"]] = "lab"
    name: Literal["colorization"] = "colorization"

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> "Method":
        from transmute.methods.pix2pix import Colorization

        if (channels_a, channels_b) != (3, 3):
            raise UserError(
                "colorization trains on color images. Set `preprocess.channels_a=3` and "
                "`preprocess.channels_b=3`"
            )
        return Colorization(self)


class CUTConfig(AdversarialConfig):
    """Unpaired translation in one direction with a patchwise contrastive loss."""

    discriminator_losses: ClassVar = {"": ("discriminator",)}
    name: Literal["cut"] = "cut"
    direction: Direction = "a_to_b"
    """Direction of the translation."""
    generator: ResNetConfig = ResNetConfig(  # pyright: ignore[reportIncompatibleVariableOverride]
        downsampling="antialiased",
        upsampling="antialiased",
        init=InitializationConfig(name="xavier"),
    )
    """The generator, whose first half also computes the compared features."""
    discriminator: AnyDiscriminator = PatchGANConfig(
        downsampling="antialiased", init=InitializationConfig(name="xavier")
    )
    """The discriminator."""
    gan: float = Field(default=1.0, ge=0)
    """Weight of the generator's adversarial loss (lambda_GAN in the paper's code)."""
    nce: float = Field(default=1.0, ge=0)
    """Weight of the PatchNCE loss (lambda_NCE in the paper's code; 10 in FastCUT)."""
    identity: bool = True
    """PatchNCE loss also on images of the target domain (off in FastCUT)."""
    flip: bool = False
    """Random mirroring of the generator's inputs, for flip equivariance (on in FastCUT)."""
    layers: Annotated[tuple[int, ...], Field(min_length=1, max_length=64)] = (0, 4, 8, 12, 16)
    """Indices of the generator's layers whose features are compared, increasing."""
    width: Channels = 256
    """Length of the compared vectors."""
    patches: int = Field(default=256, ge=1, le=1_000_000)
    """Number of positions per image and layer that are compared."""
    temperature: float = Field(default=0.07, gt=0)
    """Divisor of the similarities. Lower values weight hard negatives more."""

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> "Method":
        from transmute.methods.cut import CUT

        if channels_a != channels_b:
            raise UserError(
                "cut compares features of both domains, so their channels must be equal, but a "
                f"has {channels_a} and b has {channels_b}"
            )
        return CUT(self, channels_a, channels_b)


AnyMethod = Annotated[
    SerializeAsAny[MethodConfig],
    choice(CycleGANConfig, Pix2PixConfig, CUTConfig, ColorizationConfig),
]
