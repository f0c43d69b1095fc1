from __future__ import annotations

import json

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN
from transmute.bench.measure import Comparison, Timing, ceiling, compare
from transmute.cli import run_command
from transmute.settings import UserError
from transmute.training.speed import Speed

TINY = [
    "--method",
    "cyclegan",
    "--size",
    "16",
    "--method.generator.width",
    "4",
    "--method.generator.blocks",
    "1",
    "--method.discriminator.layers",
    "1",
    "--pairs",
    "2",
    "--device",
    "cpu",
]


def test_steps_are_compared_in_pairs() -> None:
    found = compare(TINY_CYCLEGAN, torch.device("cpu"), Speed(), pairs=3, say=print)
    assert found.speedup_least <= found.speedup <= found.speedup_most
    assert found.speedup_least <= found.ours.most / found.reference.least
    assert found.speedup_most >= found.ours.least / found.reference.most
    one = compare(TINY_CYCLEGAN, torch.device("cpu"), Speed(), pairs=1, say=print)
    assert one.speedup == pytest.approx(one.ours.median / one.reference.median)
    for timing in (found.ours, found.reference):
        assert 0 < timing.least <= timing.median <= timing.most
    weights = sum(parameter.nbytes for parameter in TINY_CYCLEGAN.method.build(3, 3, (16, 16)).parameters())
    # Weights and two moments stay; gradients and what backward needs come on top.
    assert found.ours.memory > 4 * weights
    assert found.reference.memory > 4 * weights


def test_operations_are_those_of_the_convolutions() -> None:
    one = compare(TINY_CYCLEGAN, torch.device("cpu"), Speed(), pairs=1, say=print).step_flops
    two = compare(TINY_CYCLEGAN.replace(batch=4), torch.device("cpu"), Speed(), pairs=1, say=print).step_flops
    assert two == 2 * one


def test_the_share_of_the_ceiling_is_rate_times_operations() -> None:
    timing = Timing(median=2.0, least=1.0, most=3.0, memory=0)
    assert Comparison(timing, timing, 1.0, 1.0, 1.0, step_flops=30, ceiling_flops=120.0).share_of_ceiling == 0.5
    assert ceiling(torch.device("cpu"), torch.float32) > 1e8


def test_bench_prints_one_json_object(capsys: pytest.CaptureFixture) -> None:
    assert run_command(["bench", *TINY, "--precision", "bfloat16", "--compile", "off", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["speedup"] > 0
    for name in ("steps_per_second", "reference_steps_per_second", "speedup"):
        least, most = found[f"{name}_spread"]
        assert least <= found[name] <= most
    assert (found["method"], found["size"], found["batch"], found["precision"], found["compiled"]) == ("cyclegan", "16x16", 1, "bfloat16", False)
    assert found["recipe_steps"] == 200 * 1334
    assert found["recipe_seconds"] == pytest.approx(found["recipe_steps"] / found["steps_per_second"])


def test_a_size_that_does_not_fit_the_networks_is_one_sentence() -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        run_command(["bench", "--size", "30"])
    with pytest.raises(UserError, match="too small"):
        run_command(["bench", "--size", "16"])


def test_bench_prints_a_table_and_an_estimate(capsys: pytest.CaptureFixture) -> None:
    assert run_command(["bench", *TINY, "--compile", "off", "--pictures", "100", "--epochs", "3", "--batch", "2"]) == 0
    said = capsys.readouterr()
    for line in ("steps/s", "pictures/s", "memory", "TFLOP/s", "150 steps", "speed-up: ", "of a large matrix product"):
        assert line in said.out
    assert "networks in" in said.err
