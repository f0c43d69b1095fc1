"""Which method, and with what weights. No torch is imported before it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from transmute.losses.config import AdversarialConfig, LeastSquaresConfig, VanillaConfig
from transmute.networks.config import DiscriminatorConfig, GeneratorConfig, PatchGANConfig, ResNetConfig, UNetConfig
from transmute.settings import Settings, UserError

if TYPE_CHECKING:
    from transmute.methods.cyclegan import CycleGAN
    from transmute.methods.pix2pix import Pix2Pix

Direction = Literal["a_to_b", "b_to_a"]


class CycleGANConfig(Settings):
    """Unpaired translation in both directions, held together by going there and back."""

    name: Literal["cyclegan"] = "cyclegan"
    """Kind; chosen by the flag without `.name`."""
    generator: GeneratorConfig = ResNetConfig()
    """Both translators."""
    discriminator: DiscriminatorConfig = PatchGANConfig()
    """Both judges."""
    adversarial: AdversarialConfig = LeastSquaresConfig()
    """The game between them."""
    cycle_a: float = Field(default=10.0, ge=0)
    """Weight of a -> b -> a giving a again (the original's lambda_A)."""
    cycle_b: float = Field(default=10.0, ge=0)
    """Weight of b -> a -> b giving b again (the original's lambda_B)."""
    identity: float = Field(default=0.5, ge=0)
    """Weight of leaving alone what is already in the target domain, as a share of that domain's cycle weight. Keeps colors; 0 turns it off."""
    history: int = Field(default=50, ge=0)
    """Past translations that each discriminator is also shown, in pictures; 0 for none. Each process has its own."""

    @property
    def paired(self) -> bool:
        """Whether row i of a batch must show the same scene in both domains."""
        return False

    @property
    def needs_equal_sizes(self) -> bool:
        """Whether all pictures must have one size, even at one a step: those of a history do."""
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


class Pix2PixConfig(Settings):
    """Paired translation in one direction."""

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
    l1: float = Field(default=100.0, ge=0)
    """Weight of the mean absolute difference to the target."""

    @property
    def paired(self) -> bool:
        """Whether row i of a batch must show the same scene in both domains."""
        return True

    @property
    def needs_equal_sizes(self) -> bool:
        """Whether all pictures must have one size, even at one a step."""
        return False

    def build(self, channels_a: int, channels_b: int, size: tuple[int, int]) -> Pix2Pix:
        """The networks, newly initialized, for pictures of this many channels and any size."""
        from transmute.methods.pix2pix import Pix2Pix

        return Pix2Pix(self, channels_a, channels_b)


MethodConfig = Annotated[CycleGANConfig | Pix2PixConfig, Field(discriminator="name")]
