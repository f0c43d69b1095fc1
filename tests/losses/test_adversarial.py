from __future__ import annotations

import math

import pytest
import torch

from transmute.losses.adversarial import (
    GANLoss,
    gradient_penalty,
    hinge,
    least_squares,
    vanilla,
    wgan_gp,
)


def scores(value: float) -> torch.Tensor:
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("game", "value", "generator", "real", "fake"),
    [
        (least_squares(), 0.25, 0.5625, 0.5625, 0.0625),
        (
            vanilla(),
            0.7,
            math.log(1 + math.exp(-0.7)),
            math.log(1 + math.exp(-0.7)),
            math.log(1 + math.exp(0.7)),
        ),
        (hinge(), 0.25, -0.25, 0.75, 1.25),
        (hinge(), 3.0, -3.0, 0.0, 4.0),
        (hinge(), -3.0, 3.0, 4.0, 0.0),
        (wgan_gp(), 0.25, -0.25, -0.25, 0.25),
    ],
)
def test_losses_of_constant_scores_have_their_closed_forms(
    game: GANLoss, value: float, generator: float, real: float, fake: float
) -> None:
    assert game.generator_loss(scores(value)).item() == pytest.approx(generator, abs=1e-12)
    assert game.real_loss(scores(value)).item() == pytest.approx(real, abs=1e-12)
    assert game.fake_loss(scores(value)).item() == pytest.approx(fake, abs=1e-12)


def test_the_discriminator_s_loss_is_the_mean_of_its_two_parts() -> None:
    assert least_squares().discriminator_loss(scores(0.5), scores(2.0)).item() == pytest.approx(
        (0.25 + 4.0) / 2
    )


def test_vanilla_is_cross_entropy_with_logits() -> None:
    values = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    assert vanilla().real_loss(values).item() == pytest.approx(
        entropy(values, torch.ones_like(values)).item(), abs=1e-12
    )
    assert vanilla().fake_loss(values).item() == pytest.approx(
        entropy(values, torch.zeros_like(values)).item(), abs=1e-12
    )


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 4.0)])
def test_the_gradient_penalty_of_a_linear_discriminator_is_its_slope_minus_one_squared(
    slope: float, penalty: float
) -> None:
    direction = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    direction *= slope / direction.norm()
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)

    def judge(images: torch.Tensor) -> torch.Tensor:
        return (images * direction).sum(dim=(1, 2, 3)).view(-1, 1, 1, 1)

    assert gradient_penalty(judge, real, fake).item() == pytest.approx(penalty, abs=1e-12)


def test_only_wgan_gp_has_a_penalty() -> None:
    real, fake = torch.randn(2, 2, 3, 4, 4)
    judge = torch.nn.Conv2d(3, 1, 3)
    assert least_squares().penalty(judge, real, fake) is None
    assert wgan_gp(0.0).penalty(judge, real, fake) is None
    penalty = wgan_gp(10.0).penalty(judge, real, fake)
    assert penalty is not None
    penalty.backward()
    assert judge.weight.grad is not None
