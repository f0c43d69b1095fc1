"""Attacks on the web server of `transmute watch`."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from random import Random
from statistics import median
from urllib.request import urlopen

from tests.campaigns.damage import damaged_bytes
from tests.campaigns.materials import Materials
from tests.campaigns.runner import Campaign, Case, Result, checked

SECRET = "the-secret-outside"
PATHS = [
    *("/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%252e%252e/secret.txt"),
    *("/samples/../../../secret.txt", "/samples/%s/..%%2f..%%2f..%%2fsecret.txt", "//secret.txt"),
    *("/samples/x/1.png", "/samples/%s/link.png", "/samples/%s/100.png", "/samples/%s/6.png/"),
    *("/secret.txt", "/run/recipe.json", "/\\..\\secret.txt", "/%00", "/a%0d%0aX: y", "/\x1b[31m"),
    *("/?" + "a" * 60_000, "/" + "a/" * 5000, "file:///etc/passwd", "http://evil/", "*", ""),
    *("/%ff%fe", "/data.json?x=<script>", "/..;/secret.txt", "/samples/%s/" + "9" * 5000 + ".png"),
]
HOSTS = [
    *("evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1]", "", "127.0.0.1:x", "0"),
    *("127.0.0.1@evil.example", "LOCALHOST", "localhost:99999", "a" * 5000, "127.0.0.1\t", "\xff"),
    *("127.0.0.1, evil", "localhost/evil", "2130706433", "0x7f.1", "127.1"),
]
METHODS = (
    "HEAD",
    "POST",
    "OPTIONS",
    "PUT",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PATCH",
    "get",
    "X" * 5000,
)
Address = tuple[str, int]


def exchange(address: Address, data: bytes, *, seconds: float = 5) -> bytes:
    """Sends bytes, and returns all that comes back until the connection is closed."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):  # the server closed it
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                received += part
        return received


def request(path: str, host: str = "localhost", method: str = "GET", more: str = "") -> bytes:
    """The bytes of a request."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1", "replace")


def _paths(address: Address, random: Random, run_id: str) -> None:
    for path in random.sample(PATHS, 8):
        answer = exchange(address, request(path.replace("%s", run_id, 1)))
        if SECRET.encode() in answer:
            raise AssertionError(f"{path!r} shows a file outside of the run")


def _hosts(address: Address, random: Random, run_id: str) -> None:
    for host in random.sample(HOSTS, 6):
        answer = exchange(address, request("/data.json", host))
        if answer.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")) and host.lower() not in (
            "localhost",
            "127.0.0.1\t",
            "localhost:99999",
        ):
            raise AssertionError(f"answers the host {host!r}")
    if b" 200 " in exchange(address, b"GET / HTTP/1.1\r\n\r\n")[:20]:
        raise AssertionError("answers a request without a host")


def _methods(address: Address, random: Random, run_id: str) -> None:
    for method in random.sample(METHODS, 4):
        answer = exchange(
            address, request("/", method=method, more="Content-Length: 3\r\n") + b"abc"
        )
        if method != "HEAD" and answer[9:12] == b"200":
            raise AssertionError(f"{method} is answered with 200")
    answer = exchange(address, request("/", method="HEAD"))
    body = answer.partition(b"\r\n\r\n")[2]
    if answer[9:12] != b"200" or body:
        raise AssertionError(f"HEAD is answered with {answer[:60]!r}")


def _malformed(address: Address, random: Random, run_id: str) -> None:
    valid = request("/data.json", more="Accept: */*\r\nX: y\r\n")
    for _ in range(6):
        exchange(address, damaged_bytes(valid, random))
    for data in (
        b"",
        b"\r\n" * 50,
        b"\0" * 100,
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01",
    ):
        exchange(address, data)
    exchange(address, request("/", more="Content-Length: 99999999999999\r\n"))
    exchange(address, request("/", more="Transfer-Encoding: chunked\r\n") + b"zzz\r\n")
    exchange(address, request("/", more="Expect: 100-continue\r\n"))


def _huge(address: Address, random: Random, run_id: str) -> None:
    for more in ("X: " + "a" * 200_000 + "\r\n", "X: y\r\n" * 5000, "X" * 70_000 + ": y\r\n"):
        with contextlib.suppress(ConnectionError, TimeoutError):
            exchange(address, request("/", more=more))
    with contextlib.suppress(ConnectionError, TimeoutError):
        exchange(address, b"GET /" + b"a" * 5_000_000)


def _resets(address: Address, random: Random, run_id: str) -> None:
    for _ in range(20):
        with socket.create_connection(address, timeout=5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(ConnectionError):
                connection.sendall(request("/")[: random.randrange(60)] or b"G")
                connection.sendall(request("/"))
                connection.recv(random.choice([1, 1000]))


def _idle(address: Address, random: Random, run_id: str) -> None:
    """Connections that send nothing or little, of which only some may wait."""
    with contextlib.ExitStack() as stack:
        for number in range(150):
            connection = stack.enter_context(socket.create_connection(address, timeout=5))
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET / HT"[: number % 8])
        time.sleep(0.3)
        threads = threading.active_count()
        began = time.monotonic()
        normal(address)  # while they wait
        print(f"note threads {threads}\nnote beside_idle {time.monotonic() - began:.3f}")
        if threads > 110:
            raise AssertionError(f"{threads} threads for 150 idle connections")


def _slow(address: Address, random: Random, run_id: str) -> None:
    """A connection that sends a byte now and then must end some time."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=1) as connection, contextlib.suppress(OSError):
        while time.monotonic() - began < 25:
            connection.sendall(b"X")
            time.sleep(0.5)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(1000):
                    return
            connection.settimeout(1)
        raise AssertionError("a connection that sends a byte every half second stays for 25 s")


def _many(address: Address, random: Random, run_id: str) -> None:
    """200 requests at once."""

    def timed(number: int) -> float:
        began = time.monotonic()
        answer = exchange(address, request("/" if number % 2 else "/data.json"), seconds=20)
        if answer[9:12] != b"200":
            raise AssertionError(f"request {number} of 200 is answered with {answer[:60]!r}")
        return time.monotonic() - began

    with ThreadPoolExecutor(200) as pool:
        times = list(pool.map(timed, range(200)))
    print(f"note median {median(times):.3f}\nnote maximum {max(times):.3f}")


def normal(address: Address) -> None:
    """A request as a browser sends it, which must be answered."""
    with urlopen(f"http://localhost:{address[1]}/data.json", timeout=10) as response:
        if response.status != 200 or not response.read():
            raise AssertionError("the server does not answer any more")


ATTACKS: dict[Callable[[Address, Random, str], None], int] = {
    _paths: 4,
    _hosts: 4,
    _methods: 4,
    _malformed: 8,
    _resets: 4,
    _huge: 2,
    _idle: 1,
    _many: 1,
    _slow: 1,
}
"""The attacks, and how often each is made."""


def campaign(materials: Materials) -> Campaign:
    """Attacks on servers."""
    order = [attack for attack, times in ATTACKS.items() for _ in range(times)]

    def case(random: Random, number: int) -> tuple[str, Case]:
        # The first ones are one of each, except the slow one.
        attack = list(ATTACKS)[number] if number < 8 else order[number % len(order)]

        def run(folder: Path) -> Result:
            materials.copy(folder, "run")
            (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
            (folder / "run" / "samples" / "100.png").symlink_to(folder / "secret.txt")
            (folder / "run" / "samples" / "link.png").symlink_to(folder / "secret.txt")
            (folder / "run" / "linked").symlink_to("/etc")
            result = checked(folder, lambda: serve(attack, random), statuses=(0,), limit=45)
            notes = {}
            for line in result.ended.out.splitlines() if result.ended else ():
                if line.startswith("note "):
                    _, name, value = line.split()
                    notes[name] = float(value)
            return Result(result.kind, result.detail, result.ended, notes)

        return attack.__name__.lstrip("_"), run

    return Campaign("http", 45, 5, case)


def serve(attack: Callable[[Address, Random, str], None], random: Random) -> None:
    """Serves a run, attacks, and checks that the server still works and has no more threads."""
    from transmute.run import Run
    from transmute.serve.dashboard import make_server

    server: ThreadingHTTPServer
    with make_server(Path("run"), port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = ("127.0.0.1", server.server_address[1])
        normal(address)
        attack(address, random, Run(Path("run")).url_id)
        normal(address)
        deadline = time.monotonic() + 15
        while threading.active_count() > 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        if threading.active_count() > 4:
            raise AssertionError(f"{threading.active_count()} threads stay after the attack")
        descriptors = len(os.listdir("/proc/self/fd"))
        if descriptors > 60:
            raise AssertionError(f"{descriptors} files stay open after the attack")
        server.shutdown()
