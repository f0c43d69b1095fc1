from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from transmute.errors import UserError
from transmute.images.find import (
    find_files,
    find_images,
    find_others,
    images_outside,
    require_images,
    unused_sentences,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def test_images_are_found_in_the_order_of_their_sorted_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JFIF", "b.avif", "a-c/1.jp2", "a/x/0.tga", "a/1.npy", "é.dcm", "a.pgm")
    touch(tmp_path, "notes.txt", "a/.hidden.png", ".cache/k.png", "drawing.eps", "Thumbs.db")
    found = find_images(tmp_path)
    assert len(found) == 7
    assert found == [path for path in sorted(tmp_path.rglob("*")) if path in found]


def test_linked_subfolders_are_searched(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/deep/1.png", "trainA/0.png")
    (tmp_path / "trainA" / "more").symlink_to("../elsewhere")
    assert names(tmp_path / "trainA") == ["0.png", "more/deep/1.png"]


def test_a_subfolder_is_visited_once_even_if_links_lead_back_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "set/0.png", "set/x/1.png", "set/y/2.png")
    for name, target in (("a", ".."), ("x/self", "."), ("x/y", "../y"), ("y/x", "../x")):
        (tmp_path / "set" / name).symlink_to(target)
    assert names(tmp_path / "set") == ["0.png", "x/1.png", "y/2.png"]


def test_links_that_lead_nowhere_and_pipes_are_listed_as_files(tmp_path: Path) -> None:
    touch(tmp_path, "good.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "missing.png").symlink_to("nothing.png")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.png")
    found = names(tmp_path)
    assert set(found) >= {"good.png", "loop.png", "missing.png"}
    assert ("pipe.png" in found) == (sys.platform != "win32")
    assert images_outside(tmp_path, tmp_path / "out") == find_images(tmp_path)


def test_a_subfolder_that_cannot_be_entered_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "0.png", "locked/1.png")
    list_folder = Path.iterdir

    def listed(path: Path):
        if path.name == "locked":  # a mode would not stop an administrator
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(Path, "iterdir", listed)
    with pytest.raises(UserError, match=r"folder .*locked cannot be entered: Permission denied"):
        find_images(tmp_path)


def test_files_that_are_not_images_are_counted_by_extension(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.heic", "a/deep/2.HEIC", "a/notes.txt", "a/README", "a/0.png", "b/x.png")
    touch(tmp_path, "a/.hidden.txt", "a/Thumbs.db", "a/desktop.ini", "c/x.svg")
    others = find_others([tmp_path / name for name in ("a", "b", "c", "missing")])
    assert unused_sentences(others) == [
        f"{tmp_path / 'a'}: 4 files are not used: 2 .heic, 1 without extension, 1 .txt (not images "
        "that can be read)",
        f"{tmp_path / 'c'}: 1 file is not used: 1 .svg (not images that can be read)",
    ]


def test_a_folder_without_images_is_an_error_that_says_what_it_contains(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no images\. Known extensions: apng, avif, .*"):
        require_images(tmp_path)
    touch(tmp_path, "notes.txt", "Thumbs.db")
    with pytest.raises(UserError, match=r"no images, only other files \(1 \.txt\)\. Known"):
        require_images(tmp_path)
    assert require_images(tmp_path, any_extension=True) == [tmp_path / "notes.txt"]
    touch(tmp_path, "X.PNG")
    assert require_images(tmp_path) == [tmp_path / "X.PNG"]
    with pytest.raises(UserError, match="is not a folder"):
        find_files(tmp_path / "X.PNG")
