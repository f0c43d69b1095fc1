"""Which device computes, and in what precision."""

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


def chosen_precision(precision: str, device: torch.device) -> tuple[str, str]:
    """float32 or bfloat16, and why; auto is bfloat16 where the device is fast at it."""
    if precision != "auto":
        return precision, "as asked"
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bfloat16", "this GPU is fast at it") if fast else ("float32", "this GPU has no fast bfloat16")
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # newer than torch 2.8
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return "bfloat16", "this CPU is fast at it"
    return "float32", "this CPU has no fast bfloat16"
