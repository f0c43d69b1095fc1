"""Adversarial losses, as functions of the discriminator's scores."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from transmute.tensors import Images, Scalar, Scores

Loss = Callable[[Scores], Scalar]


@dataclass(frozen=True)
class GANLoss:
    """The three functions of an adversarial loss. Each maps scores to their mean loss.

    Attributes:
        generator_loss: The generator's loss on its fake images.
        real_loss: The discriminator's loss on real images.
        fake_loss: The discriminator's loss on fake images.
        penalty_weight: Weight of the gradient penalty.
    """

    generator_loss: Loss
    real_loss: Loss
    fake_loss: Loss
    penalty_weight: float = 0.0

    def discriminator_loss(self, real: Scores, fake: Scores) -> Scalar:
        """The mean of the discriminator's two losses."""
        return 0.5 * (self.real_loss(real) + self.fake_loss(fake))

    def penalty(
        self, score: Callable[[Images], Scores], real: torch.Tensor, fake: torch.Tensor
    ) -> Scalar | None:
        """The weighted gradient penalty, or None if the loss has none."""
        weight = self.penalty_weight
        return weight * gradient_penalty(score, real, fake) if weight else None


def least_squares() -> GANLoss:
    """(s - 1)^2 and s^2: Mao et al. (2017), "Least Squares Generative Adversarial Networks"."""
    return GANLoss(
        generator_loss=lambda scores: (scores - 1).square().mean(),
        real_loss=lambda scores: (scores - 1).square().mean(),
        fake_loss=lambda scores: scores.square().mean(),
    )


def vanilla() -> GANLoss:
    """-log sigmoid(s) and -log(1 - sigmoid(s)): Goodfellow et al. (2014), non-saturating."""
    return GANLoss(
        generator_loss=lambda scores: F.softplus(-scores).mean(),
        real_loss=lambda scores: F.softplus(-scores).mean(),
        fake_loss=lambda scores: F.softplus(scores).mean(),
    )


def hinge() -> GANLoss:
    """max(0, 1 - s) and max(0, 1 + s); the generator minimizes -s: Lim and Ye (2017)."""
    return GANLoss(
        generator_loss=lambda scores: -scores.mean(),
        real_loss=lambda scores: F.relu(1 - scores).mean(),
        fake_loss=lambda scores: F.relu(1 + scores).mean(),
    )


def wgan_gp(penalty: float = 10.0) -> GANLoss:
    """-s for real, s for fake, and a gradient penalty.

    Gulrajani et al. (2017), "Improved Training of Wasserstein GANs".
    """
    return GANLoss(
        generator_loss=lambda scores: -scores.mean(),
        real_loss=lambda scores: -scores.mean(),
        fake_loss=lambda scores: scores.mean(),
        penalty_weight=penalty,
    )


GAN_LOSSES: dict[str, Callable[..., GANLoss]] = {
    "least-squares": least_squares,
    "vanilla": vanilla,
    "hinge": hinge,
    "wgan-gp": wgan_gp,
}


def gradient_penalty(score: Callable[[Images], Scores], real: Images, fake: Images) -> Scalar:
    """Mean of (|gradient of the scores| - 1)^2 at random points between real and fake images.

    Gulrajani et al. (2017), equation 3.

    Args:
        score: The discriminator.
        real: (batch, channels, height, width).
        fake: The same shape. No gradient flows into it.
    """
    mix = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
