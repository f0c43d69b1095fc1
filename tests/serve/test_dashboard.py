from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.test_report import make_run
from transmute.errors import UserError
from transmute.run import Run
from transmute.serve.dashboard import MAX_THREADS, find_runs, make_server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    make_run(tmp_path / "runs" / "one")
    make_run(tmp_path / "runs" / "group" / "two")
    (tmp_path / "secret.png").write_bytes(b"secret")
    with make_server(tmp_path / "runs", port=0, request_seconds=1.0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
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
    time.sleep(1.1)  # pages are shared for a second
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
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"):
        status, body = get(port, "/", method)
        assert status == 501
        assert body.count(b"\n") == 1
    assert get(port, "/", host=f"evil.example:{port}")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


def exchange(port: int, request: bytes) -> bytes:
    """The response to the bytes of a request, after which the client sends nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as response:
            return response.read()


def test_only_hosts_of_this_machine_are_accepted(served: tuple[Path, int]) -> None:
    def status(headers: str) -> bytes:
        return exchange(served[1], f"GET / HTTP/1.1\r\n{headers}\r\n\r\n".encode())[9:12]

    for host in ("localhost", "127.0.0.1:80", "LOCALHOST:8765", " localhost "):
        assert status(f"Host: {host}") == b"200", host
    for headers in (
        "",
        "Host:",
        "Host: 127.0.0.1:80:80",
        "Host: localhost.evil.example",
        "Host: evil.example#localhost",
        "Host: user@localhost",
        "Host: localhost:port",
        "Host: [::1]:80",
        "Host: 127.1",
        "Host: localhost\r\nHost: localhost",
        "Host: localhost\r\n evil.example",
        "Host: 12\u0667.0.0.1",
    ):
        assert status(headers) == b"403", headers


def test_an_absolute_address_is_not_served(served: tuple[Path, int]) -> None:
    request = b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert exchange(served[1], request).startswith(b"HTTP/1.0 404 ")


def test_head_has_the_headers_of_get_without_its_body(served: tuple[Path, int]) -> None:
    sheet = f"/{json.loads(get(served[1], '/data.json')[1])['runs'][0]['samples'][0]['source']}"
    for path in ("/", "/data.json", sheet, "/missing"):
        heads = []
        for method in ("GET", "HEAD"):
            connection = HTTPConnection("127.0.0.1", served[1], timeout=10)
            connection.request(method, path)
            response = connection.getresponse()
            heads.append({**response.headers} | {"Date": "", "status": str(response.status)})
            assert len(response.read()) == (
                int(heads[0]["Content-Length"]) if method == "GET" else 0
            )
        assert heads[0] == heads[1]
        assert heads[0]["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in heads[0]["Content-Security-Policy"]
        assert "Python" not in heads[0]["Server"]


GARBAGE = {
    b"": b"",
    b"GET /": b"403 ",  # HTTP/0.9
    b"\r\n\r\n": b"",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\n": b"400 ",  # TLS
    b"GET / HTTP/9.9\r\n\r\n": b"505 ",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n": b"414 ",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n": b"431 ",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n": b"431 ",
    b"GET /\xff\x00\x1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n": b"404 ",
}


def test_garbage_and_closed_connections_print_no_traceback(
    served: tuple[Path, int], capfd: pytest.CaptureFixture
) -> None:
    for request, status in GARBAGE.items():
        assert status in exchange(served[1], request)[:100], request[:40]
    for request in [*GARBAGE, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]:
        with socket.create_connection(("127.0.0.1", served[1]), timeout=10) as browser:
            browser.sendall(request)
            # Closing resets the connection instead of ending it.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert get(served[1], "/")[0] == 200  # by then, the requests before it have failed
    assert capfd.readouterr().err == ""


def test_slow_and_idle_clients_do_not_keep_others_waiting(served: tuple[Path, int]) -> None:
    """Their connections are closed, however steadily they send, and their threads are few."""
    before, start = threading.active_count(), time.monotonic()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served[1]), timeout=10))
            for _ in range(3 * MAX_THREADS)
        ]
        closed = []
        while len(closed) < MAX_THREADS and time.monotonic() - start < 8:
            for connection in connections[: MAX_THREADS // 2]:  # the others are idle
                try:
                    connection.sendall(b"G")
                except OSError:
                    closed.append(connection)
            assert threading.active_count() <= before + MAX_THREADS
            closed += [one for one in connections[MAX_THREADS // 2 : MAX_THREADS] if is_closed(one)]
            time.sleep(0.2)
    assert get(served[1], "/")[0] == 200
    assert time.monotonic() - start < 8


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_200_simultaneous_requests_are_answered(served: tuple[Path, int]) -> None:
    barrier = threading.Barrier(200)

    def status(index: int) -> int:
        barrier.wait()
        return get(served[1], "/" if index % 2 else "/data.json")[0]

    start = time.monotonic()
    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(status, range(200))) == [200] * 200
    assert time.monotonic() - start < 10


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_samples_outside_of_the_run_and_special_files_are_not_served(
    served: tuple[Path, int],
) -> None:
    folder, port = served
    run, other = Run(folder / "one"), Run(folder / "group" / "two")
    url = f"/samples/{run.url_id}"
    run.sample_file(1007).symlink_to(folder.parent / "secret.png")
    run.sample_file(1008).symlink_to(run.sample_file(300).name)  # stays inside
    run.sample_file(1009).mkdir()
    run.sample_file(1010).symlink_to("1010.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(run.sample_file(1011))
    other.sample_file(0).parent.rename(folder.parent / "moved")
    other.sample_file(0).parent.symlink_to(folder.parent / "moved")
    statuses = [get(port, f"{url}/{step}.png")[0] for step in range(1007, 1012)]
    assert statuses == [404, 200, 404, 404, 404]
    assert get(port, f"/samples/{other.url_id}/300.png")[0] == 404
    assert get(port, f"{url}/{'9' * 5000}.png")[0] == 404
    data = json.loads(get(port, "/data.json")[1])  # is not blocked by the named pipe
    assert {run["name"] for run in data["runs"]} == {"one", "two"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("record", ["recipe.json", "environment.json", "metrics.jsonl"])
def test_runs_of_which_a_record_is_a_named_pipe_or_outside_are_left_out(
    tmp_path: Path, record: str
) -> None:
    """Run folders themselves can be links: that is how runs are collected in one folder."""
    make_run(tmp_path / "elsewhere")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    file = make_run(tmp_path / "runs" / "bad").folder / record
    file.unlink(missing_ok=True)
    file.symlink_to(tmp_path / "elsewhere" / record)
    assert [run.folder.name for run in find_runs(tmp_path / "runs")] == ["linked"]
    if hasattr(os, "mkfifo"):
        file.unlink()
        os.mkfifo(file)
        assert [run.folder.name for run in find_runs(tmp_path / "runs")] == ["linked"]


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
