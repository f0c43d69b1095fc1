"""One file from the network: it goes on where it broke off, is checked, and is complete or not there. Loads no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
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

    def __init__(self, reason: object, *, reached: bool = True) -> None:
        super().__init__(str(reason))
        self.reached = reached


def download(url: str, target: Path, *, size: int | None = None, sha256: str | None = None, pause: float = 1.0, timeout: float = 30.0) -> Path:
    """Fetches a file, unless it is there already: from an earlier time, or put there by hand.

    Args:
        url: Address, http or https.
        target: Path of the file; while incomplete it stands beside it as `.NAME.part`, and the next call goes on with it.
        size, sha256: What is known of the file; None checks the length that the server names, and that it is no web page.
        pause: Seconds before the second try; each further one waits twice as long.
        timeout: Seconds without an answer after which a connection counts as broken.

    Raises:
        UserError: If the file cannot be had or is another; the sentence says how to go on by hand.
    """
    if target.is_file():
        if fault := _fault(target, size, sha256):
            raise UserError(f"{target} is not what {url} should be ({fault}): remove or replace it, then run the same command again")
        return target
    host = re.match(r"https?://(\[[\da-fA-F:.]+\][^/?#]*|[^/?#\s\[\]]+)", url)
    if not host:
        raise UserError(f"{url} cannot be fetched: expected an address that begins with http:// or https://")
    by_hand = f"fetch {url} by hand and put it at {target}, then run the same command again"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    begun = furthest = _length(part)
    failures = 0
    while True:
        try:
            _go_on(url, part, timeout, by_hand)
            break
        except _BrokenError as error:
            failures = 1 if _length(part) > furthest else failures + 1
            furthest = max(furthest, _length(part))
            if not error.reached and furthest == begun:
                raise UserError(f"cannot reach {host[1]} ({error}): {by_hand}") from None
            if failures == TRIES:
                raise UserError(f"{url} broke off {TRIES} times ({error}): run the same command later to go on, or {by_hand}") from None
            time.sleep(pause * 2 ** (failures - 1))
    if fault := _fault(part, size, sha256):
        _forget(part)
        raise UserError(f"what {url} sent is not the file expected, and was removed ({fault}): {by_hand}")
    part.replace(target)
    _forget(part)
    return target


def _go_on(url: str, part: Path, timeout: float, by_hand: str) -> None:
    """One request for what the part lacks; returns when the file is complete."""
    validator = _noted_validator(part, url)
    start = _length(part) if validator else 0  # without one, nothing says that the part is of the same file
    headers = {"User-Agent": "transmute"} | ({"Range": f"bytes={start}-", "If-Range": validator} if start and validator else {})
    try:
        response: HTTPResponse = urlopen(Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers), timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the part is as long as the file, or longer: not to be trusted
            _forget(part)
        if error.code in (408, 416, 429, 500, 502, 503, 504):
            raise _BrokenError(f"{error.code} {error.reason}") from None
        raise UserError(f"{url} is not to be had ({error.code} {error.reason}): {by_hand}") from None
    except (OSError, HTTPException) as error:
        raise _BrokenError(error.reason if isinstance(error, URLError) else error, reached=False) from None
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{url} is a web page, not a file: {by_hand}")
        total = response.headers.get("Content-Length")
        if response.status == 206:
            span, _, total = response.headers.get("Content-Range", "").partition("/")
            if not start or not span.startswith(f"bytes {start}-") or _validator(response) not in (None, validator):
                _forget(part)
                raise _BrokenError("the file has changed meanwhile")
        else:
            _forget(part)
            start = 0
            _note(part).write_text(json.dumps({"url": url, "validator": _validator(response)}), encoding="utf-8")
        end = int(total) if total and total.isdecimal() else None
        _receive(response, part, start, end)
    if end is not None and _length(part) != end:
        raise _BrokenError(f"{_length(part)} of {end} bytes came")


def _receive(response: HTTPResponse, part: Path, start: int, end: int | None) -> None:
    """Writes what comes into the part, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with part.open("r+b" if start else "wb") as file, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(part.name[1:].removesuffix(".part"), total=end, completed=start)
        file.seek(start)
        while True:
            try:
                piece = response.read(1 << 16)
            except (OSError, HTTPException) as error:  # of the network; those of the disk go on upward
                raise _BrokenError(error) from None
            if not piece:
                break
            file.write(piece)
            progress.advance(task, len(piece))
        file.flush()
        os.fsync(file.fileno())


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
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes, not {size}"
    return f"its SHA-256 is {digest}, not {sha256}" if sha256 and digest != sha256.lower() else None


def _note(part: Path) -> Path:
    """Beside the part: which address, and which version of its file, it is of."""
    return part.with_name(f"{part.name}.json")


def _noted_validator(part: Path, url: str) -> str | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        return note.get("validator") if note.get("url") == url else None
    return None


def _validator(response: HTTPResponse) -> str | None:
    """What tells versions of a file apart; a weak ETag does not say that they are equal byte by byte."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
