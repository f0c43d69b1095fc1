"""`transmute bench`, and the measurement of training steps that it prints."""

from __future__ import annotations

import json
import time

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN
from transmute.cli import run_command
from transmute.errors import UserError
from transmute.training.speed import random_batches, seconds_per_call, time_steps
from transmute.training.trainer import Speed

TINY = [
    "bench",
    *("--method", "cyclegan"),
    *("--size", "16"),
    *("--method.generator.width", "4"),
    *("--method.generator.blocks", "1"),
    *("--method.discriminator.layers", "1"),
    *("--repeats", "2"),
    *("--device", "cpu"),
    *("--compile", "off"),
]
CPU = torch.device("cpu")


def test_every_repeat_is_a_measurement() -> None:
    speeds = time_steps(TINY_CYCLEGAN, CPU, Speed(), repeats=3)
    assert len(speeds) == 3
    assert min(speeds) > 0


def test_seconds_per_call_is_the_mean_over_the_calls() -> None:
    durations = iter([0.0, 0.03])
    seconds = seconds_per_call(lambda: time.sleep(next(durations)), CPU, 2)
    # A sleep is never shorter than requested; a busy machine may make it longer.
    assert 0.015 <= seconds < 1


def test_random_batches_have_the_shapes_and_range_of_training_images() -> None:
    changes = {"size": "16x32", "batch": 3, "preprocess": {"channels_a": 1}}
    batches = random_batches(TINY_CYCLEGAN.updated(changes), CPU, count=2)
    assert len(batches) == 2
    for batch in batches:
        assert batch.a.shape == (3, 1, 32, 16)
        assert batch.b.shape == (3, 3, 32, 16)
        assert -1 <= batch.b.min() < -0.9
        assert 0.9 < batch.b.max() <= 1


def test_accumulated_steps_can_be_timed() -> None:
    recipe = TINY_CYCLEGAN.updated({"optimizer": {"accumulate": 2}})
    assert time_steps(recipe, CPU, Speed(), repeats=1)[0] > 0


def test_bench_prints_one_json_object(capsys: pytest.CaptureFixture) -> None:
    assert run_command([*TINY, "--precision", "bfloat16", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    slowest, fastest = result["steps_per_second_spread"]
    assert 0 < slowest <= result["steps_per_second"] <= fastest
    expected = {
        "method": "cyclegan",
        "size": "16x16",
        "batch": 1,
        "precision": "bfloat16",
        "compiled": False,
        "captured": False,
        "repeats": 2,
        "peak_memory_bytes": None,
        "recipe_steps": 200 * 1334,
    }
    assert {name: result[name] for name in expected} == expected
    assert result["device"].startswith("cpu")
    assert result["images_per_second"] == result["steps_per_second"]
    assert result["recipe_seconds"] == pytest.approx(
        result["recipe_steps"] / result["steps_per_second"]
    )


def test_bench_prints_a_table_and_the_length_of_the_recipe(capsys: pytest.CaptureFixture) -> None:
    assert run_command([*TINY, "--images", "100", "--epochs", "3", "--batch", "2"]) == 0
    printed = capsys.readouterr()
    for text in ("steps/s", "images/s", "150 steps"):
        assert text in printed.out
    assert "networks in" in printed.err


def test_bench_refuses_a_size_that_does_not_suit_the_networks() -> None:
    with pytest.raises(UserError, match=r"not a multiple of 4.*Use 28x28 or 32x32"):
        run_command(["bench", "--size", "30"])
    with pytest.raises(UserError, match="too small"):
        run_command(["bench", "--size", "16"])
