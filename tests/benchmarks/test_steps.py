"""The comparison of training steps with the reference's, and the script that prints it."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import steps
from benchmarks.comparison import Comparison, Spread, compare, matrix_product_rate
from tests.conftest import TINY_CYCLEGAN
from transmute.training.trainer import Speed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Three pairs of a tiny CycleGAN; shared, because every comparison measures the ceiling."""
    return compare(TINY_CYCLEGAN, CPU, Speed(), pairs=3)


def test_the_speedup_is_within_the_ratios_of_the_two_rates(comparison: Comparison) -> None:
    ours, reference = comparison.steps_per_second, comparison.reference_steps_per_second
    assert comparison.speedup.min <= ours.max / reference.min
    assert comparison.speedup.max >= ours.min / reference.max
    for spread in (ours, reference, comparison.speedup):
        assert 0 < spread.min <= spread.median <= spread.max


def test_memory_exceeds_weights_gradients_and_moments(comparison: Comparison) -> None:
    method = TINY_CYCLEGAN.method.build(3, 3, (16, 16))
    weights = sum(parameter.nbytes for parameter in method.parameters())
    # Weights, two moments and gradients; what the backward pass needs is added to them.
    assert comparison.memory > 4 * weights
    assert comparison.reference_memory > 4 * weights


def test_a_single_pair_gives_its_own_ratio_and_operations_grow_with_the_batch(
    comparison: Comparison,
) -> None:
    single = compare(TINY_CYCLEGAN.replace(batch=4), CPU, Speed(), pairs=1)
    assert single.speedup.median == pytest.approx(
        single.steps_per_second.median / single.reference_steps_per_second.median
    )
    assert TINY_CYCLEGAN.batch == 2
    assert single.step_flops == 2 * comparison.step_flops


def test_the_share_of_the_ceiling_is_rate_times_operations() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert spread == Spread(median=2.0, min=1.0, max=3.0)
    comparison = Comparison(spread, spread, spread, 0, 0, step_flops=30, ceiling=120.0)
    assert comparison.share_of_ceiling == 0.5
    assert matrix_product_rate(CPU, torch.float32) > 1e8


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the recipe `cyclegan` by one with tiny networks."""
    monkeypatch.setitem(steps.RECIPES, "cyclegan", TINY_CYCLEGAN)


OPTIONS = ["--recipe", "cyclegan", "--device", "cpu", "--pairs", "2", "--compile", "off"]


@pytest.mark.usefixtures("tiny_recipe")
def test_steps_prints_one_json_object(capsys: pytest.CaptureFixture) -> None:
    steps.main([*OPTIONS, "--size", "20", "--batch", "1", "--precision", "bfloat16", "--json"])
    result = json.loads(capsys.readouterr().out)
    for name in ("steps_per_second", "reference_steps_per_second", "speedup"):
        low, high = result[f"{name}_spread"]
        assert 0 < low <= result[name] <= high
    expected = {
        "method": "cyclegan",
        "size": "20x20",
        "batch": 1,
        "precision": "bfloat16",
        "compiled": False,
        "captured": False,
        "pairs": 2,
    }
    assert {name: result[name] for name in expected} == expected
    assert result["memory_bytes"] > 0
    assert result["reference_memory_bytes"] > 0
    assert result["share_of_ceiling"] == pytest.approx(
        result["flops_per_second"] / result["ceiling_flops_per_second"]
    )


@pytest.mark.usefixtures("tiny_recipe")
def test_steps_prints_a_table(capsys: pytest.CaptureFixture) -> None:
    steps.main(OPTIONS)
    printed = capsys.readouterr()
    for text in ("steps/s", "reference steps/s", "speed-up", "memory", "TFLOP/s", "batch 2"):
        assert text in printed.out
    assert "networks in" in printed.err


def test_steps_refuses_a_size_that_does_not_suit_the_networks(
    capsys: pytest.CaptureFixture,
) -> None:
    with pytest.raises(SystemExit) as ended:
        steps.main(["--size", "30", "--device", "cpu"])
    assert ended.value.code == 2
    assert "`size=30x30` is not a multiple of 4" in capsys.readouterr().err
