"""Whether a device computes what it should: old builds of torch on new GPUs give black pictures, or none, without a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transmute.settings import OwnError, first_line


@dataclass(frozen=True)
class Check:
    """Something that was looked at.

    Attributes:
        name: What.
        found: How it is.
        well: Whether that is as it should be; None where it may be either way.
        advice: What to do where it is not, or what it would give.
    """

    name: str
    found: str
    well: bool | None = None
    advice: str = ""


def has_kernels(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a build of torch can run on a GPU.

    Machine code (`sm_80`) runs on GPUs of the same major version and of its minor version or later; code with an `a` (`sm_90a`)
    on that version alone; PTX (`compute_80`) is translated for any later GPU.

    Args:
        capability: The GPU's compute capability, such as (8, 6).
        built_for: What `torch.cuda.get_arch_list()` says.
    """
    for architecture in built_for:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)(a?)f?", architecture)
        if match is None:
            continue
        kind, letter, version = match[1], match[4], (int(match[2]), int(match[3]))
        if version == capability or (kind == "compute" and version <= capability and not letter):
            return True
        if kind == "sm" and not letter and version[0] == capability[0] and version[1] <= capability[1]:
            return True
    return False


def check_kernels(device: torch.device) -> list[Check]:
    """Whether this build of torch has code for a GPU; nothing on other devices."""
    if device.type != "cuda" or torch.version.hip:  # AMD's have other names, and others rules
        return []
    capability, built_for = torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()
    found = f"GPU of capability {capability[0]}.{capability[1]}, torch built for {', '.join(built_for)}"
    advice = "install a build of torch for this GPU (https://pytorch.org/get-started): this one computes nothing, or black pictures, on it"
    return [Check("kernels", found, has_kernels(capability, built_for), advice)]


def check_numbers(device: torch.device, *, bfloat16: bool = True) -> list[Check]:
    """A convolution and an instance norm, and the convolution in bfloat16, against float64 on the CPU; milliseconds."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 32, 32, generator=random, dtype=torch.float64)
    kernel = torch.randn(16, 8, 3, 3, generator=random, dtype=torch.float64) / 72**0.5

    def convolution(images: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), kernel)

    def normalization(images: Tensor, kernel: Tensor) -> Tensor:
        return F.instance_norm(images + 3)

    # TF32, which GPUs may use for float32, has 10 bits, so errors of 5e-4; bfloat16 has 7, so 4e-3
    cases: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor], torch.dtype, float], ...] = (
        ("convolution", convolution, torch.float32, 5e-3),
        ("instance norm", normalization, torch.float32, 1e-3),
        ("bfloat16", convolution, torch.bfloat16, 3e-2),
    )[: 3 if bfloat16 else 2]
    checks = []
    for name, function, dtype, most in cases:
        expected = function(images, kernel)
        try:
            found = function(images.to(device, dtype), kernel.to(device, dtype)).double().cpu()
        except RuntimeError as error:
            checks.append(
                Check(name, first_line(error), False, f"{device} cannot compute this: install another build of torch, or take --device cpu")
            )
            continue
        error = ((found - expected).norm() / expected.norm()).item()
        well = error < most  # so that what is no number is not
        advice = f"{device} computes this wrongly, which gives black or odd pictures: install another build of torch, or take --device cpu"
        checks.append(Check(name, f"relative error {error:.1e} on {device}", well, advice))
    return checks


def require_working(device: torch.device, *, bfloat16: bool = True) -> None:
    """The quick look that a training takes before it begins.

    Raises:
        OwnError: With what is wrong, if anything is.
    """
    for check in [*check_kernels(device), *check_numbers(device, bfloat16=bfloat16)]:
        if check.well is False:
            raise OwnError(f"{check.name}: {check.found}; {check.advice} (transmute doctor says more)")
