from __future__ import annotations

import pytest
import torch

from transmute.config.training import (
    ConstantConfig,
    CosineConfig,
    LinearConfig,
    PlateauConfig,
    StepConfig,
)
from transmute.training.schedule import learning_rate_factor, plateau_factor


def test_linear_equals_the_formula_of_pytorch_cyclegan_and_pix2pix() -> None:
    # 100 epochs at the full rate and 100 that decay: 1 - max(0, epoch + 1 - 100) / 101.
    expected = [1 - max(0, epoch + 1 - 100) / 101 for epoch in range(200)]
    assert [learning_rate_factor(LinearConfig(), epoch, 200) for epoch in range(200)] == expected
    assert expected[98] == expected[99] == 1.0
    assert expected[199] == pytest.approx(1 / 101)


def test_linear_decays_over_the_given_fraction() -> None:
    rates = [learning_rate_factor(LinearConfig(decay=0.25), step, 8) for step in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])
    assert [learning_rate_factor(LinearConfig(decay=0.0), step, 3) for step in range(3)] == [
        1,
        1,
        1,
    ]


def test_constant_step_and_cosine() -> None:
    assert learning_rate_factor(ConstantConfig(), 7, 10) == 1
    assert [
        learning_rate_factor(StepConfig(every=0.3, factor=0.5), step, 10) for step in (0, 2, 3, 6)
    ] == [
        1,
        1,
        0.5,
        0.25,
    ]
    assert [learning_rate_factor(CosineConfig(), step, 4) for step in (0, 2, 4)] == pytest.approx(
        [1, 0.5, 0]
    )


def test_plateau_equals_torch_s_scheduler() -> None:
    config = PlateauConfig(patience=1, factor=0.5, threshold=0.1)
    losses = [10.0, 9.5, 8.0, 8.1, 7.9, 7.5, 3.0, 3.0, 3.0, 3.0, 3.0, 2.9]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=0.1
    )
    for place, loss in enumerate(losses):
        theirs.step(loss)
        assert plateau_factor(config, losses[: place + 1]) == optimizer.param_groups[0]["lr"]
    assert plateau_factor(config, losses) == 0.125
    assert plateau_factor(config, []) == 1


def test_plateau_of_a_metric_where_higher_is_better() -> None:
    assert plateau_factor(PlateauConfig(patience=0), [-0.5, -0.6, -0.7]) == 1
    assert plateau_factor(PlateauConfig(patience=0, factor=0.2), [-0.5, -0.502]) == 0.2
