"""Measures how long the dashboard of `transmute watch` takes to answer many requests at once.

    python benchmarks/dashboard.py --rows 5000 --requests 200

Each request has a connection of its own, and all are made at the same time for the page of one
generated run. Some more connections stay idle meanwhile.
"""

from __future__ import annotations

import argparse
import random
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from transmute.files import write_json
from transmute.run import Run
from transmute.serve.dashboard import make_server


def write_run(run: Run, rows: int) -> None:
    """Writes a run with this number of reports, without samples."""
    numbers = random.Random(0)
    write_json(run.recipe_file, {"batch": 1})
    for step in range(1, rows + 1):
        losses = {f"loss_{index}": numbers.random() for index in range(10)}
        run.append(run.metrics_file, {"step": step, "images": step, **losses})


def seconds_for(port: int, barrier: threading.Barrier) -> float:
    """Seconds until the page is received completely, from the moment when all are ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    barrier.wait()
    start = time.perf_counter()
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or not body.endswith(b"</html>"):
        raise RuntimeError(f"status {response.status}, {len(body)} bytes")
    return time.perf_counter() - start


def main() -> None:
    """Prints the median and the maximum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000, help="reports of the run")
    parser.add_argument("--requests", type=int, default=200, help="requests at the same time")
    parser.add_argument("--idle", type=int, default=8, help="connections that send nothing")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_run(Run(folder / "run"), options.rows)
        server = stack.enter_context(make_server(folder, port=0))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        port = server.server_address[1]
        for _ in range(options.idle):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for attempt in ("first", "second"):
            barrier = threading.Barrier(options.requests)
            with ThreadPoolExecutor(options.requests) as pool:
                futures = [pool.submit(seconds_for, port, barrier) for _ in range(options.requests)]
                seconds = [future.result() for future in futures]
            print(
                f"{attempt} {options.requests} requests at once: "
                f"median {1000 * median(seconds):.0f} ms, maximum {1000 * max(seconds):.0f} ms"
            )


if __name__ == "__main__":
    main()
