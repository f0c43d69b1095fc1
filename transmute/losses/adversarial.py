"""Adversarial games: what a generator and a discriminator minimize, as functions of the discriminator's scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from transmute.tensors import Images, Scalar, Scores


@dataclass(frozen=True)
class Game:
    """The three functions of a game; each takes scores and gives their mean loss.

    `real` and `fake` are the discriminator's loss on real and on translated pictures, `generator` is the generator's loss on what it translated.
    """

    generator: Callable[[Scores], Scalar]
    real: Callable[[Scores], Scalar]
    fake: Callable[[Scores], Scalar]
    penalty_weight: float = 0.0

    def discriminator(self, real: Scores, fake: Scores) -> Scalar:
        """The mean of the discriminator's two losses."""
        return 0.5 * (self.real(real) + self.fake(fake))

    def penalty(self, score: Callable[[Images], Scores], real: torch.Tensor, fake: torch.Tensor) -> Scalar | None:
        """The gradient penalty in games that have one, else None."""
        return self.penalty_weight * gradient_penalty(score, real, fake) if self.penalty_weight else None


def least_squares() -> Game:
    """Mao et al. (2017), "Least Squares Generative Adversarial Networks", with targets 1 and 0: (s - 1)^2 and s^2."""
    to_one = lambda scores: (scores - 1).square().mean()  # noqa: E731
    return Game(generator=to_one, real=to_one, fake=lambda scores: scores.square().mean())


def vanilla() -> Game:
    """Goodfellow et al. (2014), the generator's loss non-saturating: -log sigmoid(s) and -log(1 - sigmoid(s))."""
    to_real = lambda scores: F.softplus(-scores).mean()  # noqa: E731
    return Game(generator=to_real, real=to_real, fake=lambda scores: F.softplus(scores).mean())


def hinge() -> Game:
    """Lim and Ye (2017), "Geometric GAN": max(0, 1 - s) and max(0, 1 + s); the generator minimizes -s."""
    return Game(
        generator=lambda scores: -scores.mean(),
        real=lambda scores: F.relu(1 - scores).mean(),
        fake=lambda scores: F.relu(1 + scores).mean(),
    )


def wgan_gp(penalty: float = 10.0) -> Game:
    """Gulrajani et al. (2017), "Improved Training of Wasserstein GANs": -s for real, s for fake, and a gradient penalty."""
    return Game(
        generator=lambda scores: -scores.mean(), real=lambda scores: -scores.mean(), fake=lambda scores: scores.mean(), penalty_weight=penalty
    )


def gradient_penalty(score: Callable[[Images], Scores], real: Images, fake: Images) -> Scalar:
    """Mean of (|gradient of the scores| - 1)^2 at random points between real and fake (Gulrajani et al. 2017, equation 3).

    Args:
        score: The discriminator.
        real: (batch, channels, height, width).
        fake: The same shape; no gradient flows into it.
    """
    share = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
