"""How a step is made fast: what is chosen for a device and a training, and why. Nothing of it changes what is computed, but for rounding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from transmute.devices import chosen_precision
from transmute.training.config import TrainConfig

WORTH_COMPILING = 5000
"""Steps from which on a minute or two of compiling has surely paid: on two cores, a CycleGAN of 128 px wins it back in about 1000."""


@dataclass(frozen=True)
class Speed:
    """What makes a step fast.

    Attributes:
        precision: float32 or bfloat16: what networks compute in; weights and losses stay float32.
        compiled: Networks are compiled by torch.
        captured: A whole step is replayed as CUDA graphs.
        joined: Passes of one network over several batches are made as one.
    """

    precision: str = "float32"
    compiled: bool = False
    captured: bool = False
    joined: bool = False

    @property
    def autocast(self) -> torch.dtype | None:
        """What autocast computes in, or None for no autocast."""
        return torch.bfloat16 if self.precision == "bfloat16" else None


def chosen_speed(
    config: TrainConfig, device: torch.device, *, steps: int, one_size: bool, before: Mapping[str, Any] | None = None
) -> tuple[Speed, str]:
    """What to do where `auto` was asked for, and all of it in a line with its reasons.

    Args:
        steps: Of the whole training.
        one_size: Whether all pictures that training sees have the same size.
        before: The facts of the session before; a continued run stays with what it began with, on a device of the same type.
    """
    cuda = device.type == "cuda"
    known = dict(before) if before and before.get("device_type") == device.type else {}

    def said(asked: str, name: str, never: str | None, rather_not: str | None, otherwise: str) -> tuple[bool, str]:
        if asked == "off" or never:
            return False, "as asked" if asked == "off" else str(never)
        if asked == "on":
            return True, "as asked"
        if name in known:
            return bool(known[name]), "as before"
        return rather_not is None, rather_not or otherwise

    precision, why = chosen_precision(config.precision, device)
    if config.precision == "auto" and "precision" in known:
        precision, why = known["precision"], "as before"
    uncompilable = None if one_size else "pictures differ in size"
    too_short = f"pays from {WORTH_COMPILING} steps on" if steps < WORTH_COMPILING else None
    compiled, why_compiled = said(config.compile, "compiled", uncompilable, too_short, "a long training")
    uncapturable = "only a GPU can" if not cuda else "batch norm is synchronized" if config.sync_batch_norm else uncompilable
    captured, why_captured = said(config.graph, "captured", uncapturable, None, "this GPU can")
    line = (
        f"networks in {precision} ({why}), {'compiled' if compiled else 'not compiled'} ({why_compiled}), "
        f"{'steps as CUDA graphs' if captured else 'no CUDA graph'} ({why_captured})"
    )
    return Speed(precision, compiled, captured, joined=cuda and one_size), line


@contextmanager
def algorithms_for(*, one_size: bool, deterministic: bool) -> Iterator[None]:
    """Lets cuDNN search for its fastest algorithms, or makes reruns bit-equal, for as long as a training lasts."""
    benchmark, strict, warning = (
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.backends.cudnn.benchmark = one_size and not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, matrix products on a GPU refuse to be deterministic
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(strict, warn_only=warning)
