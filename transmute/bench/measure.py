"""Times training steps in pairs, ours and the reference's by turns, and sets them beside what the machine can do."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from transmute.batch import Batch
from transmute.bench.reference import Reference
from transmute.methods.base import Method
from transmute.settings import width_and_height
from transmute.training.config import Recipe
from transmute.training.speed import Speed
from transmute.training.trainer import Trainer

WARM_UP = 5
"""Steps before any clock is read: compiling, choosing algorithms, capturing."""


@dataclass(frozen=True)
class Timing:
    """Steps per second of one kind of step.

    Attributes:
        median, least, most: Over the pairs.
        memory: Bytes of tensors held at once, at most: weights, moments and what a step needs.
    """

    median: float
    least: float
    most: float
    memory: int


@dataclass(frozen=True)
class Comparison:
    """Ours beside the reference.

    Attributes:
        speedup, speedup_least, speedup_most: Reference seconds over our seconds, of steps one after the other: median, range over the pairs.
        step_flops: Floating-point operations of one step: products and sums of convolutions and matrix products.
        ceiling_flops: Floating-point operations a second of a large matrix product here, in our precision.
    """

    ours: Timing
    reference: Timing
    speedup: float
    speedup_least: float
    speedup_most: float
    step_flops: int
    ceiling_flops: float

    @property
    def share_of_ceiling(self) -> float:
        """How much of the matrix-product rate our step reaches."""
        return self.ours.median * self.step_flops / self.ceiling_flops


def compare(recipe: Recipe, device: torch.device, speed: Speed, *, pairs: int, say: Callable[[str], None]) -> Comparison:
    """Times a recipe's step against the reference's, with equal networks and the same pictures (of noise).

    Args:
        pairs: How often each is timed, for at least half a second on a GPU.
    """
    torch.manual_seed(recipe.seed)
    size, channels = width_and_height(recipe.size), (recipe.preprocess.channels_a, recipe.preprocess.channels_b)
    batches = [_noise(recipe.batch, channels, size).to(device) for _ in range(4)]

    peak = _Peak(device)
    reference = Reference(_built(recipe, size, channels, device), recipe.optimizer)
    run_reference = _cycling(reference.step, batches)
    with FlopCounterMode(display=False) as counter:
        run_reference()
    step_flops = counter.get_total_flops()
    reference_memory = peak.bytes_of(run_reference, reference.state)

    peak = _Peak(device)
    trainer = Trainer(_built(recipe, size, channels, device), recipe.optimizer, speed=speed, say=say)
    run_ours = _cycling(lambda batch: trainer.step(batch.parts(recipe.optimizer.accumulate)), batches)
    for _ in range(WARM_UP):
        run_ours()
    ours_memory = peak.bytes_of(run_ours, lambda: list(trainer.state_dict().values()))

    repeats = _repeats(run_ours, device)
    ours, others = [], []
    for pair in range(pairs):
        turns = [(run_reference, others), (run_ours, ours)]
        for run, seconds in turns if pair % 2 else turns[::-1]:
            seconds.append(_seconds(run, device, repeats))
    ratios = [other / own for own, other in zip(ours, others, strict=True)]
    return Comparison(
        _timing(ours, ours_memory),
        _timing(others, reference_memory),
        median(ratios),
        min(ratios),
        max(ratios),
        step_flops,
        ceiling(device, torch.bfloat16 if speed.autocast else torch.float32),
    )


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product; float32 is TF32 on a GPU, as in its convolutions."""
    side = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)

    def seconds_of(side: int, repeats: int) -> float:
        return _seconds(lambda: torch.mm(one[:side, :side], other[:side, :side]), device, repeats)

    if 8**3 * seconds_of(side // 8, 3) > 1:  # a CPU without bfloat16 takes minutes for the large one
        side //= 8
    seconds_of(side, 3)
    seconds = median(seconds_of(side, 5) for _ in range(5))
    torch.set_float32_matmul_precision(before)
    return 2 * side**3 / seconds


def _built(recipe: Recipe, size: tuple[int, int], channels: tuple[int, int], device: torch.device) -> Method:
    torch.manual_seed(recipe.seed)
    return recipe.method.build(*channels, size).to(device)


def _noise(count: int, channels: tuple[int, int], size: tuple[int, int]) -> Batch:
    a, b = (torch.rand(count, depth, size[1], size[0]) * 2 - 1 for depth in channels)
    return Batch(a, b)


def _cycling(step: Callable[[Batch], object], batches: Sequence[Batch]) -> Callable[[], object]:
    """The step with the next of the batches, each time."""
    calls = 0

    def run() -> object:
        nonlocal calls
        calls += 1
        return step(batches[calls % len(batches)])

    return run


def _seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Mean seconds of a call, until the device is done."""
    _finish(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    _finish(device)
    return (time.perf_counter() - start) / repeats


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _repeats(run: Callable[[], object], device: torch.device) -> int:
    """So many that half a second is timed."""
    return max(1, round(0.5 / _seconds(run, device, 1)))


def _timing(seconds: Sequence[float], memory: int) -> Timing:
    return Timing(1 / median(seconds), 1 / max(seconds), 1 / min(seconds), memory)


class _Peak:
    """How many bytes the tensors that are made from now on take at once, at most.

    Of what lies on the CPU, torch keeps no such count: there the allocations of a step are followed from what lies there before it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            self.before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)

    def bytes_of(self, run: Callable[[], object], state: Callable[[], list[torch.Tensor]]) -> int:
        """Runs a step once more; `state` is what lies in memory between two steps."""
        if self.device.type == "cuda":
            run()
            return torch.cuda.max_memory_allocated(self.device) - self.before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run()
        held = largest = 0
        for event in seen.profiler.kineto_results.events():  # pyright: ignore[reportOptionalMemberAccess]
            if event.name() == "[memory]":
                held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
                largest = max(largest, held)
        return largest + sum(tensor.nbytes for tensor in state())
