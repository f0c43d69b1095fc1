"""An estimate of the memory that training needs, made without allocating it."""

import math
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from transmute.batch import Batch
from transmute.config.training import Recipe
from transmute.errors import UserError
from transmute.memory import free_memory, gibibytes
from transmute.methods.base import Method, Network, Update


@dataclass(frozen=True)
class Estimate:
    """Memory of one process, in bytes.

    Attributes:
        parameters: The number of weights of each network, and its kind.
        state: Weights, gradients, Adam's moments, averaged weights and image histories.
        activations: Values that the backward pass needs, at most at one time.
        largest: The largest of these values. Gradients of its size come on top.
    """

    parameters: dict[str, tuple[int, str]]
    state: int
    activations: int
    largest: int

    @property
    def least(self) -> int:
        """Memory without which training surely fails."""
        return self.state + self.activations

    @property
    def usual(self) -> int:
        """Memory that training takes, without what torch itself takes."""
        return self.least + 3 * self.largest

    def __str__(self) -> str:
        return (
            f"about {gibibytes(self.usual)} (networks and optimizer {gibibytes(self.state)}, "
            f"activations {gibibytes(self.usual - self.state)})"
        )


class _Saved:
    """A tensor that the backward pass needs. Its memory counts until it is freed."""

    def __init__(self, tensor: Tensor, counter: "_Counter") -> None:
        self.tensor = tensor
        storage = tensor.untyped_storage()
        weakref.finalize(self, counter.freed, counter.saved(storage), storage.nbytes())


class _Counter:
    """Counts the bytes of saved tensors, each storage once."""

    def __init__(self, known: set[StorageWeakRef]) -> None:
        self.known, self.uses = known, Counter[StorageWeakRef]()
        self.now = self.peak = self.largest = 0

    def saved(self, storage: torch.UntypedStorage) -> StorageWeakRef:
        key = StorageWeakRef(storage)
        if key not in self.known:
            self.uses[key] += 1
            self.now += storage.nbytes() * (self.uses[key] == 1)
            self.peak = max(self.peak, self.now)
            self.largest = max(self.largest, storage.nbytes())
        return key

    def freed(self, key: StorageWeakRef, size: int) -> None:
        if key not in self.known:
            self.uses[key] -= 1
            self.now -= size * (self.uses[key] == 0)


def estimate(
    recipe: Recipe,
    size: tuple[int, int],
    *,
    processes: int = 1,
    precision: str = "float32",
    activations: bool = True,
) -> Estimate | None:
    """Estimates the memory of each process by one step on torch's meta device.

    On a CPU, real peaks were between 0.99 and 1.21 times the estimate (benchmarks/memory.py). Not
    counted: torch itself (0.3 GB, with CUDA 0.5 to 1 GB), what convolutions need while they
    compute, and CUDA graphs.

    Args:
        recipe: The recipe.
        size: (width, height) of the largest training images.
        processes: Number of processes, which share a batch.
        precision: float32 or bfloat16, in which activations take half the memory.
        activations: Whether to count activations, which takes a second.

    Returns:
        None if a user-defined method cannot compute without values.

    Raises:
        UserError: If the method cannot be built.
    """
    channels, micro_batches = recipe.preprocess.channels, recipe.optimizer.accumulate
    count = max(1, recipe.batch // processes // micro_batches)
    counter = _Counter(set())
    with torch.device("meta"):
        method = recipe.method.build(*channels, size)
        # Large batches take long, and activations are proportional to the number of images.
        few = min(count, 4)
        a, b = (torch.empty(few, number, *size[::-1]) for number in channels)
        if activations:
            try:
                counter = _activations(method, [Batch(a, b)] * micro_batches)
            except (NotImplementedError, RuntimeError, TypeError, ValueError):
                return None
    weights = _bytes(method.parameters())
    generators = sum(_bytes(one.parameters()) for one in method.generators.values())
    averages = generators * bool(recipe.optimizer.ema)
    scale = count / few * (0.5 if precision == "bfloat16" else 1)
    return Estimate(
        {name: _described(network) for name, network in method.networks.items()},
        # Gradients of one player exist at a time, and the generators are usually the larger one.
        3 * weights + generators + averages + _bytes(method.buffers()),
        round(scale * counter.peak),
        round(scale * counter.largest),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _activations(method: Method, batches: list[Batch]) -> _Counter:
    """Runs one step as the trainer does, and counts what is saved for backward passes."""
    counter = _Counter({StorageWeakRef(one.untyped_storage()) for one in method.parameters()})
    with saved_tensors_hooks(lambda tensor: _Saved(tensor, counter), lambda saved: saved.tensor):
        steps = [method.step(batch) for batch in batches]
        while [_backward(step) for step in steps][-1]:
            method.zero_grad()
    return counter


def _backward(step: Iterator[Update]) -> bool:
    """Advances a step to its next update, if there is one, and computes its gradients."""
    update = next(step, None)
    if update is None:
        return False
    torch.stack(list(update.losses.values())).sum().backward(inputs=update.player.parameters)
    return True


def _described(network: Network) -> tuple[int, str]:
    number = sum(parameter.numel() for parameter in network.module.parameters())
    return number, str(network.config.name)


def require_memory(
    recipe: Recipe,
    size: tuple[int, int],
    device: torch.device,
    *,
    processes: int = 1,
    precision: str = "float32",
    thorough: bool = True,
) -> Estimate | None:
    """Refuses a recipe that surely does not fit in memory.

    Args:
        recipe, size, precision: As for `estimate`.
        device: Device of one process.
        processes: Processes that share the memory of this machine.
        thorough: Count activations also if the recipe is obviously small.

    Returns:
        The estimate for one process, if it was made.

    Raises:
        UserError: If it does not fit.
    """
    make = partial(estimate, recipe, size, processes=processes, precision=precision)
    networks, pixels = make(activations=False), recipe.batch * math.prod(size)
    _require_available(networks, recipe, device, processes)
    if networks and (thorough or networks.state > 2**28 or pixels > 2**15):
        whole = make()
        _require_available(whole, recipe, device, processes)
        return whole
    return None


def _require_available(
    needed: Estimate | None, recipe: Recipe, device: torch.device, processes: int
) -> None:
    if needed is None:
        return
    free, least = available(device), needed.least * (processes if device.type == "cpu" else 1)
    if least > free:
        raise UserError(
            f"this recipe needs more than {gibibytes(least)} of memory, but {gibibytes(free)} are "
            f"available. {advice(recipe)}"
        )


def available(device: torch.device) -> float:
    """Memory in bytes: all of a GPU, or what is free for processes on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return free_memory()


def advice(recipe: Recipe) -> str:
    """Settings that lower the memory of a recipe."""
    settings = ["a smaller `size`"]
    share = recipe.batch // recipe.optimizer.accumulate
    if share > 1:
        settings += ["a smaller `batch`", f"`optimizer.accumulate={recipe.batch}`"]
    if dict(recipe.method).get("history"):
        settings.append("`method.history=0`")
    if "width" in dict(dict(recipe.method).get("generator", {})):
        settings.append("a smaller network (`method.generator.width`)")
    return (
        f"Use {', '.join(settings[:-1])} or {settings[-1]}"
        if settings[1:]
        else (f"Use {settings[0]}")
    )
