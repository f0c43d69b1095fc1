"""Compares training steps with the reference's in alternation, and with the machine's limit."""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import Reference
from transmute.config.training import Recipe
from transmute.training.speed import (
    WARM_UP,
    build_method,
    calls_per_measurement,
    random_batches,
    seconds_per_call,
)
from transmute.training.trainer import Speed, Trainer


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of a quantity over the pairs."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """Training steps of Transmute and of the reference.

    Attributes:
        steps_per_second: Transmute's.
        reference_steps_per_second: The reference's.
        speedup: Reference seconds divided by Transmute's seconds, within each pair.
        memory: Peak bytes of tensors: weights, optimizer state, and what a step needs.
        reference_memory: The same for the reference.
        step_flops: Floating-point operations of one step in convolutions and matrix products.
        ceiling: Floating-point operations per second of a large matrix product on this device, in
            the precision of Transmute's networks.
    """

    steps_per_second: Spread
    reference_steps_per_second: Spread
    speedup: Spread
    memory: int
    reference_memory: int
    step_flops: int
    ceiling: float

    @property
    def share_of_ceiling(self) -> float:
        """Fraction of the ceiling that Transmute's step reaches."""
        return self.steps_per_second.median * self.step_flops / self.ceiling


def compare(
    recipe: Recipe,
    device: torch.device,
    speed: Speed,
    *,
    pairs: int,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Measures Transmute's step and the reference's in alternation.

    Both train networks with equal initial weights on the same random images.

    Args:
        recipe: Its size must suit its networks.
        device: Where both train.
        speed: How Transmute's steps are made fast.
        pairs: Number of measurements of each; the order alternates from pair to pair.
        say: Called with a sentence about what could not be made fast.
    """
    torch.manual_seed(recipe.seed)
    batches = random_batches(recipe, device)

    before = _allocated(device)
    reference = Reference(build_method(recipe, device), recipe.optimizer)
    reference_batches = cycle(batches)

    def reference_step() -> None:
        reference.step(next(reference_batches))

    with FlopCounterMode(display=False) as counter:
        reference_step()
    reference_memory = _peak_memory(reference_step, reference.state, device, before)

    before = _allocated(device)
    trainer = Trainer(build_method(recipe, device), recipe.optimizer, speed=speed, say=say)
    trainer_batches = cycle(batches)

    def step() -> None:
        trainer.step(next(trainer_batches).parts(recipe.optimizer.accumulate))

    for _ in range(WARM_UP):
        step()
    memory = _peak_memory(step, lambda: list(trainer.state_dict().values()), device, before)

    calls = calls_per_measurement(step, device)
    seconds, reference_seconds = [], []
    for pair in range(pairs):
        turns = [(step, seconds), (reference_step, reference_seconds)]
        for run, durations in turns if pair % 2 == 0 else turns[::-1]:
            durations.append(seconds_per_call(run, device, calls))
    dtype = torch.bfloat16 if speed.precision == "bfloat16" else torch.float32
    return Comparison(
        Spread.of([1 / value for value in seconds]),
        Spread.of([1 / value for value in reference_seconds]),
        Spread.of([theirs / own for own, theirs in zip(seconds, reference_seconds, strict=True)]),
        memory,
        reference_memory,
        counter.get_total_flops(),
        matrix_product_rate(device, dtype),
    )


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large square matrix product.

    On a GPU, float32 means TF32, as in its convolutions.
    """
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)

    def seconds(side: int, calls: int) -> float:
        return seconds_per_call(
            lambda: torch.mm(left[:side, :side], right[:side, :side]), device, calls
        )

    # A CPU without bfloat16 instructions takes minutes for the large product.
    if 8**3 * seconds(side // 8, 3) > 1:
        side //= 8
    seconds(side, 3)
    duration = median(seconds(side, 5) for _ in range(5))
    torch.set_float32_matmul_precision(before)
    return 2 * side**3 / duration


def _allocated(device: torch.device) -> int:
    """Bytes of tensors on a GPU before a measurement of the peak starts; 0 on a CPU."""
    gc.collect()
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak_memory(
    step: Callable[[], None], state: Callable[[], list[Tensor]], device: torch.device, before: int
) -> int:
    """Runs one more step, and returns the peak of the bytes that tensors occupy.

    On a GPU this is the peak since `_allocated`, less what was allocated `before`. On a CPU, torch
    has no such counter: the profiler records the allocations of the step, which are added to the
    `state` that is kept between steps.
    """
    if device.type == "cuda":
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    allocations = [event for event in events if event.get("name") == "[memory]"]
    current = peak = 0
    for event in sorted(allocations, key=lambda event: event["ts"]):
        current += event["args"]["Bytes"]
        peak = max(peak, current)
    return peak + sum(tensor.nbytes for tensor in state())
