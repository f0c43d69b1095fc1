"""Translation of image files: finds the inputs, and writes the outputs."""

import fnmatch
import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from transmute.config.base import Size
from transmute.errors import UserError, first_line
from transmute.images.files import ImageError, open_image, save_image
from transmute.images.find import EXTENSIONS, KNOWN_EXTENSIONS, find_files, images_outside
from transmute.translation.translator import Translator


def find_inputs(inputs: Iterable[str], out: Path, *, compare: bool = False) -> dict[Path, Path]:
    """Finds the images to translate.

    Args:
        inputs: Image files, folders (searched with their subfolders) and glob patterns. A path
            that exists is not a pattern, nor are the folders that exist at the start of a pattern.
        out: Folder for the translations. For a single image, also a file with the extension of an
            image. An existing folder is a folder, whatever its name.
        compare: Comparisons are written too.

    Returns:
        The file of each image's translation, by image. In a folder, images keep their names, and
        those in a folder also keep their subfolders.

    Raises:
        UserError: If an input does not exist or contains no images, if there are several images but
            `out` is a file, or if a file would overwrite an image or another translation.
    """
    found = [pair for name in inputs for pair in _images_and_targets(name, out)]
    if out.suffix.lower() in EXTENSIONS and not out.is_dir():
        count = len({os.path.realpath(source) for source, _ in found})
        if count > 1:
            raise UserError(
                f"`out={out}` is an image file, but there are {count} images to translate. Choose "
                "a folder"
            )
        found = [(found[0][0], out)]
    elif out.exists() and not out.is_dir():
        raise UserError(f"`out={out}` is a file, but not of an image. Choose a folder")
    sources: dict[Path, Path] = {}
    for source, target in found:
        # Unlike Path.resolve, realpath does not raise an error at a link to itself.
        if os.path.realpath(target) == os.path.realpath(source):
            raise UserError(
                f"{source} would be overwritten by its own translation. Choose another `out` "
                f"than {out}"
            )
        for path in (target, comparison_file(target)) if compare else (target,):
            other = sources.setdefault(path, source)
            if os.path.realpath(other) != os.path.realpath(source):
                raise UserError(
                    f"{other} and {source} would both be written to {path}. Translate them "
                    "separately, each with its own `out`"
                )
    return {sources[target]: target for _, target in found}


def comparison_file(target: Path) -> Path:
    """The file of the comparison next to a translation: zebra.compare.png for zebra.png."""
    return target.with_name(f"{target.stem}.compare{target.suffix}")


def _images_and_targets(name: str, out: Path) -> list[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        # Earlier translations in a subfolder are not inputs.
        return [(image, out / image.relative_to(path)) for image in images_outside(path, out)]
    exists = os.path.lexists(path)  # perhaps as a broken link, which is one bad image
    if exists and path.suffix.lower() not in EXTENSIONS:
        raise UserError(
            f"{path} does not have the extension of an image that can be read. If it is such an "
            "image, rename it: the extension also determines the format of the translation. "
            f"{KNOWN_EXTENSIONS}"
        )
    files = [path] if exists else _matching(path)
    images = [file for file in files if file.suffix.lower() in EXTENSIONS and not file.is_dir()]
    if not images:
        raise UserError(f"there is no image or folder {name}, and no image matches it as a pattern")
    return [(image, out / image.name) for image in images]


def _matching(pattern: Path) -> list[Path]:
    """The sorted files that match a glob pattern, without hidden ones.

    The folders at the start of the pattern that exist are taken literally.
    """
    folder = next((path for path in pattern.parents if path.is_dir()), Path())
    parts = pattern.parts[len(folder.parts) :]
    if "**" in parts:  # glob.glob would not detect folders that contain themselves by a link
        return [
            path for path in find_files(folder) if _matches(path.relative_to(folder).parts, parts)
        ]
    return sorted(map(Path, glob.glob(str(Path(glob.escape(str(folder)), *parts)))))


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path matches a pattern, of which ** stands for any number of folders."""
    if not (names and patterns):
        return not names and all(pattern == "**" for pattern in patterns)
    if patterns[0] == "**":
        return _matches(names, patterns[1:]) or _matches(names[1:], patterns)
    return fnmatch.fnmatch(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def translate_file(
    translator: Translator,
    source: Path,
    target: Path,
    *,
    size: Size | None = None,
    half: str | None = None,
    skip_existing: bool = False,
    compare: bool = False,
) -> str | None:
    """Translates one image file, atomically.

    Args:
        translator: The model.
        source: The image.
        target: File to write. Its extension determines the format.
        size, half: As in `Translator.__call__`.
        skip_existing: Keep files that exist.
        compare: Also write input and translation side by side, next to the target.

    Returns:
        An error message, or None on success. Errors are not raised, so that one bad image does not
        stop the others.
    """
    try:
        if not (skip_existing and target.exists()):
            save_image(translator(source, size=size, half=half), target)
        comparison = comparison_file(target)
        if compare and not (skip_existing and comparison.exists()):
            background = translator.card.preprocess.background
            image, _ = open_image(source, background=background, half=half)
            translation, _ = open_image(target, background=background)
            save_image(_side_by_side(image, translation), comparison)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"{target} cannot be written: {error}"
    except RuntimeError as error:  # usually out of memory
        return f"{source} cannot be translated: {first_line(error)}"
    return None


def _side_by_side(image: Image.Image, translation: Image.Image) -> Image.Image:
    """An input, resized to the size of its translation, to the left of the translation."""
    width, height = translation.size
    both = Image.new("RGB", (2 * width, height))
    both.paste(image.resize(translation.size, Image.Resampling.BICUBIC), (0, 0))
    both.paste(translation, (width, 0))
    return both
