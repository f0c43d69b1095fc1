"""Which adversarial game is played. No torch is imported before it is built.

`chance` is the discriminator's loss where it cannot tell real from translated at all; None where that is any number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transmute.settings import Settings

if TYPE_CHECKING:
    from transmute.losses.adversarial import Game


class LeastSquaresConfig(Settings):
    """Squared distance of the scores to 1 and 0 (LSGAN); CycleGAN's default."""

    name: Literal["least-squares"] = "least-squares"
    """Kind; chosen by the flag without `.name`."""
    chance: ClassVar[float | None] = 0.25

    def build(self) -> Game:
        from transmute.losses.adversarial import least_squares

        return least_squares()


class VanillaConfig(Settings):
    """Cross-entropy, the generator non-saturating; pix2pix's default."""

    name: Literal["vanilla"] = "vanilla"
    """Kind; chosen by the flag without `.name`."""
    chance: ClassVar[float | None] = math.log(2)

    def build(self) -> Game:
        from transmute.losses.adversarial import vanilla

        return vanilla()


class HingeConfig(Settings):
    """Scores count until they are a margin of 1 right."""

    name: Literal["hinge"] = "hinge"
    """Kind; chosen by the flag without `.name`."""
    chance: ClassVar[float | None] = 1.0

    def build(self) -> Game:
        from transmute.losses.adversarial import hinge

        return hinge()


class WGANGPConfig(Settings):
    """Wasserstein distance with a gradient penalty. The original offers it for CycleGAN without the penalty: set it to 0 for that."""

    name: Literal["wgan-gp"] = "wgan-gp"
    """Kind; chosen by the flag without `.name`."""
    chance: ClassVar[float | None] = None
    penalty: float = Field(default=10.0, ge=0)
    """Weight of the gradient penalty."""

    def build(self) -> Game:
        from transmute.losses.adversarial import wgan_gp

        return wgan_gp(self.penalty)


AdversarialConfig = Annotated[LeastSquaresConfig | VanillaConfig | HingeConfig | WGANGPConfig, Field(discriminator="name")]
