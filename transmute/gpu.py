"""GPUs that torch does not use: the reason, and the command that fixes it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

CUDA_12_DRIVER, CUDA_13_DRIVER = 525, 580
"""The oldest NVIDIA drivers for CUDA 12 and 13 (NVIDIA, CUDA Compatibility, table 1)."""
OLDEST, OLDEST_FOR_CUDA_13, NEWEST_FOR_CUDA_12 = (5, 0), (7, 5), (9, 0)
"""Compute capabilities of the GPUs that torch's builds cu126 and cu130 have code for (PyTorch,
RELEASE.md, support matrix of 2.12 and 2.13)."""
_NVIDIA, _AMD = "0x10de", "0x1002"  # PCI vendors
_UPDATE = f"Install driver {CUDA_13_DRIVER} or newer (https://www.nvidia.com/drivers) and restart"


@dataclass(frozen=True)
class GPU:
    """A GPU of this machine, found without torch.

    Attributes:
        name: Its name, such as NVIDIA GeForce RTX 3060.
        vendor: nvidia or amd.
        driver: Version of its driver. Empty if none is loaded, None if unknown.
        capability: CUDA compute capability, such as (8, 6). None if unknown.
    """

    name: str
    vendor: str = "nvidia"
    driver: str | None = None
    capability: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Build:
    """The installed build of torch.

    Attributes:
        version: Such as 2.13.0+cpu.
        cuda: Version of CUDA that it is built for, or None.
        architectures: GPUs that it has code for, such as sm_86. Empty if unknown: older versions
            of torch do not say so where no GPU is usable.
        devices: Number of GPUs that it can use.
    """

    version: str
    cuda: str | None = None
    architectures: Sequence[str] = ()
    devices: int = 0

    @classmethod
    def installed(cls) -> "Build":
        """The installed build."""
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return cls(torch.__version__, torch.version.cuda, torch.cuda.get_arch_list(), devices)


def find_gpu(root: Path = Path("/")) -> GPU | None:
    """The first GPU that could train: by nvidia-smi, or else by files of the driver or the kernel.

    Args:
        root: Root of the file system.
    """
    return next(_gpus(root), None)


def _gpus(root: Path) -> Iterator[GPU]:
    program = shutil.which("nvidia-smi")
    for fields in ("name,driver_version,compute_cap", "name,driver_version") if program else ():
        result = subprocess.run(  # drivers before 510 do not know compute_cap
            [program or "", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        # Values may be missing: "Orin (nvgpu), 540.3.0, [N/A]".
        found = re.match(r"(.+?), (?:([\d.]+)|\[.*?\])(?:, (\d+)\.(\d+))?", result.stdout)
        if result.returncode == 0 and found:
            name, driver, *version = found.groups()
            capability = tuple(map(int, version)) if version[0] else None
            yield GPU(name, driver=driver, capability=capability)
    version = re.search(r"\b\d{3}\.[\d.]+", _text(root / "proc/driver/nvidia/version"))
    if version:
        yield GPU("the NVIDIA GPU", driver=version[0])
    if (Path(os.environ.get("SYSTEMROOT", root / "Windows")) / "System32/nvcuda.dll").is_file():
        yield GPU("the NVIDIA GPU")
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        vendor, kind = _text(device / "vendor"), _text(device / "class")
        if vendor == _NVIDIA and kind.startswith("0x03"):  # a display controller
            yield GPU("the NVIDIA GPU", driver="")
        # Integrated GPUs, which ROCm does not support, have little memory of their own.
        if vendor == _AMD and int(_text(device / "mem_info_vram_total") or 0) >= 4 * 1024**3:
            yield GPU("the AMD GPU", "amd")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def has_kernels(capability: tuple[int, ...], architectures: Sequence[str]) -> bool:
    """Whether a build of torch can run on a GPU.

    Machine code (`sm_80`) runs on GPUs of the same major version and the same or a later minor
    version. Code with an `a` (`sm_90a`) runs on that version only. PTX (`compute_80`) is compiled
    for any later GPU.

    Args:
        capability: The GPU's compute capability, such as (8, 6).
        architectures: The result of `torch.cuda.get_arch_list()`.
    """
    for kind, major, minor, exact in re.findall(
        r"\b(sm|compute)_(\d+)(\d)(a?)f?\b", " ".join(architectures)
    ):
        version = (int(major), int(minor))
        portable = not exact and (kind == "compute" or version[0] == capability[0])
        if version == capability or (portable and version <= capability):
            return True
    return False


def unused_gpu(gpu: GPU | None, build: Build) -> str | None:
    """Says why torch does not use a GPU, and what to do.

    Returns:
        One or two sentences; None if there is no GPU, or if torch can use it.
    """
    if gpu is None or build.devices:
        return None
    if gpu.vendor == "amd":
        reason = f"torch {build.version} is not built for ROCm"
        change = f"On Linux, run: {_install('rocm7.2', 'torch>=2.11,<2.14')}"
    else:
        reason, change = _nvidia_problem(gpu, build)
    return f"{gpu.name} is not used, because {reason}. {change}"


def _nvidia_problem(gpu: GPU, build: Build) -> tuple[str, str]:
    """Why torch does not use an NVIDIA GPU, and what to do."""
    hidden, change = os.environ.get("CUDA_VISIBLE_DEVICES"), suitable_build(gpu)
    if gpu.driver == "":
        return "no driver is loaded for it", _UPDATE
    if _major(gpu.driver) < CUDA_12_DRIVER:
        return f"its driver {gpu.driver} is too old for CUDA 12", _UPDATE
    if build.cuda is None:
        return f"torch {build.version} is built for CPUs only", change
    if _major(build.cuda) >= 13 and _major(gpu.driver) < CUDA_13_DRIVER:
        return f"its driver {gpu.driver} is too old for torch {build.version}", change
    known = gpu.capability if build.architectures else None
    if known and not has_kernels(known, build.architectures):
        architecture = "sm_" + "".join(map(str, known))
        return f"torch {build.version} contains no kernels for it ({architecture})", change
    if hidden is not None:
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}", "Unset this environment variable"
    return f"torch {build.version} cannot open it", f"Restart the machine. If this fails: {_UPDATE}"


def suitable_build(gpu: GPU) -> str:
    """Says which build of torch runs on an NVIDIA GPU with its driver, as a command."""
    driver, capability = _major(gpu.driver), gpu.capability or OLDEST_FOR_CUDA_13
    if capability < OLDEST:
        return "It is too old for the versions of torch that Transmute supports: set `device=cpu`"
    if capability > NEWEST_FOR_CUDA_12 and driver < CUDA_13_DRIVER:
        return f"{_UPDATE}, then run: {_install('cu130')}"
    newest = driver >= CUDA_13_DRIVER and capability >= OLDEST_FOR_CUDA_13
    return f"Run: {_install('cu130' if newest else 'cu126')}"


def _major(version: str | None) -> int:
    """The first number of a version. An unknown driver is assumed to be recent."""
    return int(version.split(".")[0]) if version else CUDA_13_DRIVER


def _install(index: str, requirement: str = "torch>=2.8,<2.14") -> str:
    # Without --force-reinstall, pip keeps a CPU build, since its version fits the requirement.
    address = f"https://download.pytorch.org/whl/{index}"
    return f'python -m pip install --force-reinstall "{requirement}" --index-url {address}'
