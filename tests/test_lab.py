from __future__ import annotations

import pytest
import torch

from transmute.lab import to_lab, to_rgb


def lab_of(red: float, green: float, blue: float) -> list[float]:
    lightness, colors = to_lab(
        torch.tensor([red, green, blue], dtype=torch.float64).view(1, 3, 1, 1) * 2 - 1
    )
    return [(lightness.item() + 1) * 50, *(colors.flatten() * 110).tolist()]


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # CIE Lab of sRGB's corners for D65, as published to two decimals.
        ((0, 0, 0), (0, 0, 0)),
        ((1, 1, 1), (100, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.74, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_known_colors_have_published_lab_values(rgb: tuple, lab: tuple) -> None:
    assert lab_of(*rgb) == pytest.approx(lab, abs=0.03)  # two decimals, and a matrix with six


def test_to_rgb_inverts_to_lab() -> None:
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64) * 2 - 1
    # The branches of the standard's curves meet only approximately.
    assert (to_rgb(*to_lab(images)) - images).abs().max() < 1e-3


def test_all_colors_are_in_range() -> None:
    sides = torch.linspace(-1, 1, 9, dtype=torch.float64)
    grid = torch.cartesian_prod(sides, sides, sides).T.reshape(1, 3, 27, 27)
    lightness, colors = to_lab(grid)
    assert lightness.abs().max() <= 1 + 1e-6
    assert colors.abs().max() <= 1
    impossible = to_rgb(torch.zeros(1, 1, 1, 1), torch.ones(1, 2, 1, 1))
    assert impossible.abs().max() <= 1
