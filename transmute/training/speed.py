"""How steps are made fast, and why. None of it changes results beyond rounding."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from transmute.config.training import TrainConfig
from transmute.device import select_precision

WORTH_COMPILING = 5000
"""Steps from which compiling pays off. On two cores, a CycleGAN of 128 px needs 1000 to do so."""


@dataclass(frozen=True)
class Speed:
    """How steps are made fast.

    Attributes:
        precision: float32 or bfloat16, for the networks; weights and losses stay float32.
        compiled: Networks are compiled by torch.
        captured: Whole steps are replayed as CUDA graphs.
        concatenated: A network's passes over several batches are made as one.
    """

    precision: str = "float32"
    compiled: bool = False
    captured: bool = False
    concatenated: bool = False

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype of autocast, or None for no autocast."""
        return torch.bfloat16 if self.precision == "bfloat16" else None


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
