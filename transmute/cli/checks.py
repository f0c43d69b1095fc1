"""The checks of `transmute doctor`: software, devices, memory, disk and optional packages."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

import transmute
from transmute.batch import Batch
from transmute.config.training import Recipe
from transmute.device import Check, check_kernels, check_numbers, compare, select_precision
from transmute.gpu import Build, find_gpu, unused_gpu
from transmute.metrics.pretrained import PUBLISHED
from transmute.training.speed import build_method
from transmute.training.trainer import Trainer

GIGABYTE = 1024**3


def all_checks(folder: Path) -> Iterator[Check]:
    """Yields all checks, in the order of the table.

    Args:
        folder: Folder for runs.
    """
    yield from check_software()
    if problem := unused_gpu(find_gpu(), Build.installed()):
        yield Check("GPU", "not used", False, problem)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device in [torch.device("cpu"), *(torch.device("cuda", index) for index in range(gpus))]:
        yield check_device(device)
        yield from check_kernels(device)
        yield from check_numbers(device)
        yield check_step(device)
    yield from check_resources(folder)
    for name, tool in (("tensorboard", "TensorBoard"), ("wandb", "Weights & Biases")):
        use = f"curves and samples in {tool} (--log {name})"
        try:
            yield Check(name, f"{importlib.metadata.version(name)}: {use}")
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "not installed", None, f"pip install {name} for {use}")
    names = [name for name, weights in PUBLISHED.items() if weights.find()]
    yield Check(
        "feature networks",
        ", ".join(names) or "none",
        None,
        "" if names else "transmute evaluate downloads them; --features texture needs none",
    )


def check_software() -> list[Check]:
    """The versions of Transmute, Python and torch."""
    cuda = torch.version.cuda
    build = f"CUDA {cuda}" if cuda else "ROCm" if torch.version.hip else "CPU only"
    return [
        Check("transmute", transmute.__version__),
        Check("python", f"{platform.python_version()} on {platform.platform()}"),
        Check(
            "torch",
            f"{torch.__version__} ({build})",
            (2, 8) <= tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14),
            "Install torch 2.8 to 2.13, the versions that Transmute is tested with",
        ),
    ]


def check_device(device: torch.device) -> Check:
    """The name of a device, and the precision that suits it."""
    precision, reason = select_precision("auto", device)
    name = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = f"{properties.name}, {properties.total_memory / GIGABYTE:.0f} GiB"
    return Check(str(device), f"{name}; {precision}: {reason}")


def check_step(device: torch.device) -> Check:
    """Compares the losses of two training steps of a small CycleGAN with float64 on the CPU."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        images = torch.rand(2, 1, 3, 32, 32, dtype=torch.float64) * 2 - 1
        return compare("training step", _losses, [images], device, torch.float32, 1e-2)


def _losses(images: torch.Tensor) -> torch.Tensor:
    """The losses of two training steps with one image of each domain."""
    # With weights of 1, all losses count in the relative error.
    recipe = Recipe().updated(
        {
            "size": 32,
            "method": {
                "generator": {"width": 8, "blocks": 1},
                "discriminator": {"width": 8, "layers": 1},
                "history": 0,
                "cycle_a": 1,
                "cycle_b": 1,
                "identity": 1,
            },
        }
    )
    method = build_method(recipe, torch.device("cpu"))
    trainer = Trainer(method.to(images.device, images.dtype), recipe.optimizer)
    losses = [loss for _ in range(2) for loss in trainer.step([Batch(*images)]).values()]
    return torch.stack(losses)


def check_resources(folder: Path) -> Iterator[Check]:
    """Checks disk, memory and open files, as far as the system reports them.

    Args:
        folder: Folder for runs, which may not exist yet.
    """
    path = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(path).free / GIGABYTE
    yield Check(
        "disk",
        f"{free:.1f} GiB free at {path}",
        free > 2,
        "Free some space, or choose another folder with `run`. A checkpoint takes 0.4 GB",
    )
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIGABYTE
        yield Check(
            "memory",
            f"{total:.1f} GiB",
            total > 2,
            "Use a machine with more memory. The default recipe needs 2 GiB",
        )
    if Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free / GIGABYTE
        yield Check(
            "shared memory",
            f"{free:.2f} GiB free",
            free > 0.2,
            "Start containers with --shm-size 1g, or set `data.workers=0`",
        )
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = limit == resource.RLIM_INFINITY
        yield Check(
            "open files",
            "unlimited" if unlimited else str(limit),
            unlimited or limit >= 1024,
            "Raise the limit: ulimit -n 4096",
        )
