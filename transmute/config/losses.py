"""Adversarial losses."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from transmute.config.base import Kind, choice

if TYPE_CHECKING:
    from transmute.losses import GANLoss


class GANLossConfig(Kind):
    """An adversarial loss."""

    chance_loss: ClassVar[float | None] = None
    """Loss of a discriminator that cannot tell real from fake; None if it has no fixed value."""

    def build(self) -> "GANLoss":
        from transmute.losses import GAN_LOSSES

        return replace(GAN_LOSSES[self.name], **self.arguments())


class LeastSquaresConfig(GANLossConfig):
    """LSGAN: squared distance of the scores to 1 and 0. CycleGAN's default."""

    chance_loss: ClassVar[float | None] = 0.25
    name: Literal["least-squares"] = "least-squares"


class VanillaConfig(GANLossConfig):
    """Binary cross-entropy with the non-saturating generator loss. pix2pix's default."""

    chance_loss: ClassVar[float | None] = math.log(2)
    name: Literal["vanilla"] = "vanilla"


class HingeConfig(GANLossConfig):
    """Hinge loss with a margin of 1."""

    chance_loss: ClassVar[float | None] = 1.0
    name: Literal["hinge"] = "hinge"


class WGANGPConfig(GANLossConfig):
    """Wasserstein loss with gradient penalty (WGAN-GP).

    pytorch-CycleGAN-and-pix2pix offers it for CycleGAN without the penalty: `penalty=0`.
    """

    name: Literal["wgan-gp"] = "wgan-gp"
    penalty: float = Field(default=10.0, ge=0)
    """Weight of the gradient penalty."""


AnyGANLoss = Annotated[
    SerializeAsAny[GANLossConfig],
    choice(LeastSquaresConfig, VanillaConfig, HingeConfig, WGANGPConfig),
]
