"""Atomic file writing, and recognizing files that stand in for others.

A file written here is either the old one or the complete new one, whenever the machine stops.
"""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any
from zlib import crc32

from transmute.errors import RankError

_ADVICE = {
    errno.ENOSPC: "the disk is full: {free} of {folder} are free. Free space",
    errno.EDQUOT: "the disk quota is used up. Free space",
    errno.EROFS: "its file system is read-only. Choose another folder",
    errno.EACCES: "permission is denied. Change the permissions of {folder}",
    errno.EPERM: "permission is denied. Change the permissions of {folder}",
    errno.EFBIG: "it would exceed the largest size of a file here. Increase the limit (ulimit -f)",
    errno.EMFILE: "too many files are open. Increase the limit (ulimit -n)",
    errno.ENOENT: "its folder {folder} was removed or renamed. Put it back",
    errno.ENOTDIR: "{folder} is not a folder. Choose another folder",
    errno.EISDIR: "it is a folder. Remove it",
    errno.EIO: "the disk failed (input/output error). Check {folder}, or choose another folder",
    errno.ENAMETOOLONG: "its name is too long. Choose a shorter one",
}
"""For each error of a file system, the reason in words, and what to do."""
_PARTIAL = re.compile(r"\.[0-9a-f]{8}\.part(\..+)?")
"""Names of temporary files."""


class FileError(RankError):
    """A file cannot be written, because of its file system: no space, no permission, ..."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns errors of the file system in the block into one that names the file.

    Raises:
        FileError: If the disk is full, permission is denied, and the like.
    """
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename  # the second one is the target of a copy
        about = Path(os.fsdecode(named)) if named else path
        is_other = path.parent not in about.parents and about not in path.parents
        if error.errno not in _ADVICE or is_other:  # such as a file that is copied
            raise
        advice = _ADVICE[error.errno].format(folder=path.parent, free=_free_space(path.parent))
        raise FileError(
            f"{path} cannot be written: {advice}, then run the same command again"
        ) from None


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB"
    except OSError:
        return "0 MiB"


def remove_partial(folder: Path) -> None:
    """Removes the temporary files that a killed process has left in a folder."""
    for path in folder.glob(".*.part*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, *, keep_partial: bool = False) -> Iterator[Path]:
    """Yields a temporary path next to `path`, which replaces it when the block succeeds.

    The contents are flushed to disk (fsync) before the rename. If the block raises, `path` is
    unchanged. Parent folders are created.

    Raises:
        FileError: If the disk is full, permission is denied, and the like.

    Args:
        path: The file to write.
        keep_partial: Whether the temporary file stays if the block raises, to be completed later.
    """
    # Two processes may write the same file, but a partial one is found again by its name.
    digits = f"{crc32(os.fsencode(path.name)):08x}" if keep_partial else token_hex(4)
    # Short, since names have at most 255 bytes. The suffix stays last: libraries such as Pillow
    # choose the format by it.
    temporary = path.with_name(f".{digits}.part{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            if not keep_partial:
                with suppress(OSError):  # its folder may be gone, or not writable
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
