from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from transmute.demo.animals import animal
from transmute.diagnostics import symptoms
from transmute.images.decode import read_image
from transmute.images.ranges import to_tensor


def images(count: int = 4, *, striped: bool = False, first: int = 0) -> torch.Tensor:
    return torch.cat(
        [
            to_tensor(read_image(animal(np.random.default_rng(seed), striped=striped)[0]))
            for seed in range(first, first + count)
        ]
    )


PLAIN, STRIPED, OTHERS = images(), images(striped=True), images(first=50)
"""Images of one domain, a good translation of them, and other images of the domain."""


def noisy(images: torch.Tensor, spread: float) -> torch.Tensor:
    return images + spread * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("times", [1, 2])
def test_a_good_translation_of_3_or_6_channels_has_no_symptom(times: int) -> None:
    plain, striped, others = (one.repeat(1, times, 1, 1) for one in (PLAIN, STRIPED, OTHERS))
    assert symptoms.constant(striped, "") is None
    assert symptoms.unchanged(plain, striped, "") is None
    assert symptoms.inverted(plain, striped, "") is None
    assert symptoms.collapsed(striped, others, "") is None
    assert symptoms.checkerboard(striped, others, "") is None
    assert symptoms.cycle_ignored(plain, noisy(plain, 0.05), "") is None


@pytest.mark.parametrize(
    ("value", "color"), [(-1.0, "black"), (1.0, "white"), (0.3, "one flat color")]
)
def test_translations_of_one_color_are_detected(value: float, color: str) -> None:
    symptom = symptoms.constant(noisy(torch.full_like(PLAIN, value), 0.005), "a to b")
    assert symptom is not None
    assert symptom.sentence == f"every translation a to b is {color}"
    assert symptom.early
    all_but_one = torch.full_like(PLAIN, value)
    all_but_one[0] = PLAIN[0]
    assert symptoms.constant(all_but_one, "") is None


def test_translations_that_equal_their_inputs_are_detected() -> None:
    symptom = symptoms.unchanged(PLAIN, noisy(PLAIN, 0.01), "a to b")
    assert symptom is not None
    assert symptom.evidence["levels"] == pytest.approx(
        127.5 * 0.01 * math.sqrt(2 / math.pi), rel=0.05
    )
    assert symptoms.unchanged(PLAIN, noisy(PLAIN, 0.05), "") is None
    assert symptoms.unchanged(PLAIN[:, :1], PLAIN, "") is None  # gray to color is a change


def test_inverted_translations_are_detected() -> None:
    symptom = symptoms.inverted(PLAIN, noisy(-PLAIN, 0.1), "a to b")
    assert symptom is not None
    assert symptom.evidence["correlation"] < -0.8
    # Darker and flatter, but not inverted.
    assert symptoms.inverted(PLAIN, 0.2 * PLAIN - 0.5, "") is None
    half = torch.cat([PLAIN[:2], -PLAIN[2:]])
    assert symptoms.inverted(PLAIN, half, "") is None


def test_translations_that_are_nearly_equal_are_detected() -> None:
    symptom = symptoms.collapsed(noisy(STRIPED[:1].expand(4, -1, -1, -1), 0.02), OTHERS, "a to b")
    assert symptom is not None
    assert "their average difference is 2% of that between real images" in symptom.sentence
    assert symptoms.collapsed(STRIPED[:1], OTHERS, "") is None  # one image cannot show it
    equal = STRIPED[:1].expand(4, -1, -1, -1)
    # Nor can a domain whose real images are equal.
    assert symptoms.collapsed(equal, equal, "") is None


def test_a_pattern_of_single_pixels_is_detected() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for grid in ((rows + columns) % 2, rows % 2, columns % 2):
        symptom = symptoms.checkerboard(PLAIN + 0.15 * (2 * grid - 1), OTHERS, "a to b")
        assert symptom is not None
        assert symptoms.checkerboard(PLAIN + 0.02 * (2 * grid - 1), OTHERS, "") is None
    assert symptoms.checkerboard(noisy(STRIPED, 0.02), OTHERS, "") is None  # grain is not a pattern
    # Real images with as much grain are the reference.
    grainy = noisy(OTHERS, 0.3)
    assert symptoms.checkerboard(noisy(STRIPED, 0.3), grainy, "") is None
    assert symptoms.checkerboard(STRIPED[:, :, :8, :8], OTHERS, "") is None


def test_images_that_differ_after_translating_back_are_detected() -> None:
    symptom = symptoms.cycle_ignored(PLAIN, PLAIN.roll(1, 0), "a to b")
    assert symptom is not None
    assert symptom.evidence["error"] > 0.75 * symptom.evidence["of_another"]
    assert symptoms.cycle_ignored(PLAIN, 0.5 * (PLAIN + PLAIN.roll(1, 0)), "") is None
    assert symptoms.cycle_ignored(PLAIN[:1].expand(4, -1, -1, -1), OTHERS, "") is None


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
def test_a_discriminator_out_of_balance_is_detected(shares: list[float], name: str | None) -> None:
    for chance_loss in (0.25, math.log(2)):
        symptom = symptoms.out_of_balance(
            [share * chance_loss for share in shares], chance_loss, "of a"
        )
        assert (symptom.name if symptom else None) == name


def test_waiting_for_images_is_detected() -> None:
    assert symptoms.starving(6, 10) is not None
    assert symptoms.starving(3, 10) is None
    # A host that queues steps also waits while the device is busy.
    assert symptoms.starving(6, 10, asynchronous=True) is None
    assert symptoms.starving(9.5, 10, asynchronous=True) is not None
    assert symptoms.starving(0.6, 0.9) is None  # too short to be sure


def test_a_learning_rate_of_zero_is_detected_before_the_end() -> None:
    assert symptoms.no_rate(0.0, 500, 1000) is not None
    assert symptoms.no_rate(0.0, 10, 1000) is None  # most schedules end at zero
    assert symptoms.no_rate(0.01, 500, 1000) is None


def test_an_overfitting_discriminator_is_detected() -> None:
    spread = torch.tensor([-0.03, -0.01, 0.01, 0.03])
    assert symptoms.overfitting(1 + spread, 0.2 + spread, 0 + spread, "of b") is not None
    assert symptoms.overfitting(1 + spread, 0.8 + spread, 0 + spread, "") is None
    # Too few images for so much spread.
    assert symptoms.overfitting(1 + 30 * spread, 0.3 + 30 * spread, 0 + spread, "") is None
    # It scores translations higher than real images.
    assert symptoms.overfitting(0 + spread, 1 + spread, 2 + spread, "") is None


def test_losses_that_are_not_finite_are_detected() -> None:
    symptom = symptoms.not_finite({"cycle_a": 1.0, "gan_b": math.nan})
    assert symptom is not None
    assert symptom.where == "gan_b"
    assert symptoms.not_finite({"cycle_a": math.inf}) is not None
    assert symptoms.not_finite({"cycle_a": 1e30}) is None
