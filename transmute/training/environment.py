"""The facts under which a session of a training ran."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch

import transmute
from transmute.training.speed import Speed


def environment(
    *, device: torch.device, speed: Speed, processes: int, data: str, fingerprint: str, step: int, last_step: int, start: Path | None
) -> dict[str, Any]:
    """Versions, commit, device, command line and data, as JSON-able values."""
    return {
        "began": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "step": step,
        "last_step": last_step,
        "from": str(start) if start else None,
        "command": sys.argv,
        "transmute": transmute.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "device_type": device.type,
        **dataclasses.asdict(speed),
        "processes": processes,
        "data": data,
        "fingerprint": fingerprint,
    }


def _commit() -> str | None:
    """The commit of Transmute's own source, where it runs from a checkout."""
    root = Path(transmute.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    result = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
