from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from transmute.config.losses import LeastSquaresConfig, WGANGPConfig
from transmute.losses import GAN_LOSSES


def scores(value: float) -> torch.Tensor:
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "value", "generator", "real", "fake"),
    [
        ("least-squares", 0.25, 0.5625, 0.5625, 0.0625),
        (
            "vanilla",
            0.7,
            math.log(1 + math.exp(-0.7)),
            math.log(1 + math.exp(-0.7)),
            math.log(1 + math.exp(0.7)),
        ),
        ("hinge", 0.25, -0.25, 0.75, 1.25),
        ("hinge", 3.0, -3.0, 0.0, 4.0),
        ("hinge", -3.0, 3.0, 4.0, 0.0),
        ("wgan-gp", 0.25, -0.25, -0.25, 0.25),
    ],
)
def test_losses_of_constant_scores_have_their_closed_forms(
    name: str, value: float, generator: float, real: float, fake: float
) -> None:
    loss = GAN_LOSSES[name]
    assert loss.generator_loss(scores(value)).item() == pytest.approx(generator, abs=1e-12)
    assert loss.real_loss(scores(value)).item() == pytest.approx(real, abs=1e-12)
    assert loss.fake_loss(scores(value)).item() == pytest.approx(fake, abs=1e-12)


def test_the_discriminator_s_loss_is_the_mean_of_its_two_parts() -> None:
    loss = GAN_LOSSES["least-squares"].discriminator_loss(scores(0.5), scores(2.0))
    assert loss.item() == pytest.approx((0.25 + 4.0) / 2)


def test_vanilla_is_cross_entropy_with_logits() -> None:
    values = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    vanilla = GAN_LOSSES["vanilla"]
    assert vanilla.real_loss(values).item() == pytest.approx(
        entropy(values, torch.ones_like(values)).item(), abs=1e-12
    )
    assert vanilla.fake_loss(values).item() == pytest.approx(
        entropy(values, torch.zeros_like(values)).item(), abs=1e-12
    )


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 4.0)])
def test_the_gradient_penalty_of_a_linear_discriminator_is_its_slope_minus_one_squared(
    slope: float, penalty: float
) -> None:
    direction = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    direction *= slope / direction.norm()
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)

    def score(images: torch.Tensor) -> torch.Tensor:
        return (images * direction).sum(dim=(1, 2, 3)).view(-1, 1, 1, 1)

    loss = replace(GAN_LOSSES["wgan-gp"], penalty=1.0).gradient_penalty(score, real, fake)
    assert loss is not None
    assert loss.item() == pytest.approx(penalty, abs=1e-12)


def test_only_wgan_gp_has_a_penalty() -> None:
    real, fake = torch.randn(2, 2, 3, 4, 4)
    score = torch.nn.Conv2d(3, 1, 3)
    assert LeastSquaresConfig().build().gradient_penalty(score, real, fake) is None
    assert WGANGPConfig(penalty=0.0).build().gradient_penalty(score, real, fake) is None
    penalties = []
    for weight in (1.0, 10.0):
        torch.manual_seed(0)
        penalty = WGANGPConfig(penalty=weight).build().gradient_penalty(score, real, fake)
        assert penalty is not None
        penalties.append(penalty)
    assert torch.equal(penalties[1], 10 * penalties[0])
    penalties[1].backward()
    assert score.weight.grad is not None
