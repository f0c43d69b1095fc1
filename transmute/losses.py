"""Losses, as functions of the discriminator's scores or of features."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transmute.tensors import Images, Scalar, Scores, Vectors

Loss = Callable[[Scores], Scalar]


@dataclass(frozen=True)
class GANLoss:
    """An adversarial loss: three functions from scores to their mean loss.

    Attributes:
        generator_loss: The generator's loss on its fake images.
        real_loss: The discriminator's loss on real images.
        fake_loss: The discriminator's loss on fake images.
        penalty: Weight of the discriminator's gradient penalty.
    """

    generator_loss: Loss
    real_loss: Loss
    fake_loss: Loss
    penalty: float = 0.0

    def discriminator_loss(self, real: Scores, fake: Scores) -> Scalar:
        """The mean of the discriminator's two losses."""
        return 0.5 * (self.real_loss(real) + self.fake_loss(fake))

    def gradient_penalty(
        self, score: Callable[[Images], Scores], real: Tensor, fake: Tensor
    ) -> Scalar | None:
        """The weighted gradient penalty, or None if the loss has none.

        Mean of (|gradient of the scores| - 1)^2 at random points between real and fake images.
        Gulrajani et al. (2017), "Improved Training of Wasserstein GANs", equation 3.

        Args:
            score: The discriminator.
            real: (batch, channels, height, width).
            fake: The same shape if there is a penalty. No gradient flows into it.
        """
        if self.penalty == 0:
            return None
        mix = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype)
        between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
        return self.penalty * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


GAN_LOSSES: dict[str, GANLoss] = {
    "least-squares": GANLoss(
        generator_loss=lambda scores: (scores - 1).square().mean(),
        real_loss=lambda scores: (scores - 1).square().mean(),
        fake_loss=lambda scores: scores.square().mean(),
    ),
    "vanilla": GANLoss(
        generator_loss=lambda scores: F.softplus(-scores).mean(),
        real_loss=lambda scores: F.softplus(-scores).mean(),
        fake_loss=lambda scores: F.softplus(scores).mean(),
    ),
    "hinge": GANLoss(
        generator_loss=lambda scores: -scores.mean(),
        real_loss=lambda scores: F.relu(1 - scores).mean(),
        fake_loss=lambda scores: F.relu(1 + scores).mean(),
    ),
    "wgan-gp": GANLoss(
        generator_loss=lambda scores: -scores.mean(),
        real_loss=lambda scores: -scores.mean(),
        fake_loss=lambda scores: scores.mean(),
    ),
}
"""Adversarial losses by name, without penalties.

least-squares: (s - 1)^2 and s^2. Mao et al. (2017), "Least Squares Generative Adversarial
Networks".

vanilla: -log sigmoid(s) and -log(1 - sigmoid(s)), non-saturating. Goodfellow et al. (2014).

hinge: max(0, 1 - s) and max(0, 1 + s); the generator minimizes -s. Lim and Ye (2017).

wgan-gp: -s for real, s for fake; to be used with a gradient penalty. Gulrajani et al. (2017).
"""


def patch_nce(queries: Vectors, keys: Vectors, temperature: float) -> Scalar:
    """Cross-entropy of matching each query with the key at its own position.

    The negatives are the other positions of the same image. Park, Efros, Zhang and Zhu (2020),
    "Contrastive Learning for Unpaired Image-to-Image Translation", equations 3 and 4.

    Args:
        queries: (batch, positions, width) unit vectors, from the output.
        keys: The same, from the input. No gradient flows into them.
        temperature: Divisor of the similarities.
    """
    logits = queries @ keys.detach().transpose(1, 2) / temperature
    targets = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
