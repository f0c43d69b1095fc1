"""Which method, and with what weights. No torch is imported before it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transmute.losses.config import AdversarialConfig, LeastSquaresConfig, VanillaConfig
from transmute.networks.config import DiscriminatorConfig, GeneratorConfig, InitializationConfig, PatchGANConfig, ResNetConfig, UNetConfig
from transmute.settings import Settings, UserError

if TYPE_CHECKING:
    from transmute.methods.colorization import Colorization
    from transmute.methods.cut import CUT
    from transmute.methods.cyclegan import CycleGAN
    from transmute.methods.pix2pix import Pix2Pix

Direction = Literal["a_to_b", "b_to_a"]


class MethodSettings(Settings):
    """What a training asks of the settings of any method."""

    paired: ClassVar[bool] = False
    """Whether row i of a batch must show the same scene in both domains."""
    one_domain: ClassVar[bool] = False
    """Whether the data is one folder of pictures, and both domains are made of each of them."""
    colors: ClassVar[Literal["rgb", "lab"]] = "rgb"
    """What the translators' channels are."""

    @property
    def needs_equal_sizes(self) -> bool:
        """Whether all pictures must have one size, even at one a step: those of a history do."""
        return False


class CycleGANConfig(MethodSettings):
    """Unpaired translation in both directions, held together by going there and back."""

    name: Literal["cyclegan"] = "cyclegan"
    """Kind; chosen by the flag without `.name`."""
    generator: GeneratorConfig = ResNetConfig()
    """Both translators."""
    discriminator: DiscriminatorConfig = PatchGANConfig()
    """Both judges."""
    adversarial: AdversarialConfig = LeastSquaresConfig()
    """The game between them."""
    first: Literal["generators", "discriminators"] = "generators"
    """Who moves first in a step."""
    fool: float = Field(default=1.0, ge=0)
    """Weight of fooling the judges."""
    cycle_a: float = Field(default=10.0, ge=0)
    """Weight of a -> b -> a giving a again (the original's lambda_A)."""
    cycle_b: float = Field(default=10.0, ge=0)
    """Weight of b -> a -> b giving b again (the original's lambda_B)."""
    identity: float = Field(default=0.5, ge=0)
    """Weight of leaving alone what is already in the target domain, as a share of that domain's cycle weight. Keeps colors; 0 turns it off."""
    history: int = Field(default=50, ge=0)
    """Past translations that each discriminator is also shown, in pictures; 0 for none. Each process has its own."""

    @property
    def needs_equal_sizes(self) -> bool:
        return self.history > 0

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> CycleGAN:
        """The networks, newly initialized, for pictures of this many channels and this (width, height)."""
        from transmute.methods.cyclegan import CycleGAN

        if self.identity > 0 and channels_a != channels_b:
            raise UserError(
                f"the identity loss needs equal channels in both domains, but a has {channels_a} and b {channels_b}: "
                "add --method.identity 0, or make the channels equal"
            )
        return CycleGAN(self, channels_a, channels_b, size)


class Pix2PixConfig(MethodSettings):
    """Paired translation in one direction."""

    paired: ClassVar[bool] = True
    name: Literal["pix2pix"] = "pix2pix"
    """Kind; chosen by the flag without `.name`."""
    direction: Direction = "a_to_b"
    """Which half is the input; b_to_a turns label maps on the right of a picture into photos on its left."""
    generator: GeneratorConfig = UNetConfig()
    """The translator."""
    discriminator: DiscriminatorConfig = PatchGANConfig(norm="batch")
    """The judge; it sees the input beside the output."""
    adversarial: AdversarialConfig = VanillaConfig()
    """The game between them."""
    first: Literal["generator", "discriminator"] = "discriminator"
    """Who moves first in a step."""
    l1: float = Field(default=100.0, ge=0)
    """Weight of the mean absolute difference to the target."""

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> Pix2Pix:
        """The networks, newly initialized, for pictures of this many channels and any size."""
        from transmute.methods.pix2pix import Pix2Pix

        return Pix2Pix(self, channels_a, channels_b)


class ColorizationConfig(MethodSettings):
    """Gives a gray picture its colors: pix2pix in CIE Lab. The data is one folder of color pictures."""

    paired: ClassVar[bool] = True
    one_domain: ClassVar[bool] = True
    colors: ClassVar[Literal["rgb", "lab"]] = "lab"
    direction: ClassVar[Direction] = "a_to_b"
    first: ClassVar[str] = "discriminator"
    name: Literal["colorization"] = "colorization"
    """Kind; chosen by the flag without `.name`."""
    generator: GeneratorConfig = UNetConfig()
    """The translator, from lightness to two colors."""
    discriminator: DiscriminatorConfig = PatchGANConfig(norm="batch")
    """The judge; it sees lightness and colors."""
    adversarial: AdversarialConfig = VanillaConfig()
    """The game between them."""
    l1: float = Field(default=100.0, ge=0)
    """Weight of the mean absolute difference to the true colors."""

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> Colorization:
        """The networks, newly initialized, for pictures of any size."""
        from transmute.methods.colorization import Colorization

        if (channels_a, channels_b) != (3, 3):
            raise UserError("colorization learns from color pictures: leave --preprocess.channels-a and --preprocess.channels-b at 3")
        return Colorization(self)


class CUTConfig(MethodSettings):
    """Unpaired translation in one direction: a place of the output should show what the same place of the input shows."""

    name: Literal["cut"] = "cut"
    """Kind; chosen by the flag without `.name`."""
    direction: Direction = "a_to_b"
    """Which domain is the input."""
    generator: ResNetConfig = ResNetConfig(downsampling="antialiased", upsampling="antialiased", init=InitializationConfig(name="xavier"))
    """The translator, whose first layers also say what a place shows."""
    discriminator: DiscriminatorConfig = PatchGANConfig(downsampling="antialiased", init=InitializationConfig(name="xavier"))
    """The judge."""
    adversarial: AdversarialConfig = LeastSquaresConfig()
    """The game between them."""
    fool: float = Field(default=1.0, ge=0)
    """Weight of fooling the judge (the original's lambda_GAN)."""
    nce: float = Field(default=1.0, ge=0)
    """Weight of the contrast between places (the original's lambda_NCE; 10 in FastCUT)."""
    identity: bool = True
    """Also contrast the target domain with what is made of it, which should change nothing (off in FastCUT)."""
    flip: bool = False
    """Mirror inputs at random, and compare as if not: the translator should not mind (on in FastCUT)."""
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 4, 8, 12, 16)
    """Places in the generator's sequence of layers at which features are compared, rising."""
    width: int = Field(default=256, ge=1)
    """Length of the vectors that are compared."""
    patches: int = Field(default=256, ge=1)
    """Places of a picture that are compared with each other."""
    temperature: float = Field(default=0.07, gt=0)
    """What similarities are divided by: the lower, the more the hardest places count."""

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> CUT:
        """The networks, newly initialized, for pictures of this many channels and any size."""
        from transmute.methods.cut import CUT

        if channels_a != channels_b:
            raise UserError(f"cut compares what its generator sees in a and in b, which need equal channels, but have {channels_a} and {channels_b}")
        method = CUT(self, channels_a, channels_b)
        if list(self.layers) != sorted(set(self.layers)) or len(method.heads.heads) != len(self.layers):
            raise UserError(
                f"--method.layers should be rising places from 0 to {len(method.translate.layers) - 1}, but is {' '.join(map(str, self.layers))}"
            )
        return method


MethodConfig = Annotated[CycleGANConfig | Pix2PixConfig | CUTConfig | ColorizationConfig, Field(discriminator="name")]
