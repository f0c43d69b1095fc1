"""Unpacking archives that may be hostile."""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from transmute.settings import UserError

LARGEST_RATIO, SMALLEST_LIMIT = 100, 100_000_000
"""Unpacked bytes allowed: so many times the archive's, or so many at least. Archives of pictures hardly shrink."""

Member = tuple[str, bool, int, Callable[[], IO[bytes]] | None]
"""Name, whether a folder, bytes, and what opens it: None for links, devices and what is encrypted."""


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a zip or tar.gz file into a new folder, which is complete or not there; one folder around everything is left out.

    Returns:
        How many files it has.

    Raises:
        UserError: If the folder exists, or the archive is damaged, would write elsewhere, holds links or devices, or is absurdly large.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already: remove it or choose another folder")
    limit = max(archive.stat().st_size * LARGEST_RATIO, SMALLEST_LIMIT)
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    count = total = 0
    try:
        for name, is_folder, size, opened in _members(archive):
            name = name.replace("\\", "/")
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if any(part.startswith("._") or part == "__MACOSX" for part in parts):
                continue
            if opened is None or ".." in parts or re.match("/|[A-Za-z]:|.*\0", name):
                raise UserError(f"{archive} is not to be trusted: {name!r} is no plain file or folder inside it; do not unpack it")
            path = aside.joinpath(*parts)
            (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
            if is_folder:
                continue
            count, total = count + 1, total + size
            if total > limit:
                raise UserError(f"{archive} is not to be trusted: unpacked it has more than {limit} bytes; do not unpack it")
            with opened() as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        inside = list(aside.iterdir())
        alone = len(inside) == 1 and inside[0].is_dir() and any(path.is_dir() for path in inside[0].iterdir())
        (inside[0] if alone else aside).rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive} is damaged, or is no zip or tar.gz file ({error}): remove it, then run the same command again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _members(archive: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where it was packed on Windows
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not member.flag_bits & 1
                yield member.filename, member.is_dir(), member.file_size, (lambda member=member: file.open(member)) if plain else None
        return
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
        for member in file:
            plain = member.isfile() or member.isdir()
            yield member.name, member.isdir(), member.size, (lambda member=member: file.extractfile(member)) if plain else None  # pyright: ignore
        while stream.read(1 << 20):  # only at its end does gzip look at the checksum
            pass
