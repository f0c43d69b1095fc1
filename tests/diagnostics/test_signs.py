from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from transmute.demo.animals import animal
from transmute.diagnostics import signs
from transmute.images import to_tensor


def pictures(count: int = 4, *, striped: bool = False, first: int = 0) -> torch.Tensor:
    return torch.cat([to_tensor(animal(np.random.default_rng(seed), striped=striped)[0]) for seed in range(first, first + count)])


PLAIN, STRIPED, OTHERS = pictures(), pictures(striped=True), pictures(first=50)
"""Pictures of one domain, a good translation of them, and others of it."""


def noisy(images: torch.Tensor, spread: float) -> torch.Tensor:
    return images + spread * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def test_a_good_translation_shows_no_sign() -> None:
    assert signs.constant(STRIPED, "") is None
    assert signs.unchanged(PLAIN, STRIPED, "") is None
    assert signs.inverted(PLAIN, STRIPED, "") is None
    assert signs.collapsed(STRIPED, OTHERS, "") is None
    assert signs.checkerboard(STRIPED, OTHERS, "") is None
    assert signs.cycle_ignored(PLAIN, noisy(PLAIN, 0.05), "") is None


@pytest.mark.parametrize(("value", "color"), [(-1.0, "black"), (1.0, "white"), (0.3, "one flat color")])
def test_flat_translations(value: float, color: str) -> None:
    sign = signs.constant(noisy(torch.full_like(PLAIN, value), 0.005), "a to b")
    assert sign is not None
    assert sign.sentence == f"every translation a to b is {color}"
    assert sign.early
    one_is_not = torch.full_like(PLAIN, value)
    one_is_not[0] = PLAIN[0]
    assert signs.constant(one_is_not, "") is None


def test_translations_that_are_their_inputs() -> None:
    sign = signs.unchanged(PLAIN, noisy(PLAIN, 0.01), "a to b")
    assert sign is not None
    assert sign.evidence["levels"] == pytest.approx(127.5 * 0.01 * math.sqrt(2 / math.pi), rel=0.05)
    assert signs.unchanged(PLAIN, noisy(PLAIN, 0.05), "") is None
    assert signs.unchanged(PLAIN[:, :1], PLAIN, "") is None  # gray to color is a change


def test_negatives() -> None:
    sign = signs.inverted(PLAIN, noisy(-PLAIN, 0.1), "a to b")
    assert sign is not None
    assert sign.evidence["correlation"] < -0.8
    assert signs.inverted(PLAIN, 0.2 * PLAIN - 0.5, "") is None  # darker and flatter, but not inverted
    half = torch.cat([PLAIN[:2], -PLAIN[2:]])
    assert signs.inverted(PLAIN, half, "") is None


def test_translations_that_are_alike() -> None:
    sign = signs.collapsed(noisy(STRIPED[:1].expand(4, -1, -1, -1), 0.02), OTHERS, "a to b")
    assert sign is not None
    assert "differ by 2%" in sign.sentence
    assert signs.collapsed(STRIPED[:1], OTHERS, "") is None  # one picture says nothing
    alike = STRIPED[:1].expand(4, -1, -1, -1)
    assert signs.collapsed(alike, alike, "") is None  # neither does a domain whose pictures are alike


def test_a_grid_of_single_pixels() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for grid in ((rows + columns) % 2, rows % 2, columns % 2):
        sign = signs.checkerboard(PLAIN + 0.15 * (2 * grid - 1), OTHERS, "a to b")
        assert sign is not None
        assert signs.checkerboard(PLAIN + 0.02 * (2 * grid - 1), OTHERS, "") is None
    assert signs.checkerboard(noisy(STRIPED, 0.02), OTHERS, "") is None  # grain is none
    grainy = noisy(OTHERS, 0.3)
    assert signs.checkerboard(noisy(STRIPED, 0.3), grainy, "") is None  # nor is what real pictures have
    assert signs.checkerboard(STRIPED[:, :, :8, :8], OTHERS, "") is None


def test_pictures_that_come_back_as_others() -> None:
    sign = signs.cycle_ignored(PLAIN, PLAIN.roll(1, 0), "a to b")
    assert sign is not None
    assert sign.evidence["error"] > 0.75 * sign.evidence["of_another"]
    assert signs.cycle_ignored(PLAIN, 0.5 * (PLAIN + PLAIN.roll(1, 0)), "") is None
    assert signs.cycle_ignored(PLAIN[:1].expand(4, -1, -1, -1), OTHERS, "") is None


@pytest.mark.parametrize(
    ("shares", "name"),
    [
        ([0.02] * 10, "discriminator ahead"),
        ([0.3] * 5 + [0.01] * 10, "discriminator ahead"),
        ([0.999, 1.001] * 5, "discriminator behind"),
        ([2.0] * 10, "discriminator behind"),
        ([1e4] * 10, "diverging"),
        ([0.02] * 9, None),
        ([0.4] * 10, None),
        ([0.98, 1.0] * 5, None),
        ([0.01] * 10 + [0.3] * 10, None),
    ],
)
def test_the_balance_of_the_game(shares: list[float], name: str | None) -> None:
    for chance in (0.25, math.log(2)):
        sign = signs.out_of_balance([share * chance for share in shares], chance, "of a")
        assert (sign.name if sign else None) == name


def test_waiting_for_pictures() -> None:
    assert signs.starving(6, 10) is not None
    assert signs.starving(3, 10) is None
    assert signs.starving(6, 10, ahead=True) is None  # a host that runs ahead of a busy device waits too
    assert signs.starving(9.5, 10, ahead=True) is not None
    assert signs.starving(0.6, 0.9) is None  # too short a time to say


def test_a_learning_rate_of_zero() -> None:
    assert signs.no_rate(0.0, 500, 1000) is not None
    assert signs.no_rate(0.0, 10, 1000) is None  # the end of most schedules
    assert signs.no_rate(0.01, 500, 1000) is None


def test_a_judge_that_knows_its_pictures_by_heart() -> None:
    spread = torch.tensor([-0.03, -0.01, 0.01, 0.03])
    assert signs.overfitting(1 + spread, 0.2 + spread, 0 + spread, "of b") is not None
    assert signs.overfitting(1 + spread, 0.8 + spread, 0 + spread, "") is None
    assert signs.overfitting(1 + 30 * spread, 0.3 + 30 * spread, 0 + spread, "") is None  # too few to be sure
    assert signs.overfitting(0 + spread, 1 + spread, 2 + spread, "") is None  # it takes translations for real


def test_losses_that_are_no_numbers() -> None:
    sign = signs.not_finite({"cycle_a": 1.0, "fool_b": math.nan})
    assert sign is not None
    assert sign.where == "fool_b"
    assert signs.not_finite({"cycle_a": math.inf}) is not None
    assert signs.not_finite({"cycle_a": 1e30}) is None
