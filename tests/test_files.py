from __future__ import annotations

from pathlib import Path

from transmute.files import replacing, write_text


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 251}.png"
    with replacing(path) as temporary:
        assert len(temporary.name) <= 20
        assert temporary.suffix == ".png"
        temporary.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    with replacing(tmp_path / "x.txt") as first, replacing(tmp_path / "x.txt") as second:
        first.write_text("1", encoding="utf-8")
        second.write_text("2", encoding="utf-8")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "1"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_partial_file_that_is_kept_is_found_again(tmp_path: Path) -> None:
    partial = []
    for name in ("x.bin", "y.bin", "x.bin", "y.bin"):
        with replacing(tmp_path / name, keep_partial=True) as temporary:
            partial.append(temporary)
            temporary.touch()
    assert partial[:2] == partial[2:]
    assert len(set(partial)) == 2


def test_names_that_are_not_utf_8_are_written_to_text_files_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", b"f\xfcr".decode("utf-8", "surrogateescape") + " ü\n")
    assert (tmp_path / "x.txt").read_bytes() == "f\\udcfcr ü\n".encode()
