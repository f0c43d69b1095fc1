"""How steps are made fast, and how fast they are.

Nothing here changes results beyond rounding.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import torch

from transmute.batch import Batch
from transmute.config.base import width_and_height
from transmute.config.training import Recipe, TrainConfig
from transmute.device import select_precision, synchronize
from transmute.methods.base import Method
from transmute.training.trainer import Speed, Trainer

WORTH_COMPILING = 5000
"""Steps from which compiling pays off. On two cores, a CycleGAN of 128 px needs 1000 to do so."""


WARM_UP = 5
"""Steps before the first measurement: compilation, choice of algorithms and graph capture."""


def select_speed(
    config: TrainConfig,
    device: torch.device,
    *,
    steps: int,
    one_size: bool,
    before: Mapping[str, Any] | None = None,
) -> tuple[Speed, str]:
    """Resolves every `auto`, and explains all choices in a line.

    Args:
        steps: Length of the training run.
        one_size: Whether all training images have the same size.
        before: The facts of the previous session. A resumed run keeps its choices on a device of
            the same type.
    """
    cuda = device.type == "cuda"
    known = dict(before) if before and before.get("device_type") == device.type else {}

    def decide(
        setting: str, name: str, impossible: str | None, unwise: str | None, reason: str
    ) -> tuple[bool, str]:
        if impossible and setting != "off":
            return False, impossible
        if setting != "auto":
            return setting == "on", "as requested"
        if name in known:
            return bool(known[name]), "as before"
        return unwise is None, unwise or reason

    precision, why = select_precision(config.precision, device)
    if config.precision == "auto" and "precision" in known:
        precision, why = known["precision"], "as before"
    sizes = None if one_size else "images differ in size"
    short = f"pays off from {WORTH_COMPILING} steps" if steps < WORTH_COMPILING else None
    compiled, why_compiled = decide(config.compile, "compiled", sizes, short, "a long run")
    synchronized = "batch norm is synchronized" if config.sync_batch_norm else None
    no_graph = (synchronized or sizes) if cuda else "needs a GPU"
    captured, why_captured = decide(config.graph, "captured", no_graph, None, "GPU")
    explanation = (
        f"networks in {precision} ({why}), "
        f"{'compiled' if compiled else 'not compiled'} ({why_compiled}), "
        f"{'steps as CUDA graphs' if captured else 'no CUDA graphs'} ({why_captured})"
    )
    return Speed(precision, compiled, captured, concatenated=cuda and one_size), explanation


@contextmanager
def cudnn_settings(*, one_size: bool, deterministic: bool) -> Iterator[None]:
    """Lets cuDNN search for fast algorithms, or makes results bit-identical, for a block."""
    benchmark = torch.backends.cudnn.benchmark
    strictness = torch.get_deterministic_debug_mode()
    torch.backends.cudnn.benchmark = one_size and not deterministic
    if deterministic:
        # Without it, matrix products on a GPU refuse to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_deterministic_debug_mode(strictness)


def time_steps(
    recipe: Recipe,
    device: torch.device,
    speed: Speed,
    *,
    repeats: int,
    say: Callable[[str], None] = print,
) -> list[float]:
    """Measures the training steps of a recipe on random images, after a warm-up.

    Args:
        recipe: Its size must suit its networks.
        device: Where to train.
        speed: How steps are made fast.
        repeats: Number of measurements, each of at least half a second.
        say: Called with a sentence about what could not be made fast.

    Returns:
        Steps per second of each measurement.
    """
    trainer = Trainer(build_method(recipe, device), recipe.optimizer, speed=speed, say=say)
    batches = cycle(random_batches(recipe, device))

    def step() -> None:
        trainer.step(next(batches).parts(recipe.optimizer.accumulate))

    for _ in range(WARM_UP):
        step()
    calls = calls_per_measurement(step, device)
    return [1 / seconds_per_call(step, device, calls) for _ in range(repeats)]


def build_method(recipe: Recipe, device: torch.device) -> Method:
    """The recipe's method on a device, with the weights that its seed gives."""
    torch.manual_seed(recipe.seed)
    return recipe.method.build(*recipe.preprocess.channels, width_and_height(recipe.size)).to(
        device
    )


def random_batches(recipe: Recipe, device: torch.device, count: int = 4) -> list[Batch]:
    """Batches of uniform noise in [-1, 1], with the shapes of the recipe's training images."""
    width, height = width_and_height(recipe.size)

    def noise(depth: int) -> torch.Tensor:
        return torch.rand(recipe.batch, depth, height, width) * 2 - 1

    return [
        Batch(*(noise(depth) for depth in recipe.preprocess.channels)).to(device)
        for _ in range(count)
    ]


def seconds_per_call(run: Callable[[], object], device: torch.device, calls: int) -> float:
    """Mean duration of a call in seconds, including the work that it queues on the device."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def calls_per_measurement(run: Callable[[], object], device: torch.device) -> int:
    """How many calls take about half a second, at least one."""
    return max(1, round(0.5 / seconds_per_call(run, device, 1)))
