"""`transmute watch`: the page of all runs in a folder, served live to this machine. It only ever reads."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from transmute.report.page import facts, page
from transmute.run import Run
from transmute.settings import UserError

_POLICY = "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


def find_runs(folder: Path) -> list[Run]:
    """The run that a folder is, or those in it and in its folders, by name."""
    if Run(folder).exists():
        return [Run(folder)]
    found = [Run(path.parent) for path in (*folder.glob("*/recipe.json"), *folder.glob("*/*/recipe.json"))]
    return sorted(found, key=lambda run: run.folder.as_posix())


def server(folder: Path, *, port: int = 8765) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet serving; port 0 takes any that is free.

    Raises:
        UserError: If there is no such folder, or the port is taken.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name a run folder, or one that holds some")

    class Handler(_Handler):
        runs = folder

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another --port") from None


class _Server(ThreadingHTTPServer):
    """One whose visitors may leave in the midst of an answer."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: the console belongs to the user."""


class _Handler(BaseHTTPRequestHandler):
    """Three kinds of answer: the page, its data, and pictures of samples.

    A page of another site may send a visitor's browser here under a name of its own: only requests that name this machine are answered.
    """

    runs: Path

    def do_GET(self) -> None:
        host = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        if host not in ("127.0.0.1", "localhost"):
            return self.send_error(HTTPStatus.FORBIDDEN)
        path = self.path.split("?")[0]
        title = self.runs.resolve().name
        if path == "/":
            return self._answer(page(find_runs(self.runs), title=title, live=True).encode("utf-8", "replace"), "text/html; charset=utf-8")
        if path == "/data.json":
            return self._answer(json.dumps(facts(find_runs(self.runs), title=title, live=True)).encode(), "application/json")
        if sample := re.fullmatch(r"/samples/(\w+)/(\d{1,12})\.png", path):
            run = next((run for run in find_runs(self.runs) if run.address == sample[1]), None)
            file = run.sample_file(int(sample[2])) if run else None
            if file and file.is_file():
                return self._answer(file.read_bytes(), "image/png")
        return self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the console belongs to the user."""
