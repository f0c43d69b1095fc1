"""One file from the network: it goes on where it broke off, is checked, and is complete or not there. Loads no torch."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from transmute.settings import UserError

TRIES = 4
"""Failures in a row, without a byte gained, before we give up."""


class _BrokenError(Exception):
    """A connection that failed but may hold the next time."""


class _UnreachedError(_BrokenError):
    """There was none."""


def download(url: str, target: Path, *, size: int | None = None, sha256: str | None = None, pause: float = 1.0, timeout: float = 30.0) -> Path:
    """Fetches a file, unless it is there already: from an earlier time, or put there by hand.

    Args:
        url: Address, http or https.
        target: Path of the file; while incomplete it stands beside it as `.NAME.part`, and the next call goes on with it.
        size, sha256: What is known of the file, of its hash perhaps the beginning alone; None checks the length that the server names,
            and that it is no web page.
        pause: Seconds before the second try; each further one waits twice as long.
        timeout: Seconds without an answer after which a connection counts as broken.

    Raises:
        UserError: If the file cannot be had or is another; the sentence says how to go on by hand.
    """
    if target.is_file():
        if fault := _fault(target, size, sha256):
            raise UserError(f"{target} is not what {url} should be ({fault}): remove or replace it, then run the same command again")
        return target
    host = re.match(r"https?://([^/?#\s]+)", url)
    if not host:
        raise UserError(f"{url} cannot be fetched: expected an address that begins with http:// or https://")
    by_hand = f"fetch {url} by hand and put it at {target}, then run the same command again"
    target.parent.mkdir(parents=True, exist_ok=True)
    part, note = (target.with_name(f".{target.name}.{ending}") for ending in ("part", "note"))
    failures = furthest = 0
    while True:
        try:
            _go_on(url, part, note, timeout, by_hand)
            break
        except _BrokenError as error:
            if isinstance(error, _UnreachedError) and not failures:  # no network: nobody wants to wait
                raise UserError(f"cannot reach {host[1]} ({error}): {by_hand}") from None
            failures = 1 if _length(part) > furthest else failures + 1
            furthest = max(furthest, _length(part))
            if failures == TRIES:
                raise UserError(f"{url} broke off {TRIES} times ({error}): run the same command later to go on, or {by_hand}") from None
            time.sleep(pause * 2 ** (failures - 1))
    fault = _fault(part, size, sha256)
    part.unlink() if fault else part.replace(target)
    note.unlink()
    if fault:
        raise UserError(f"what {url} sent is not the file expected, and was removed ({fault}): {by_hand}")
    return target


def _go_on(url: str, part: Path, note: Path, timeout: float, by_hand: str) -> None:
    """One request for what the part lacks; returns when the file is complete. The note says which version of which file the part is of."""
    noted, _, validator = note.read_text(encoding="utf-8").rpartition("\n") if note.is_file() else ("", "", "")
    start = _length(part) if noted == url and validator else 0
    headers = {"User-Agent": "transmute"} | ({"Range": f"bytes={start}-", "If-Range": validator} if start else {})
    try:
        response: HTTPResponse = urlopen(Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers), timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the part is as long as the file, or longer: not to be trusted
            part.unlink(missing_ok=True)
        if error.code in (408, 416, 429, 500, 502, 503, 504):
            raise _BrokenError(f"{error.code} {error.reason}") from None
        raise UserError(f"{url} is not to be had ({error.code} {error.reason}): {by_hand}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _UnreachedError(error.reason if isinstance(error, URLError) else error) from None
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{url} is a web page, not a file: {by_hand}")
        if response.status == 206:
            span, _, total = response.headers.get("Content-Range", "").partition("/")
            if not start or not span.startswith(f"bytes {start}-") or _validator(response) not in ("", validator):
                part.unlink(missing_ok=True)
                raise _BrokenError("the file has changed meanwhile")
        else:
            total = response.headers.get("Content-Length", "")
            part.write_bytes(b"")
            note.write_text(f"{url}\n{_validator(response)}", encoding="utf-8")
        _receive(response, part, int(total) if total.isdecimal() else None)
    if total.isdecimal() and _length(part) != int(total):
        raise _BrokenError(f"{_length(part)} of {total} bytes came")


def _receive(response: HTTPResponse, part: Path, total: int | None) -> None:
    """Adds what comes to the part, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with part.open("ab") as file, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(part.stem[1:], total=total, completed=file.tell())
        for piece in _pieces(response):
            file.write(piece)
            progress.advance(task, len(piece))
        file.flush()
        os.fsync(file.fileno())


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """What comes; errors of the network, unlike those of the disk, are worth another try."""
    try:
        while piece := response.read(1 << 16):
            yield piece
    except (OSError, HTTPException) as error:
        raise _BrokenError(error) from None


def _fault(path: Path, size: int | None, sha256: str | None) -> str | None:
    """What shows that this is not the file, or None."""
    with path.open("rb") as file:
        first = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else None
    if first.startswith(b"<") and b"html" in first:
        return "it is a web page"
    if first.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, which only names the file"
    if size is not None and _length(path) != size:
        return f"it has {_length(path)} bytes, not {size}"
    return f"its SHA-256 is {digest}, not {sha256}" if sha256 and not str(digest).startswith(sha256.lower()) else None


def _validator(response: HTTPResponse) -> str:
    """What tells versions of a file apart, if anything; a weak ETag does not say that they are equal byte by byte."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
