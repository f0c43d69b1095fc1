from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.test_report import make_run
from transmute.errors import UserError
from transmute.run import Run
from transmute.serve.dashboard import find_runs, make_server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    make_run(tmp_path / "runs" / "one")
    make_run(tmp_path / "runs" / "group" / "two")
    (tmp_path / "secret.png").write_bytes(b"secret")
    with make_server(tmp_path / "runs", port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "runs", server.server_address[1]
        server.shutdown()
        thread.join()


def get(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    return response.status, response.read()


def test_the_page_and_its_images_are_served(served: tuple[Path, int]) -> None:
    folder, port = served
    status, text = get(port, "/")
    assert status == 200
    assert b'"live": true' in text
    data = json.loads(get(port, "/data.json")[1])
    assert {run["name"] for run in data["runs"]} == {"one", "two"}
    one = next(run for run in data["runs"] if run["name"] == "one")
    assert get(port, f"/{one['samples'][-1]['source']}") == (
        200,
        Run(folder / "one").sample_file(300).read_bytes(),
    )


def test_new_rows_and_runs_appear(served: tuple[Path, int]) -> None:
    folder, port = served
    before = json.loads(get(port, "/data.json")[1])
    Run(folder / "one").append(
        Run(folder / "one").metrics_file, {"step": 310, "images": 310, "cycle_a": 1.0}
    )
    make_run(folder / "three")
    after = json.loads(get(port, "/data.json")[1])
    assert len(after["runs"]) == len(before["runs"]) + 1
    one = next(run for run in after["runs"] if run["name"] == "one")
    assert one["curves"]["cycle_a"][-1] == [310, 1.0]
    source = next(run for run in before["runs"] if run["name"] == "one")["samples"][-1]["source"]
    assert get(port, f"/{source}")[0] == 200  # URLs do not change when runs are added


@pytest.mark.parametrize(
    "path",
    [
        "/secret.png",
        "/../secret.png",
        "/samples/../../secret.png",
        "/samples/x/1.png",
        "/samples/%2e%2e/1.png",
        "/recipe.json",
        "/samples/0/../1.png",
    ],
)
def test_nothing_else_is_served(served: tuple[Path, int], path: str) -> None:
    assert get(served[1], path)[0] == 404


def test_only_reading_from_this_machine_is_allowed(served: tuple[Path, int]) -> None:
    _, port = served
    for method in ("POST", "PUT", "DELETE"):
        assert get(port, "/", method)[0] == 501
    assert get(port, "/", host=f"evil.example:{port}")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


def test_a_closed_connection_prints_no_traceback(
    served: tuple[Path, int], capfd: pytest.CaptureFixture
) -> None:
    for request in (b"", b"GET /", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served[1]), timeout=10) as browser:
            browser.sendall(request)
            # Closing resets the connection instead of ending it.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert get(served[1], "/")[0] == 200  # by then, the requests before it have failed
    assert capfd.readouterr().err == ""


def test_runs_are_found_and_unusable_arguments_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert [found.folder for found in find_runs(run.folder)] == [run.folder]
    assert find_runs(run.folder / "samples") == []
    with pytest.raises(UserError, match="not a folder"):
        make_server(tmp_path / "none")
    with (
        make_server(tmp_path, port=0) as server,
        pytest.raises(UserError, match="Choose another `port`"),
    ):
        make_server(tmp_path, port=server.server_address[1])
