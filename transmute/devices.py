"""Which device computes."""

from __future__ import annotations

import torch

from transmute.settings import UserError


def chosen_device(device: str, count: int = 1) -> str:
    """cuda or cpu; auto is cuda where there is a GPU.

    Args:
        device: auto, cpu or cuda.
        count: Devices needed at once.

    Raises:
        UserError: If GPUs were asked for and there are too few.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and not available:
        raise UserError("no CUDA device can be used here: run on the CPU with --device cpu, or install a build of torch with CUDA")
    chosen = device if device != "auto" else ("cuda" if available else "cpu")
    if chosen == "cuda" and count > available:
        raise UserError(f"{count} devices were asked for, but there are {available} GPUs: lower --devices, or run on the CPU with --device cpu")
    return chosen
