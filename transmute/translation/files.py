"""Translates files: pictures, folders and globs in, a tree of pictures out."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from transmute.images import EXTENSIONS, PictureError, find_pictures, save_picture
from transmute.settings import Size, UserError
from transmute.translation.translator import Translator


def find_inputs(inputs: list[str], out: Path) -> dict[Path, Path]:
    """Every picture to translate, and where its translation goes: folders keep their tree, files their name.

    Raises:
        UserError: If an input does not exist or holds no pictures, or if two would be written to one file or over their own input.
    """
    targets: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    for name in inputs:
        for source, target in _expanded(name, out):
            if target.resolve() == source.resolve():
                raise UserError(f"{source} would be overwritten by its own translation: choose another --out than {out}")
            other = taken.setdefault(target, source)
            if other.resolve() != source.resolve():
                raise UserError(f"{other} and {source} would both be written to {target}: translate them in two runs with different --out")
            targets[other] = target
    return targets


def _expanded(name: str, out: Path) -> Iterator[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        inside = out.resolve() if path.resolve() in out.resolve().parents else None  # yesterday's translations are no input
        found = [one for one in find_pictures(path) if inside is None or not one.resolve().is_relative_to(inside)]
        if not found:
            raise UserError(f"{path} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
        yield from ((picture, out / picture.relative_to(path)) for picture in found)
    elif path.is_file():
        if path.suffix.lower() not in EXTENSIONS:
            raise UserError(f"{path} has not the ending of a picture (jpg, png, webp, bmp, tif, ppm or gif), in whose format it would be written")
        yield path, out / path.name
    else:
        matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
        pictures = [match for match in matches if match.suffix.lower() in EXTENSIONS]
        if not pictures:
            raise UserError(f"there is no picture, folder or match for {name}")
        yield from ((picture, out / picture.name) for picture in pictures)


def translate_file(
    translator: Translator, source: Path, target: Path, *, size: Size | None = None, half: str | None = None, skip_existing: bool = False
) -> str | None:
    """Translates one picture to its target.

    Args:
        size, half: See `Translator.__call__`.
        skip_existing: Leave a target that exists as it is.

    Returns:
        Why it could not be done, or None: one bad picture must not stop the others.
    """
    if skip_existing and target.exists():
        return None
    try:
        save_picture(translator(source, size=size, half=half), target)
    except PictureError as error:
        return str(error)
    except OSError as error:
        return f"{target} cannot be written: {error}"
    except RuntimeError as error:  # torch's, above all for want of memory
        return f"{source} cannot be translated: {error}"
    return None
