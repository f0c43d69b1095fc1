from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.test_report import made
from transmute.app.watch import find_runs, server
from transmute.run import Run
from transmute.settings import UserError


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    made(tmp_path / "runs" / "one")
    made(tmp_path / "runs" / "group" / "two")
    (tmp_path / "secret.png").write_bytes(b"secret")
    with server(tmp_path / "runs", port=0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield tmp_path / "runs", serving.server_address[1]
        serving.shutdown()
        thread.join()


def get(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_its_pictures_are_served(served: tuple[Path, int]) -> None:
    folder, port = served
    status, text = get(port, "/")
    assert status == 200
    assert b'"live": true' in text
    told = json.loads(get(port, "/data.json")[1])
    assert {run["name"] for run in told["runs"]} == {"one", "two"}
    one = next(run for run in told["runs"] if run["name"] == "one")
    assert get(port, f"/{one['samples'][-1]['source']}") == (200, Run(folder / "one").sample_file(300).read_bytes())


def test_what_is_new_appears(served: tuple[Path, int]) -> None:
    folder, port = served
    before = json.loads(get(port, "/data.json")[1])
    Run(folder / "one").append_metrics({"step": 310, "pictures": 310, "cycle_a": 1.0})
    made(folder / "three")
    after = json.loads(get(port, "/data.json")[1])
    assert len(after["runs"]) == len(before["runs"]) + 1
    one = next(run for run in after["runs"] if run["name"] == "one")
    assert one["curves"]["cycle_a"][-1] == [310, 1.0]
    source = next(run for run in before["runs"] if run["name"] == "one")["samples"][-1]["source"]
    assert get(port, f"/{source}")[0] == 200  # addresses stay while other runs come


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


def test_it_is_read_only_and_answers_this_machine_alone(served: tuple[Path, int]) -> None:
    _, port = served
    for method in ("POST", "PUT", "DELETE"):
        assert get(port, "/", method)[0] == 501
    assert get(port, "/", host=f"evil.example:{port}")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


def test_runs_are_found_and_mistakes_named(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert [found.folder for found in find_runs(run.folder)] == [run.folder]
    assert find_runs(run.folder / "samples") == []
    with pytest.raises(UserError, match="not a folder"):
        server(tmp_path / "none")
    with server(tmp_path, port=0) as serving, pytest.raises(UserError, match="choose another --port"):
        server(tmp_path, port=serving.server_address[1])
