"""A verified download of one file. Does not import torch."""

import hashlib
import re
import shutil
import ssl
import sys
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from transmute.errors import UserError
from transmute.files import placeholder, replacing

TRIES = 4
"""Consecutive failures without progress after which a download is aborted."""

MIN_SPEED = 1000
"""Average bytes per second below which a download is aborted, so that it ends at some time."""
_RESERVE = 100_000_000
"""Bytes of the disk that a download leaves free."""
_TEMPORARY_STATUSES = (408, 416, 429, 500, 502, 503, 504)
"""HTTP statuses that are worth another try."""
_NETWORK_ERRORS = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError, ValueError)
"""Exceptions of urllib for connections and malformed URLs, as opposed to errors of the disk."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Downloads a file, unless it exists already. Verifies it in both cases.

    With a known hash, an interrupted download is resumed, also by a later call.

    Args:
        url: HTTP or HTTPS address.
        target: Path of the file. It appears only when it is complete.
        sha256: Expected SHA-256 in hexadecimal, or its first digits, if known.
        pause: Seconds before the second try; doubled before each further one.
        timeout: Seconds without data after which a connection counts as broken.

    Returns:
        The target.

    Raises:
        UserError: If the file cannot be downloaded or is not the expected one. The message says
            where to put a file that was downloaded by hand.
    """
    if target.is_file():
        if problem := _problem(target, sha256):
            raise UserError(
                f"{target} is not the file at {url} ({problem}). Remove or replace it, "
                "then run the same command again"
            )
        return target
    if not url.startswith(("http://", "https://")):
        raise UserError(
            f"{url} cannot be downloaded. Pass a URL that starts with http:// or https://"
        )
    resume = sha256 is not None  # the hash shows whether the parts fit together
    with replacing(target, keep_partial=resume) as partial:
        try:
            _receive_with_retries(url, partial, resume=resume, pause=pause, timeout=timeout)
            if problem := _problem(partial, sha256):
                partial.unlink()
                raise UserError(f"{url} is not the expected file, and was removed ({problem})")
        except UserError as error:
            raise UserError(
                f"{error}. Download this file by hand and put it at {target}, then run the same "
                "command again"
            ) from None
    return target


def _receive_with_retries(
    url: str, partial: Path, *, resume: bool, pause: float, timeout: float
) -> None:
    failures, longest = 0, _length(partial)
    while True:
        try:
            return _receive(url, partial, resume=resume, timeout=timeout)
        except HTTPError as error:
            error.close()
            reason = f"{error.code} {' '.join(str(error.reason).split())}"
            if error.code not in _TEMPORARY_STATUSES:
                raise UserError(f"{url} is not available ({reason})") from None
            if error.code == 416:  # the partial file is not shorter than the file
                partial.unlink(missing_ok=True)
        except _NETWORK_ERRORS as error:
            reason = error.reason if isinstance(error, URLError) else error
            if not failures and _length(partial) <= longest:  # offline: do not make users wait
                raise UserError(f"cannot reach {url} ({reason})") from None
        failures = 1 if _length(partial) > longest else failures + 1
        longest = max(longest, _length(partial))
        if failures == TRIES:
            raise UserError(
                f"the download of {url} failed {TRIES} times in a row ({reason}). Try again later"
            )
        time.sleep(pause * 2 ** (failures - 1))


def _receive(url: str, partial: Path, *, resume: bool, timeout: float) -> None:
    """Makes one request and writes the response, with a progress bar in a terminal.

    Raises:
        ConnectionError: If the response is shorter than announced.
        UserError: If it is too large for the disk, too slow, or redirected to another protocol.
    """
    from rich import console, markup, progress

    start = _length(partial) if resume else 0
    headers = {"User-Agent": "transmute"} | ({"Range": f"bytes={start}-"} if start else {})
    request = Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)
    with urlopen(request, timeout=timeout) as response:
        if not response.url.startswith(("http://", "https://")):
            raise UserError(f"{url} leads to {response.url}, which is not an HTTP address")
        start = start if response.status == 206 else 0  # 206: only the range that was requested
        text = response.headers.get("Content-Length", "")
        length = int(text) if re.fullmatch("[0-9]{1,18}", text) else None
        room = shutil.disk_usage(partial.parent).free - _RESERVE
        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TimeRemainingColumn(),
            console=console.Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        task = bar.add_task(markup.escape(url.rpartition("/")[2]), total=length)
        with bar, partial.open("ab" if start else "wb") as file:
            received, begin = 0, time.monotonic()
            while length is None or received < length:
                if max(received, length or 0) > room:
                    raise UserError(
                        f"{url} does not fit on the disk, of which {room} bytes are free"
                    )
                rest = room + 1 if length is None else length - received
                if not (data := response.read1(min(1 << 16, rest))):
                    break
                received += file.write(data)
                bar.advance(task, len(data))
                if received < MIN_SPEED * (time.monotonic() - begin - timeout):
                    raise UserError(f"{url} sent only {received} bytes in over {timeout:.0f} s")
    if length is not None and _length(partial) != start + length:
        raise ConnectionError(f"received {_length(partial)} of {start + length} bytes")


def _problem(path: Path, sha256: str | None) -> str | None:
    """The reason why a file is not the expected one, or None."""
    if kind := placeholder(path):
        return f"it is {kind}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fits = digest.startswith((sha256 or "").lower())
    return None if fits else f"its SHA-256 is {digest}, not {sha256}"


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
