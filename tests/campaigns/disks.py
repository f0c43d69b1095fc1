"""Disks that become full, on a small tmpfs or by a limit on the size of files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.campaigns.kills import differences
from tests.campaigns.materials import TRAIN, Materials
from tests.campaigns.runner import (
    Campaign,
    Case,
    Failure,
    Result,
    call,
    contents,
    ended,
    require_clean,
    require_nothing_left,
)


def _unpack() -> None:
    from transmute.cli.parsing import run_and_exit
    from transmute.interop.archives import unpack

    run_and_exit(lambda: min(0, unpack(Path("archive.zip"), Path("disk/unpacked"))))


def _in_disk(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("disk/run" if word == "run" else word for word in words)


MODEL = ("--model", "run", "--device", "cpu")
COMMANDS: dict[str, Callable[[], None]] = {
    "train": lambda: call(_in_disk(TRAIN)),
    "translate": lambda: call(("transmute", "translate", "big", *MODEL, "--out", "disk/out")),
    "compare": lambda: call(
        (
            "transmute",
            "translate",
            "big",
            *MODEL,
            "--out",
            "disk/out",
            "--compare",
            "--format",
            "tif",
        )
    ),
    "export": lambda: call(("transmute", "export", "run", "--out", "disk/out", "--overwrite")),
    "import": lambda: call(("transmute", "import", "pth", "--out", "disk/out")),
    "resize": lambda: call(
        ("transmute", "data", "resize", "big", "--size", "160", "--out", "disk/out", "--overwrite")
    ),
    "split": lambda: call(
        ("transmute", "data", "split", "bare", "--out", "disk/out", "--overwrite")
    ),
    "report": lambda: call(("transmute", "report", "run", "--out", "disk/report.html")),
    "evaluate": lambda: call(
        (
            *("transmute", "evaluate", "--data", "data", *MODEL, "--features", "texture"),
            *("--out", "disk/evaluation.json"),
        )
    ),
    "unpack": _unpack,
}


def campaign(materials: Materials) -> Campaign:
    """Full disks."""
    can_mount = _can_mount()

    def case(random: Random, number: int) -> tuple[str, Case]:
        name = "train" if number % 2 else random.choice(list(COMMANDS))
        limit = number % 3 == 2 or not can_mount
        size = int(2 ** random.uniform(12, 18 if limit else 21.5))

        def run(folder: Path) -> Result:
            materials.copy(folder, "data", "bare", "run", "pth")
            _write_big(folder)
            (folder / "disk").mkdir()
            if limit:
                return _limited(folder, name, size, materials)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "campaign", str(folder / "disk")],
                check=True,
            )
            try:
                return _small(folder, name, materials)
            finally:
                subprocess.run(["umount", "-l", str(folder / "disk")], check=True)

        return f"{name} with {'files' if limit else 'a disk'} of {size} bytes", run

    return Campaign("disks", 70, 6, case)


def _can_mount() -> bool:
    """Whether this process may mount a file system, as root may."""
    if os.geteuid() or not shutil.which("mount"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        words = ["mount", "-t", "tmpfs", "-o", "size=4096", "campaign", folder]
        if subprocess.run(words, capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _write_big(folder: Path) -> None:
    """Writes images and an archive of them, large enough to fill the disk."""
    import numpy as np
    from PIL import Image

    (folder / "big").mkdir()
    values = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for number in range(6):
            path = folder / "big" / f"{number}.png"
            Image.fromarray(np.roll(values, number)).save(path)
            archive.write(path, f"set/trainA/{number}.png")


def _small(folder: Path, name: str, materials: Materials) -> Result:
    """Runs a command twice: on a small disk, and when it has more space."""
    _failing(folder, name, COMMANDS[name])
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder / "disk")], check=True)
    return _succeeding(folder, name, materials)


def _limited(folder: Path, name: str, size: int, materials: Materials) -> Result:
    """Runs a command twice: with a limit on the size of files, and without."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        COMMANDS[name]()

    _failing(folder, name, limited)
    return _succeeding(folder, name, materials)


def _failing(folder: Path, name: str, action: Callable[[], None]) -> None:
    before = contents(folder)
    end = ended(folder, action)
    require_clean(end)
    if end.status not in (0, 1, 2):
        raise Failure("tracebacks", f"status {end.status}: {(end.out + end.err)[-700:]}")
    if end.status and "disk" not in end.err:
        raise Failure("tracebacks", f"does not name the file: {end.err[-500:]}")
    # What was complete before the disk was full may stay.
    require_nothing_left(before, contents(folder), end.status, ("disk/*",))


def _succeeding(folder: Path, name: str, materials: Materials) -> Result:
    end = ended(folder, COMMANDS[name])
    require_clean(end)
    exists = name in ("unpack", "import") and "exists" in end.err
    if end.status and not exists:
        raise Failure("tracebacks", f"with enough space: {end.err[-700:]}")
    if name == "train" and (found := differences(materials.folder / "run", folder / "disk/run")):
        raise Failure("tracebacks", f"differs: {found}"[:1500])
    return Result("handled", "", end)
