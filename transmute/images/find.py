"""Finds image files in folders."""

from pathlib import Path

from transmute.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"})
"""Extensions of image files, in lower case."""


def find_images(folder: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder and its subfolders.

    Args:
        folder: An existing folder.
        any_extension: Return all files, for a custom reader.

    Returns:
        Sorted paths, without hidden files and files in hidden folders.

    Raises:
        UserError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    visible = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return [
        path
        for path in visible
        if (any_extension or path.suffix.lower() in EXTENSIONS) and path.is_file()
    ]


def require_images(folder: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder and its subfolders, as `find_images`.

    Raises:
        UserError: If the folder does not exist or contains no images.
    """
    images = find_images(folder, any_extension=any_extension)
    if not images:
        extensions = ", ".join(sorted(extension.lstrip(".") for extension in EXTENSIONS))
        missing = "files" if any_extension else f"images. Known extensions: {extensions}"
        raise UserError(f"{folder} contains no {missing}")
    return images


def images_outside(folder: Path, other: Path, *, any_extension: bool = False) -> list[Path]:
    """Finds the images in a folder, without those in another folder if that is inside it.

    The arguments are those of `find_images`.

    Raises:
        UserError: If the folder does not exist, or contains no images outside of the other.
    """
    skipped = other.resolve() if folder.resolve() in other.resolve().parents else None
    found = require_images(folder, any_extension=any_extension)
    images = [path for path in found if skipped not in path.resolve().parents]
    if not images:
        raise UserError(f"{folder} contains no images outside of {other}")
    return images
