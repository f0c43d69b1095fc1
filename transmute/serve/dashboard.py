"""A local, read-only web server that shows the page of all runs in a folder."""

import contextlib
import json
import math
import os
import re
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any

from transmute.errors import UserError, first_line, printable
from transmute.files import special_kind
from transmute.report.page import page_data, render_page
from transmute.run import Run

MAX_THREADS = 64
"""Requests that are answered at a time."""
_ANSWER_SECONDS = 60.0
"""Time in which the response must be sent."""
_CACHE_SECONDS = 1.0
"""Time for which the page and its data are not computed again."""
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its other end
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
_PAGES = {"/": "text/html; charset=utf-8", "/data.json": "application/json"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def find_runs(folder: Path) -> list[Run]:
    """Returns the run in a folder, or else all runs up to two levels below it, sorted by path.

    A run's folder may be a link to elsewhere, so that runs can be collected in one folder. A run
    is left out if one of its records leads out of the run's folder or is not a regular file.
    """
    below = [*folder.glob("*/recipe.json"), *folder.glob("*/*/recipe.json")]
    paths = [*folder.glob("recipe.json")] or sorted(below)
    return [run for path in paths if _is_complete(run := Run(path.parent))]


def _is_complete(run: Run) -> bool:
    """Whether a run was started and none of its records leads out of its folder or is special."""
    records = (run.recipe_file, run.environment_file, run.metrics_file, run.evaluations_file)
    return run.was_started() and not any(
        special_kind(file) or not _is_inside(file, run.folder) for file in records
    )


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _sheet(folder: Path, path: str) -> bytes | None:
    """The sample sheet of a URL path, or None unless it is a regular file inside its run.

    The opened file is checked, so that a link put in its place at any moment is of no use.
    """
    match = re.fullmatch(r"/samples/([0-9a-f]{12})/([0-9]{1,18})\.png", path)
    runs = {run.url_id: run for run in find_runs(folder)} if match else {}
    if not match or match[1] not in runs:
        return None
    file = runs[match[1]].sample_file(int(match[2]))
    with (
        contextlib.suppress(OSError),
        open(file, "rb", opener=lambda path, flags: os.open(path, flags | _NONBLOCK)) as opened,
    ):
        status = os.fstat(opened.fileno())
        is_same = os.path.samestat(status, os.lstat(os.path.realpath(file)))
        if is_same and stat.S_ISREG(status.st_mode) and _is_inside(file, runs[match[1]].folder):
            return opened.read()


def make_server(
    folder: Path, *, port: int = 8765, request_seconds: float = 3.0
) -> ThreadingHTTPServer:
    """Creates a server on 127.0.0.1. The caller starts and closes it.

    Args:
        folder: A run folder, or a folder of run folders.
        port: TCP port; 0 chooses a free one.
        request_seconds: Time in which a request must arrive completely, however steadily its bytes
            trickle in.

    Raises:
        UserError: If the folder does not exist, or the port cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Pass a run folder, or a folder of run folders")
    try:
        return _Server(folder, port, request_seconds)
    except OSError as error:
        raise UserError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}). Choose another `port`"
        ) from None


class _Server(ThreadingHTTPServer):
    """A server with a limited number of threads. Each connection has a deadline.

    Further connections wait in the backlog of the operating system, without a thread. A timeout of
    single reads would not be enough: a client that sends a byte per second never exceeds it.
    """

    request_queue_size = 1024  # the operating system may lower it

    def __init__(self, folder: Path, port: int, request_seconds: float) -> None:
        self.folder, self.request_seconds = folder, request_seconds
        self._slots = threading.Semaphore(MAX_THREADS)
        self._deadlines: dict[socket, float] = {}
        self._computing = threading.Lock()
        self._pages: dict[str, tuple[float, bytes]] = {}
        super().__init__(("127.0.0.1", port), _RequestHandler)

    def set_deadline(self, connection: socket, seconds: float) -> None:
        """Closes a connection if it is still open after this time."""
        self._deadlines[connection] = time.monotonic() + seconds

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, after waiting until there are fewer."""
        while not self._slots.acquire(timeout=0.1):
            self.service_actions()
        self.set_deadline(request, self.request_seconds)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Ends connections whose deadline has passed, which wakes up their threads."""
        now = time.monotonic()
        for connection, deadline in [*self._deadlines.items()]:
            if deadline < now:
                with contextlib.suppress(OSError):  # closed by its thread or by the client
                    connection.shutdown(SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection. Its thread ends."""
        super().shutdown_request(request)
        self._deadlines.pop(request, None)
        self._slots.release()

    def page(self, path: str) -> bytes:
        """The page (`/`) or its data (`/data.json`), at most a second old.

        Simultaneous requests share one computation.
        """
        with self._computing:
            computed, body = self._pages.get(path, (-math.inf, b""))
            if time.monotonic() - computed > _CACHE_SECONDS:
                runs, title = find_runs(self.folder), self.folder.resolve().name
                body = (
                    render_page(runs, title=title, live=True)
                    if path == "/"
                    else json.dumps(page_data(runs, title=title, live=True))
                ).encode(errors="replace")
                self._pages[path] = time.monotonic(), body
            return body


class _RequestHandler(BaseHTTPRequestHandler):
    """Answers one request for the page, its data, or a sample sheet, and closes the connection."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version, sys_version = "Transmute", ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s. %(explain)s\n"

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client closed the connection, or was too slow
            super().handle()

    def do_GET(self) -> None:
        self.server.set_deadline(self.connection, _ANSWER_SECONDS)
        hosts, path = self.headers.get_all("Host", []), self.path.partition("?")[0]
        # A malicious page may resolve its host name to 127.0.0.1 to read what is served here.
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].strip(" \t")):
            return self.send_error(403, explain="The Host must be 127.0.0.1 or localhost")
        try:
            body = self.server.page(path) if path in _PAGES else _sheet(self.server.folder, path)
        except (OSError, ValueError) as error:  # of a damaged run, or one that is being removed
            return self.send_error(500, explain=printable(first_line(error)))
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", _PAGES.get(path, "image/png"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_HEAD = do_GET

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing for a request."""
