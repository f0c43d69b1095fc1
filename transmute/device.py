"""Choosing a device and a precision, and checking that the device computes correctly."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transmute.errors import RankError, UserError, first_line
from transmute.gpu import GPU, Build, find_gpu, has_kernels, suitable_build, unused_gpu


def select_device(name: str, count: int = 1) -> torch.device:
    """Returns a device.

    Args:
        name: auto, cpu, cuda, or cuda:N for GPU N. auto is cuda if there is a GPU.
        count: Number of devices needed.

    Raises:
        UserError: If there is no such device, or fewer GPUs than needed.
    """
    match = re.fullmatch("auto|cpu|cuda(?::(0|[1-9][0-9]*))?", name)
    if match is None:
        raise UserError(
            f"`device={name}` is not a device. Choose one of: auto, cpu, cuda, or cuda:N for GPU N"
        )
    if match[1] and count > 1:
        raise UserError(
            f"`device={name}` is a single GPU, but `devices={count}` needs {count}. Set "
            "`device=cuda`, or omit `devices`"
        )
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name.startswith("cuda") and not available:
        problem = unused_gpu(find_gpu(), Build.installed())
        raise UserError(
            f"`device={name}` needs a GPU that torch can use. "
            + (problem or "This machine has none. Set `device=cpu`")
        )
    if match[1] and int(match[1]) >= available:
        known = ", ".join(f"cuda:{number}" for number in range(available))
        raise UserError(
            f"`device={name}` does not exist: the number of GPUs is {available}. Choose one of: "
            f"{known}"
        )
    selected = name if name != "auto" else ("cuda" if available else "cpu")
    if selected == "cuda" and count > available:
        raise UserError(
            f"{count} devices are needed, but the number of GPUs is {available}. Lower "
            "`devices`, or set `device=cpu`"
        )
    cores = os.cpu_count() or 1
    if selected == "cpu" and count > 4 * cores:
        raise UserError(
            f"`devices={count}` starts a process for each, but this machine has {cores} CPU cores. "
            f"Set `devices` to {cores} or less"
        )
    return torch.device(selected)


_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|could not create a (primitive|memory)|bad_alloc"
)
"""Messages of torch's CPU allocator, of oneDNN (which also needs memory for code), and of C++."""


@contextmanager
def out_of_memory_reported(advice: str) -> Iterator[None]:
    """Turns the errors of torch, numpy and Python about a lack of memory into one sentence.

    Args:
        advice: What to do, as a sentence without a period.

    Raises:
        RankError: If memory runs out in the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacks = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not lacks and not _OUT_OF_MEMORY.search(str(error)):
            raise
        detail = " ".join(first_line(error).split())[:200]
        raise RankError(f"memory ran out ({detail}). {advice}") from None


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU with an index the current one in a block.

    torch creates streams and CUDA graphs on the current GPU, not on that of the tensors.
    """
    return nullcontext() if device.index is None else torch.cuda.device(device)


def select_precision(precision: str, device: torch.device) -> tuple[str, str]:
    """Returns float32 or bfloat16, and the reason.

    Args:
        precision: auto, float32 or bfloat16. auto is bfloat16 if the device is fast at it.
        device: The device.
    """
    if precision != "auto":
        return precision, "as set"
    if device.type == "cuda":
        kind, fast = "GPU", torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.8
        kind, fast = "CPU", capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    if fast:
        return "bfloat16", f"this {kind} is fast at it"
    return "float32", f"this {kind} has no fast bfloat16"


def device_name(device: torch.device) -> str:
    """The name of a GPU, or cpu with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def synchronize(device: torch.device) -> None:
    """Blocks until the work queued on a device finishes (for timing)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        name: The checked property.
        result: The finding.
        ok: Whether the finding is good; None if it does not matter.
        advice: Advice if it is not good, or the benefit of an optional package.
    """

    name: str
    result: str
    ok: bool | None = None
    advice: str = ""


def check_kernels(device: torch.device) -> Iterator[Check]:
    """Checks whether this build of torch has code for a GPU. Nothing for other devices."""
    if device.type == "cuda" and not torch.version.hip:  # AMD's GPUs have other names and rules
        capability, built_for = torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()
        yield Check(
            "kernels",
            f"GPU of capability {capability[0]}.{capability[1]}, torch built for "
            f"{', '.join(built_for)}",
            has_kernels(capability, built_for),
            "This build of torch fails on this GPU, or computes black images. "
            + suitable_build(find_gpu() or GPU("", capability=capability)),
        )


def _convolution(images: Tensor, kernel: Tensor) -> Tensor:
    return nn.functional.conv2d(nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), kernel)


def _instance_norm(images: Tensor, _: Tensor) -> Tensor:
    return nn.functional.instance_norm(images + 3)


def check_numbers(device: torch.device, *, bfloat16: bool = True) -> Iterator[Check]:
    """Compares a convolution and an instance norm with float64 on the CPU. Takes milliseconds.

    Args:
        device: The device.
        bfloat16: Check a convolution in bfloat16 too.
    """
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 32, 32, generator=random, dtype=torch.float64)
    kernel = torch.randn(16, 8, 3, 3, generator=random, dtype=torch.float64) / 72**0.5
    # GPUs may use TF32 for float32, with 10 bits and so errors of 5e-4; bfloat16 has 7, so 4e-3.
    cases = (
        ("convolution", _convolution, torch.float32, 5e-3),
        ("instance norm", _instance_norm, torch.float32, 1e-3),
        ("bfloat16", _convolution, torch.bfloat16, 3e-2),
    )
    for name, function, dtype, tolerance in cases[: 3 if bfloat16 else 2]:
        yield compare(name, function, (images, kernel), device, dtype, tolerance)


def compare(
    name: str,
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    device: torch.device,
    dtype: torch.dtype,
    tolerance: float,
) -> Check:
    """Compares the result of a function with that in float64 on the CPU.

    Args:
        name: Name of the check.
        function: Computes a tensor from `tensors`, on their device and in their type.
        tensors: The arguments of the function, in float64 on the CPU.
        device, dtype: Where and how the result is computed.
        tolerance: Largest relative error (of norms) that is good.
    """
    expected = function(*tensors)
    try:
        output = function(*(tensor.to(device, dtype) for tensor in tensors)).double().cpu()
        error = ((output - expected).norm() / expected.norm()).item()
        result, problem = f"relative error {error:.1e} on {device}", "computes this wrongly"
    except RuntimeError as exception:
        error, result, problem = float("nan"), first_line(exception), "cannot compute this"
    return Check(
        name,
        result,
        error < tolerance,  # False if it is NaN
        f"{device} {problem}. Install another build of torch, or set `device=cpu`",
    )


def require_working(device: torch.device, *, bfloat16: bool = True) -> None:
    """Checks the device before training starts.

    Raises:
        RankError: If a check fails.
    """
    for check in [*check_kernels(device), *check_numbers(device, bfloat16=bfloat16)]:
        if check.ok is False:
            raise RankError(f"{check.name}: {check.result}. {check.advice}")
