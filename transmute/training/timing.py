"""Times the training steps of a recipe on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import torch

from transmute.batch import Batch
from transmute.config.base import width_and_height
from transmute.config.training import Recipe
from transmute.methods.base import Method
from transmute.training.speed import Speed
from transmute.training.trainer import Trainer

WARM_UP = 5
"""Steps before the first measurement: compilation, choice of algorithms and graph capture."""


@dataclass(frozen=True)
class StepTiming:
    """Training steps per second over several repeats.

    Attributes:
        steps_per_second: Median of the repeats.
        slowest: Steps per second of the slowest repeat.
        fastest: Steps per second of the fastest repeat.
        peak_memory: Largest number of bytes that tensors occupied at once on a GPU; None on a CPU,
            where torch keeps no such count.
    """

    steps_per_second: float
    slowest: float
    fastest: float
    peak_memory: int | None


def time_steps(
    recipe: Recipe,
    device: torch.device,
    speed: Speed,
    *,
    repeats: int,
    say: Callable[[str], None] = print,
) -> StepTiming:
    """Measures the training steps of a recipe on random images, after a warm-up.

    Args:
        recipe: Its size must suit its networks.
        device: Where to train.
        speed: How steps are made fast.
        repeats: Number of measurements, each of at least half a second.
        say: Called with a sentence about what could not be made fast.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainer = Trainer(build_method(recipe, device), recipe.optimizer, speed=speed, say=say)
    batches = cycle(random_batches(recipe, device))

    def step() -> None:
        trainer.step(next(batches).parts(recipe.optimizer.accumulate))

    for _ in range(WARM_UP):
        step()
    calls = calls_per_measurement(step, device)
    seconds = [seconds_per_call(step, device, calls) for _ in range(repeats)]
    peak_memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return StepTiming(1 / median(seconds), 1 / max(seconds), 1 / min(seconds), peak_memory)


def build_method(recipe: Recipe, device: torch.device) -> Method:
    """The recipe's method on a device, with the weights that its seed gives."""
    torch.manual_seed(recipe.seed)
    channels = recipe.preprocess.channels_a, recipe.preprocess.channels_b
    return recipe.method.build(*channels, width_and_height(recipe.size)).to(device)


def random_batches(recipe: Recipe, device: torch.device, count: int = 4) -> list[Batch]:
    """Batches of uniform noise in [-1, 1], with the shapes of the recipe's training images."""
    width, height = width_and_height(recipe.size)
    channels = recipe.preprocess.channels_a, recipe.preprocess.channels_b

    def noise(depth: int) -> torch.Tensor:
        return torch.rand(recipe.batch, depth, height, width) * 2 - 1

    return [Batch(*(noise(depth) for depth in channels)).to(device) for _ in range(count)]


def seconds_per_call(run: Callable[[], object], device: torch.device, calls: int) -> float:
    """Mean duration of a call in seconds, including the work that it queues on the device."""
    _wait_for(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _wait_for(device)
    return (time.perf_counter() - start) / calls


def calls_per_measurement(run: Callable[[], object], device: torch.device) -> int:
    """How many calls take about half a second, at least one."""
    return max(1, round(0.5 / seconds_per_call(run, device, 1)))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
