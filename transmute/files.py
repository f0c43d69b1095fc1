"""Atomic file writing, and recognizing files that stand in for others.

A file written here is either the old one or the complete new one, whenever the machine stops.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any
from zlib import crc32


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
    # Two processes may write the same file, but a partial one is found again by its name.
    digits = f"{crc32(os.fsencode(path.name)):08x}" if keep_partial else token_hex(4)
    # Short, since names have at most 255 bytes. The suffix stays last: libraries such as Pillow
    # choose the format by it.
    temporary = path.with_name(f".{digits}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        if not keep_partial:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically. Bytes of file names that are not UTF-8 are escaped."""
    with replacing(path) as temporary:
        # As it is, with "\n" on every system.
        temporary.write_bytes(text.encode(errors="backslashreplace"))


def write_json(path: Path, values: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def special_kind(path: Path) -> str | None:
    """Describes a path that must not be opened, because reading may block or never end, or None.

    These are named pipes, sockets and devices. Missing files and loops of links are none: opening
    them is an OSError.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a null character
        return None
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    devices = dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK), "a device")
    return (kinds | devices).get(kind)


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
