from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from transmute.errors import UserError
from transmute.interop.archives import MIN_LIMIT, unpack

Pack = Callable[[Path, dict[str, bytes]], Path]
FILES = {"set/trainA/1 a:b.jpg": b"one", "set/trainB/2.jpg": b"two", "set/note.txt": b""}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(
    path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = ""
) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, link
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path) -> str:
    """The error message of an archive of which nothing may be unpacked."""
    with pytest.raises(UserError) as error:
        unpack(archive, archive.parent / "out" / "set")
    assert [path.name for path in archive.parent.parent.rglob("*") if not path.is_dir()] == [
        archive.name
    ]
    assert not (archive.parent / "out" / "set").exists()
    return str(error.value)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_single_folder_around_all_content_is_removed(pack, tmp_path: Path) -> None:
    junk = {"__MACOSX/set/._2.jpg": b"x", "set/._note.txt": b"x"}
    assert unpack(pack(tmp_path / "archive", FILES | junk), tmp_path / "new" / "out") == 3
    assert contents(tmp_path / "new" / "out") == {
        name.removeprefix("set/"): content for name, content in FILES.items()
    }
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_folder_with_a_meaning_is_kept(pack, tmp_path: Path) -> None:
    unpack(pack(tmp_path / "archive", {"train/1.jpg": b"1", "train/2.jpg": b"2"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"train/1.jpg": b"1", "train/2.jpg": b"2"}


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "set/../../out.txt", "/tmp/transmute-out.txt", "C:/out.txt", "..\\out.txt"],
)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_paths_outside_the_folder_are_refused(pack, name: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    message = refused(pack(tmp_path / "inner" / "archive", {"set/1.jpg": b"1", name: b"2"}))
    assert "cannot be trusted" in message
    assert not Path("/tmp/transmute-out.txt").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_file_are_refused(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    assert "is not a plain file" in refused(
        tarred(tmp_path / "inner" / "archive", {"set/link": b""}, kind, "/etc/passwd")
    )


def test_links_and_encrypted_files_in_a_zip_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "archive"
    link = zipfile.ZipInfo("set/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is not a plain file" in refused(path)
    content = bytearray(zipped(path, {"set/1.jpg": b"1"}).read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "is not a plain file" in refused(path)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_bomb_is_refused(pack, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    assert f"would unpack to more than {MIN_LIMIT} bytes" in refused(
        pack(tmp_path / "inner" / "archive", {"set/1": bytes(MIN_LIMIT + 1)})
    )


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["set/1.jpg", "set/1.jpg"], "twice"),
        (["set/1", "set/1/2.jpg"], "twice"),
        (["set/1/2.jpg", "set/1"], "twice"),
        ([f"set/{'1' * 300}.jpg"], "over 255 characters"),
        (["1/" * 500 + "1.jpg"], "over 32 folders"),
        (["set/\x1b[2J.jpg"], "control characters"),
        (["set/1\n.jpg"], "control characters"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_cannot_be_trusted_are_refused(
    pack: Pack, names: list[str], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "archive"
    if pack is zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"1")
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))
    message = refused(path)
    assert "cannot be trusted" in message
    assert reason in message
    assert message.isprintable()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_methods_that_can_unpack_to_gigabytes_at_once_are_refused(
    method: int, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    with zipfile.ZipFile(tmp_path / "inner" / "archive", "w", method) as archive:
        archive.writestr("set/1.jpg", bytes(10**6))
    assert "another method than deflate" in refused(tmp_path / "inner" / "archive")


def tar_header(kind: bytes, size: int, name: str = "set/1") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


TARS = {
    "a huge list of names": tar_header(tarfile.XHDTYPE, 10**10) + bytes(10**7),
    "a huge long name": tar_header(tarfile.GNUTYPE_LONGNAME, 10**10) + bytes(10**7),
    "a negative size": tar_header(tarfile.REGTYPE, -512) + bytes(1024),
    "a negative size of a header": tar_header(tarfile.XHDTYPE, -512) + bytes(10**7),
    "nested headers": tar_header(tarfile.XHDTYPE, 0) * 3000,
    "many global headers": (tar_header(tarfile.XGLTYPE, 2**19) + bytes(2**19)) * 30,
    "a sparse file": tar_header(tarfile.GNUTYPE_SPARSE, 10**6) + bytes(1024),
    "a huge file": tar_header(tarfile.REGTYPE, 10**12) + bytes(1024),
    "a huge file that is skipped": tar_header(tarfile.REGTYPE, 10**12, "set/._1") + bytes(1024),
    "a truncated file": tar_header(tarfile.REGTYPE, 10**6) + bytes(1024),
}


@pytest.mark.parametrize("what", TARS)
def test_a_forged_tar_file_is_refused_in_little_memory(what: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "archive"
    path.write_bytes(gzip.compress(TARS[what], 1))
    tracemalloc.start()
    message = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is damaged" in message or "cannot be trusted" in message
    assert peak < 10**7


def test_a_zip_file_that_lies_about_its_contents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = zipped(tmp_path / "inner" / "archive", {"set/1.jpg": bytes(10**6)})
    whole = bytearray(path.read_bytes())
    directory = whole.index(b"PK\1\2")
    for position, value, reason in (
        (directory + 24, 10, "is damaged"),  # the unpacked size: 10 bytes instead of 10^6
        (directory + 24, 2**32 - 2, "would unpack to more than"),
        (directory + 16, 0, "is damaged"),  # the checksum
        (directory + 42, 5, "is damaged"),  # where the file begins
        (len(whole) - 10, 2**31, "is damaged"),  # the size of the directory
    ):
        forged = bytearray(whole)
        forged[position : position + 4] = struct.pack("<I", value)
        path.write_bytes(forged)
        assert reason in refused(path)


def test_the_directory_of_a_zip_file_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "archive"
    size = 2**26
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, size, 0, 0)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)
    assert "the list of its files has 67108864 bytes" in refused(path)


def test_an_archive_of_too_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transmute.interop.archives.MAX_FILES", 2)
    (tmp_path / "inner").mkdir()
    for pack in (zipped, tarred):
        message = refused(pack(tmp_path / "inner" / "archive", FILES))
        assert "or 2 files" in message or "it contains 3 files" in message


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_damaged_archive_leaves_no_folder(pack, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = pack(
        tmp_path / "inner" / "archive", {"set/1.jpg": b"1", "set/2.jpg": os.urandom(50_000)}
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:30_000])
    assert "is damaged" in refused(path)
    path.write_bytes(whole[:25_000] + bytes(100) + whole[25_100:])
    assert "is damaged" in refused(path)
    path.write_bytes(b"no archive")
    assert "is damaged" in refused(path)


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", FILES)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"out exists. Remove it"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
