"""A local, read-only web server that shows the page of all runs in a folder."""

import contextlib
import json
import re
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from transmute.errors import UserError
from transmute.report.page import page_data, render_page
from transmute.run import Run


def find_runs(folder: Path) -> list[Run]:
    """Returns the run in a folder, or else all runs up to two levels below it, sorted by path."""
    below = [*folder.glob("*/recipe.json"), *folder.glob("*/*/recipe.json")]
    return [Run(path.parent) for path in [*folder.glob("recipe.json")] or sorted(below)]


def make_server(folder: Path, *, port: int = 8765) -> ThreadingHTTPServer:
    """Creates a server on 127.0.0.1. The caller starts and closes it.

    Args:
        folder: A run folder, or a folder of run folders.
        port: TCP port; 0 chooses a free one.

    Raises:
        UserError: If the folder does not exist, or the port cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Pass a run folder, or a folder of run folders")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_RequestHandler, folder))
    except OSError as error:
        raise UserError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}). Choose another `port`"
        ) from None


class _RequestHandler(BaseHTTPRequestHandler):
    """Answers requests for the page, its data, and sample sheets."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self.folder = folder
        super().__init__(*arguments)  # handles the request

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the browser closed the connection
            super().handle()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        runs, title = find_runs(self.folder), self.folder.resolve().name
        sheets = {
            f"/samples/{run.url_id}/{step}.png": run.sample_file(step)
            for run in runs
            for step in run.samples()
        }
        # A malicious page may resolve its host name to 127.0.0.1 to read what is served here.
        if re.sub(r":\d+$", "", self.headers.get("Host", "")) not in ("127.0.0.1", "localhost"):
            self.send_error(403)
        elif path == "/":
            self._respond(
                "text/html; charset=utf-8",
                render_page(runs, title=title, live=True).encode("utf-8", "replace"),
            )
        elif path == "/data.json":
            self._respond(
                "application/json", json.dumps(page_data(runs, title=title, live=True)).encode()
            )
        elif path in sheets and sheets[path].is_file():
            self._respond("image/png", sheets[path].read_bytes())
        else:
            self.send_error(404)

    def _respond(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": (
                "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
                "script-src 'unsafe-inline'; connect-src 'self'"
            ),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing for a request."""
