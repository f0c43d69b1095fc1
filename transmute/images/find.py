"""Finds image files in folders, and counts the files that are not used."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from transmute.errors import UserError, shortened

_NAMES = (
    "apng avif bmp dcm gif j2k jfif jp2 jpe jpeg jpg jxl npy npz pbm pfm pgm png pnm ppm tga tif "
    "tiff webp"
)

EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
"""Extensions of image files, in lower case."""

KNOWN_EXTENSIONS = f"Known extensions: {_NAMES.replace(' ', ', ')}"
"""A sentence for errors."""

_COMPANIONS = frozenset({"thumbs.db", "desktop.ini"})
"""Files that Windows adds to folders, in lower case."""


def find_files(folder: Path) -> list[Path]:
    """Finds the files in a folder and its subfolders, including linked ones.

    Each subfolder is visited once, even if several links lead to it or it contains itself. Broken
    links and pipes count as files: opening them is an error.

    Args:
        folder: A folder.

    Returns:
        Sorted paths, without hidden files, files in hidden folders, Thumbs.db and desktop.ini.

    Raises:
        UserError: If the folder does not exist, or a subfolder cannot be entered.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    files, pending, visited = [], deque([folder]), set()
    while pending:
        current = pending.popleft()
        try:
            status, paths = current.stat(), list(current.iterdir())
            is_new = (status.st_dev, status.st_ino) not in visited
            visited.add((status.st_dev, status.st_ino))
            for path in paths if is_new else ():
                if path.name.startswith(".") or path.name.lower() in _COMPANIONS:
                    continue
                if not path.is_dir():
                    files.append(path)
                elif path.is_symlink():  # last, so that files keep their own path if it is found
                    pending.append(path)
                else:
                    pending.appendleft(path)
        except OSError as error:
            raise UserError(
                f"the folder {current} cannot be entered: {error.strerror}. Change its "
                "permissions, or move it to another folder"
            ) from None
    return sorted(files)


def find_images(folder: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder and its subfolders, as `find_files`.

    Args:
        folder: An existing folder.
        any_extension: Return all files, for a custom reader.
    """
    return [path for path in find_files(folder) if any_extension or _is_image(path)]


def require_images(folder: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder and its subfolders, as `find_images`.

    Raises:
        UserError: If the folder contains no images, does not exist or cannot be entered.
    """
    images = find_images(folder, any_extension=any_extension)
    if not images:
        others = {} if any_extension else find_others([folder])
        only = f", only other files ({count_by_extension(others[folder])})" if others else ""
        missing = "files" if any_extension else f"images{only}. {KNOWN_EXTENSIONS}"
        raise UserError(f"{folder} contains no {missing}")
    return images


def images_outside(folder: Path, other: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder, without those in another folder if that is inside it.

    The arguments are those of `find_images`.

    Raises:
        UserError: If the folder does not exist, or contains no images outside of the other.
    """
    skipped = other.resolve() if folder.resolve() in other.resolve().parents else None
    images = [
        path
        for path in require_images(folder, any_extension=any_extension)
        # Unlike Path.resolve, realpath does not raise an error at a link to itself.
        if skipped not in Path(os.path.realpath(path)).parents
    ]
    if not images:
        raise UserError(f"{folder} contains no images outside of {other}")
    return images


def find_others(folders: Iterable[Path]) -> dict[Path, list[Path]]:
    """Finds the files that `find_images` leaves out because of their extension.

    Returns:
        The files, by folder. Folders that do not exist or contain no such files are omitted.
    """
    found = {
        folder: [path for path in find_files(folder) if not _is_image(path)]
        for folder in folders
        if folder.is_dir()
    }
    return {folder: files for folder, files in found.items() if files}


def unused_sentences(others: Mapping[Path, Sequence[Path]]) -> list[str]:
    """Says for each folder how many of its files are not used, by extension."""
    return [
        f"{folder}: {len(files)} file{'s are' if len(files) > 1 else ' is'} not used: "
        f"{count_by_extension(files)} (not images that can be read)"
        for folder, files in others.items()
    ]


def count_by_extension(files: Iterable[Path]) -> str:
    """The number of files with each extension, most common first: `2 .heic, 1 .txt`."""
    counts = Counter(path.suffix.lower() or "without extension" for path in files)
    return ", ".join(shortened([f"{n} {kind}" for kind, n in counts.most_common()], 8))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS
