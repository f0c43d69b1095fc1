"""`transmute doctor`: whether this machine can train, and what would make it better."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

import transmute
from transmute.batch import Batch
from transmute.devices import chosen_precision
from transmute.diagnostics.device import Check, check_kernels, check_numbers
from transmute.methods.config import CycleGANConfig
from transmute.metrics.features import on_this_machine
from transmute.networks.config import PatchGANConfig, ResNetConfig
from transmute.settings import first_line
from transmute.training.config import AdamConfig
from transmute.training.trainer import Trainer

GIGABYTE = 1024**3
EXTRAS = {"tensorboard": "curves and samples in TensorBoard (--log tensorboard)", "wandb": "the same in Weights & Biases (--log wandb)"}


def examine(folder: Path) -> list[Check]:
    """Everything that is looked at, in the order in which it is shown.

    Args:
        folder: Where runs will lie.
    """
    devices = [torch.device("cpu"), *(torch.device("cuda", nth) for nth in range(torch.cuda.device_count() if torch.cuda.is_available() else 0))]
    checks = [Check("transmute", transmute.__version__), Check("python", f"{platform.python_version()} on {platform.platform()}"), check_torch()]
    for device in devices:
        checks += [check_device(device), *check_kernels(device), *check_numbers(device), check_step(device)]
    checks += [check_disk(folder), *check_memory(), *check_handles()]
    checks += [check_extra(name, gives) for name, gives in EXTRAS.items()]
    found = on_this_machine()
    advice = "transmute evaluate fetches them by name; --features texture needs none"
    return [*checks, Check("feature networks", ", ".join(found) or "none", None, "" if found else advice)]


def check_torch() -> Check:
    """Whether torch is of a version that is tested."""
    version = torch.__version__
    major, minor = (int(part) for part in version.split(".")[:2])
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU only"
    return Check("torch", f"{version} ({build})", (2, 8) <= (major, minor) < (2, 14), "install torch 2.8 to 2.13, which Transmute is tested with")


def check_device(device: torch.device) -> Check:
    """What computes, and in what it computes fast."""
    _, why = chosen_precision("auto", device)
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        return Check(str(device), f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GiB; {why}")
    return Check("cpu", f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; {why}")


def check_step(device: torch.device) -> Check:
    """A small CycleGAN's first two steps, whose losses should be those of the CPU in float64."""

    def losses(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        torch.manual_seed(0)
        method = CycleGANConfig(generator=ResNetConfig(width=8, blocks=1), discriminator=PatchGANConfig(width=8, layers=1), history=0).build(
            3, 3, (32, 32)
        )
        a, b = (torch.rand(2, 1, 3, 32, 32) * 2 - 1).to(device, dtype)
        trainer = Trainer(method.to(device, dtype), AdamConfig())
        return torch.stack([loss for _ in range(2) for loss in trainer.step([Batch(a, b)]).values()]).double().cpu()

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        expected = losses(torch.device("cpu"), torch.float64)
        try:
            found = losses(device, torch.float32)
        except RuntimeError as error:
            return Check("training step", first_line(error), False, f"{device} cannot train: install another build of torch")
    error = ((found - expected).abs() / expected.abs()).max().item()
    advice = f"trainings on {device} will go wrong: install another build of torch, or take --device cpu"
    return Check("training step", f"losses within {error:.1e} of the CPU's in float64", error < 2e-2, advice)


def check_disk(folder: Path) -> Check:
    """Room for checkpoints, of which the default recipe's takes 0.4 GB."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Check("disk", f"{free / GIGABYTE:.1f} GiB free at {there}", free > 2 * GIGABYTE, "free some space, or train into another place with --run")


def check_memory() -> list[Check]:
    """Memory, and on Linux what processes that load pictures can share."""
    checks = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        checks.append(Check("memory", f"{total / GIGABYTE:.1f} GiB", total > 2 * GIGABYTE, "the default recipe needs 2 GiB or more"))
    if Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free
        advice = "in a container, start it with --shm-size 1g, or train with --data.workers 0"
        checks.append(Check("shared memory", f"{free / GIGABYTE:.2f} GiB free", free > 0.2 * GIGABYTE, advice))
    return checks


def check_handles() -> list[Check]:
    """How many files may be open at once; nothing where the system does not say."""
    with contextlib.suppress(ImportError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = most == resource.RLIM_INFINITY
        return [Check("open files", "unlimited" if unlimited else str(most), unlimited or most >= 1024, "raise the limit with: ulimit -n 4096")]
    return []


def check_extra(name: str, gives: str, version: Callable[[str], str] = importlib.metadata.version) -> Check:
    """Whether a package that is not needed is there."""
    try:
        return Check(name, f"{version(name)}: {gives}")
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "not installed", None, f"pip install {name}: {gives}")
