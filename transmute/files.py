"""Atomic file writing, and recognizing files that stand in for others.

A file written here is either the old one or the complete new one, whenever the machine stops.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, *, keep_partial: bool = False) -> Iterator[Path]:
    """Yields a temporary path next to `path`, which replaces it when the block succeeds.

    The contents are flushed to disk (fsync) before the rename. If the block raises, `path` is
    unchanged. Parent folders are created.

    Args:
        path: The file to write.
        keep_partial: Whether the temporary file stays if the block raises, to be completed later.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: libraries such as Pillow choose the format by it.
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        if not keep_partial:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())  # as it is, with "\n" on every system


def write_json(path: Path, values: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def placeholder(path: Path) -> str | None:
    """Describes what a file contains instead of data: a web page or a Git LFS pointer, or None."""
    with path.open("rb") as file:
        start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kinds = {
        "a Git LFS pointer, which only names the file (git lfs pull fetches it)": (
            start.startswith(b"version https://git-lfs")
        ),
        "a web page, such as a server's error page": start.startswith(b"<") and b"html" in start,
    }
    return next((kind for kind, is_present in kinds.items() if is_present), None)
