from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.site import Site
from transmute.download import TRIES, download
from transmute.errors import UserError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def target(site: Site, tmp_path: Path) -> Path:
    site.files["/file.pth"] = CONTENT
    return tmp_path / "cache" / "file.pth"


def fetch(site: Site, target: Path, **expected) -> bytes:
    url = f"{site.url}/file.pth"
    return download(url, target, pause=0.001, timeout=5, **expected).read_bytes()


def refused(site: Site, target: Path, **expected) -> str:
    """The message of a download that must fail and leave no file."""
    with pytest.raises(UserError) as error:
        fetch(site, target, **expected)
    assert not target.exists()
    return str(error.value)


def ranges(site: Site) -> list[str | None]:
    return [requested for _, requested in site.asked]


def test_a_complete_file_is_the_only_one_left(site: Site, target: Path) -> None:
    assert fetch(site, target, sha256=SHA256.upper()) == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.pth"]


def test_an_existing_file_is_not_downloaded_again(site: Site, target: Path) -> None:
    assert fetch(site, target) == fetch(site, target) == CONTENT
    assert len(site.asked) == 1


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8]])
def test_an_interrupted_download_with_a_known_hash_is_resumed(
    site: Site, target: Path, sha256: str
) -> None:
    site.breaks = [100_000, 50_000]
    assert fetch(site, target, sha256=sha256) == CONTENT
    assert ranges(site) == [None, "bytes=100000-", "bytes=150000-"]


def test_progress_between_interruptions_resets_the_count_of_failures(
    site: Site, target: Path
) -> None:
    site.breaks = [1000] * 3 * TRIES
    assert fetch(site, target, sha256=SHA256) == CONTENT


def test_a_later_call_resumes_a_download_with_a_known_hash(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    message = refused(site, target, sha256=SHA256)
    assert f"failed {TRIES} times in a row (received 100000 of 300000 bytes)" in message
    assert f"{site.url}/file.pth" in message
    assert str(target) in message
    site.asked.clear()
    assert fetch(site, target, sha256=SHA256) == CONTENT
    assert ranges(site) == ["bytes=100000-"]
    assert [path.name for path in target.parent.iterdir()] == ["file.pth"]


def test_without_a_known_hash_an_interrupted_download_restarts(site: Site, target: Path) -> None:
    site.breaks = [100_000]
    assert fetch(site, target) == CONTENT
    assert ranges(site) == [None, None]


def test_without_a_known_hash_a_failed_download_leaves_nothing(site: Site, target: Path) -> None:
    site.breaks = [100_000] * TRIES
    refused(site, target)
    assert not list(target.parent.iterdir())


def test_a_file_that_changed_during_an_interruption_is_refused(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    refused(site, target, sha256=SHA256)
    site.files["/file.pth"] = CONTENT[::-1]
    assert "its SHA-256 is " in refused(site, target, sha256=SHA256)
    assert not list(target.parent.iterdir())


def test_a_server_without_ranges_sends_the_whole_file_again(site: Site, target: Path) -> None:
    site.ranges, site.breaks = False, [100_000]
    assert fetch(site, target, sha256=SHA256) == CONTENT
    assert len(site.asked) == 2


@pytest.mark.parametrize("expected", [{}, {"sha256": SHA256}])
def test_a_server_that_always_breaks_off_at_the_same_byte_is_given_up(
    site: Site, target: Path, expected: dict[str, str]
) -> None:
    site.ranges, site.breaks = False, [100_000] * 100
    assert f"failed {TRIES} times" in refused(site, target, **expected)
    assert len(site.asked) == TRIES


def test_a_partial_file_longer_than_the_file_is_replaced(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    shorter = CONTENT[:50_000]
    sha256 = hashlib.sha256(shorter).hexdigest()
    refused(site, target, sha256=sha256)
    site.files["/file.pth"] = shorter
    assert fetch(site, target, sha256=sha256) == shorter


def test_a_busy_server_is_asked_again(site: Site, target: Path) -> None:
    site.failures = [503, 429]
    assert fetch(site, target) == CONTENT


def test_a_missing_file_is_reported_with_its_address_and_target(site: Site, target: Path) -> None:
    del site.files["/file.pth"]
    message = refused(site, target)
    assert "404 Not Found" in message
    assert f"{site.url}/file.pth" in message
    assert f"by hand and put it at {target}, then run the same command again" in message
    assert len(site.asked) == 1


def test_offline_a_file_downloaded_by_hand_is_accepted(
    nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    url, target = f"{nobody}/file.pth", tmp_path / "cache" / "file.pth"
    with pytest.raises(UserError, match=r"cannot reach http://127\.0\.0\.1") as error:
        download(url, target, pause=3600)  # fails at once, without a pause
    assert f"Download this file by hand and put it at {target}" in str(error.value)
    target.write_bytes(CONTENT)
    assert download(url, target).read_bytes() == CONTENT


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.pth"
        with pytest.raises(UserError, match="timed out"):
            download(url, tmp_path / "file.pth", timeout=0.05)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_refused(site: Site, target: Path, kind: str) -> None:
    page = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
    site.kind, site.files["/file.pth"] = kind, page
    assert "web page" in refused(site, target)
    assert not list(target.parent.iterdir())
    target.write_bytes(page)  # as saved from a browser
    with pytest.raises(UserError, match="it is a web page"):
        fetch(site, target)


def test_a_git_lfs_pointer_is_refused(site: Site, target: Path) -> None:
    site.files["/file.pth"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    assert "Git LFS pointer" in refused(site, target)


def test_a_file_of_a_wrong_hash_is_removed(site: Site, target: Path) -> None:
    assert "its SHA-256 is " in refused(site, target, sha256="00" * 32)
    assert not list(target.parent.iterdir())


def test_an_existing_file_of_a_wrong_hash_is_kept_and_reported(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"other")
    with pytest.raises(UserError, match="Remove or replace it"):
        fetch(site, target, sha256=SHA256)
    assert target.read_bytes() == b"other"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "horse2zebra"])
def test_only_http_addresses_are_accepted(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Pass a URL that starts with http:// or https://"):
        download(url, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:port/x", "http://[/x", "http://a..b/x"]
)
def test_a_malformed_address_is_a_user_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"by hand|cannot be downloaded"):
        download(url, tmp_path / "x")


def answered(response: list[bytes], target: Path, pause: float = 0.0, **options) -> str:
    """The message for a server that sends these parts, and then closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with connection, contextlib.suppress(OSError):
                        connection.recv(10_000)
                        for part in response:
                            connection.sendall(part)
                            time.sleep(pause)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/file.pth"
        with pytest.raises(UserError) as error:
            download(url, target, pause=0.001, **{"timeout": 5, **options})
    assert not target.exists()
    return str(error.value)


@pytest.mark.parametrize("length", ["-5", "x", "0x10", "9" * 17, "9" * 5000])
def test_a_forged_length_is_refused_or_ignored(site: Site, tmp_path: Path, length: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    message = answered([head, b"data"], tmp_path / "file.pth", sha256="00" * 32)
    assert ("does not fit on the disk" in message) == (length == "9" * 17)
    assert "its SHA-256 is " in message or length == "9" * 17


def test_a_body_without_end_is_stopped_before_the_disk_is_full(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    small = usage._replace(free=101_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    body = [b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(100_000)] * 100]
    message = answered(body, tmp_path / "file.pth")
    assert "does not fit on the disk, of which 1000000 bytes are free" in message
    assert not list(tmp_path.iterdir())


def test_a_body_that_trickles_in_is_stopped(site: Site, tmp_path: Path) -> None:
    body = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 1000]
    start = time.monotonic()
    message = answered(body, tmp_path / "file.pth", pause=0.05, timeout=0.3)
    assert "sent only " in message
    assert time.monotonic() - start < 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("location", "reason"),
    [("/file.pth", "infinite loop"), ("file:///etc/passwd", "is not allowed")],
)
def test_redirects_in_circles_or_to_files_are_an_error_of_one_line(
    site: Site, tmp_path: Path, location: str, reason: str
) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
    message = answered([head], tmp_path / "file.pth")
    assert reason in message
    assert "\n" not in message
