from __future__ import annotations

import hashlib
import random
import socket
from pathlib import Path

import pytest

from tests.site import Site
from transmute.download import TRIES, download
from transmute.settings import UserError

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def target(site: Site, tmp_path: Path) -> Path:
    site.files["/file.pth"] = CONTENT
    return tmp_path / "cache" / "file.pth"


def fetch(site: Site, target: Path, **known) -> bytes:
    return download(f"{site.url}/file.pth", target, pause=0.001, timeout=5, **known).read_bytes()


def refused(site: Site, target: Path, **known) -> str:
    """The sentence of a download that must fail and leave no file."""
    with pytest.raises(UserError) as error:
        fetch(site, target, **known)
    assert not target.exists()
    return str(error.value)


def test_a_file_arrives_whole_and_nothing_else_is_left(site: Site, target: Path) -> None:
    assert fetch(site, target, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest().upper()) == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.pth"]
    assert fetch(site, target) == CONTENT
    assert len(site.asked) == 1  # it was there


def test_a_connection_that_breaks_is_taken_up_where_it_broke(site: Site, target: Path) -> None:
    site.breaks = [100_000, 50_000]
    assert fetch(site, target) == CONTENT
    assert [span for _, span in site.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_with_the_part(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    sentence = refused(site, target)
    assert f"broke off {TRIES} times (100000 of 300000 bytes came)" in sentence
    assert f"{site.url}/file.pth" in sentence
    assert str(target) in sentence
    site.asked.clear()
    assert fetch(site, target) == CONTENT
    assert site.asked == [("/file.pth", "bytes=100000-")]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_part(site: Site, target: Path, heeds_if_range: bool) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    refused(site, target)
    site.tag, site.files["/file.pth"], site.heeds_if_range = '"second"', CONTENT[::-1], heeds_if_range
    assert fetch(site, target) == CONTENT[::-1]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_mark_of_its_version_a_file_is_begun_anew(site: Site, target: Path, tag: str | None) -> None:
    site.tag, site.breaks = tag, [100_000]
    assert fetch(site, target) == CONTENT
    assert [span for _, span in site.asked] == [None, None]


def test_a_server_that_knows_no_ranges_sends_the_whole_again(site: Site, target: Path) -> None:
    site.ranges, site.breaks = False, [100_000]
    assert fetch(site, target) == CONTENT
    assert len(site.asked) == 2


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(site: Site, target: Path) -> None:
    site.ranges, site.breaks = False, [100_000] * 100
    assert "broke off" in refused(site, target)
    assert len(site.asked) == TRIES


def test_a_part_longer_than_the_file_is_begun_anew(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    refused(site, target)
    site.files["/file.pth"] = CONTENT[:50_000]
    assert fetch(site, target) == CONTENT[:50_000]


def test_a_part_of_another_address_is_not_used(site: Site, target: Path) -> None:
    site.breaks = [100_000] + [0] * (TRIES - 1)
    refused(site, target)
    site.files["/other.pth"] = CONTENT[::-1]
    assert download(f"{site.url}/other.pth", target).read_bytes() == CONTENT[::-1]


def test_a_busy_server_is_asked_again(site: Site, target: Path) -> None:
    site.failures = [503, 429]
    assert fetch(site, target) == CONTENT


def test_a_missing_file_names_the_address_and_where_to_put_it(site: Site, target: Path) -> None:
    del site.files["/file.pth"]
    sentence = refused(site, target)
    assert "404 Not Found" in sentence
    assert f"fetch {site.url}/file.pth by hand and put it at {target}, then run the same command again" in sentence
    assert len(site.asked) == 1


def test_offline_names_the_address_and_where_to_put_it_and_then_takes_it(nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    url, target = f"{nobody}/file.pth", tmp_path / "cache" / "file.pth"
    with pytest.raises(UserError, match=r"cannot reach 127\.0\.0\.1") as error:
        download(url, target)  # with the default pause: nobody waits for a network that is not there
    assert f"fetch {url} by hand and put it at {target}" in str(error.value)
    target.write_bytes(CONTENT)
    assert download(url, target, size=len(CONTENT)).read_bytes() == CONTENT


def test_a_server_that_never_answers_does_not_hold_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="timed out"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/file.pth", tmp_path / "file.pth", timeout=0.05)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_file(site: Site, target: Path, kind: str) -> None:
    site.kind, site.files["/file.pth"] = kind, b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
    assert "web page" in refused(site, target)
    assert not list(target.parent.iterdir())
    target.write_bytes(site.files["/file.pth"])  # saved from a browser
    with pytest.raises(UserError, match="it is a web page"):
        fetch(site, target)


def test_a_git_lfs_pointer_is_no_file(site: Site, target: Path) -> None:
    site.files["/file.pth"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    assert "Git LFS pointer" in refused(site, target)


def test_a_wrong_size_or_hash_is_refused_and_removed(site: Site, target: Path) -> None:
    assert "it has 300000 bytes, not 7" in refused(site, target, size=7)
    assert "its SHA-256 is " in refused(site, target, sha256="00" * 32)
    assert not list(target.parent.iterdir())
    target.write_bytes(b"other")
    with pytest.raises(UserError, match="remove or replace it"):
        fetch(site, target, size=7)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "horse2zebra"])
def test_only_http_is_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="begins with http:// or https://"):
        download(url, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/x", "http://[/x", "http://a..b/x"])
def test_an_address_that_is_none_is_one_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"by hand|cannot be fetched"):
        download(url, tmp_path / "x")
