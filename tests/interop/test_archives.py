from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from transmute.errors import UserError
from transmute.interop.archives import MIN_LIMIT, unpack

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
