"""Finds on Linux what Windows refuses: replacing or removing a file while it is open."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

_refused: list[str] = []


def _used_files() -> set[str]:
    """Files that this process has opened, or mapped into memory."""
    used = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            used.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # the one that listed the folder
            continue
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return used | {line.split(maxsplit=5)[5] for line in maps if "/" in line}


def _path(path: Any, folder: int) -> str:
    """The absolute path of a file, which may be relative to an opened folder."""
    start = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
    return os.path.join(os.path.realpath(start), os.fsdecode(path))


def _audit(event: str, arguments: tuple) -> None:
    if event == "os.remove":
        paths = [_path(*arguments)]
    elif event == "os.rename":
        source, target, source_folder, target_folder = arguments
        paths = [_path(source, source_folder), _path(target, target_folder)]
    else:
        return
    for path in paths:
        # A folder cannot be renamed while a file in it is open.
        used = [file for file in _used_files() if file == path or file.startswith(f"{path}/")]
        if used and not os.path.islink(path):
            _refused.append(f"{event} of {path} while {used[0]} is open or mapped")


@pytest.fixture(autouse=sys.platform == "linux")
def windows_would_allow_it():
    """Fails a test in which a file is replaced or removed while it is open."""
    _refused.clear()
    yield
    assert not _refused


if sys.platform == "linux":
    sys.addaudithook(_audit)
