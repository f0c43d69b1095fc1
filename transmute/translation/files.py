"""Translation of image files: finds the inputs, and writes the outputs to a folder."""

import glob
from collections.abc import Iterable
from pathlib import Path

from transmute.config.base import Size
from transmute.errors import UserError, first_line
from transmute.images import EXTENSIONS, ImageError, images_outside, save_image
from transmute.translation.translator import Translator


def find_inputs(inputs: Iterable[str], out: Path) -> dict[Path, Path]:
    """Finds the images to translate.

    Args:
        inputs: Image files, folders (searched with their subfolders) and glob patterns.
        out: Folder for the translations.

    Returns:
        The file of each image's translation, by image. Images keep their names, and those in a
        folder also keep their subfolders.

    Raises:
        UserError: If an input does not exist or contains no images, or if a translation would
            overwrite an image or another translation.
    """
    sources: dict[Path, Path] = {}
    for name in inputs:
        for source, target in _images_and_targets(name, out):
            if target.resolve() == source.resolve():
                raise UserError(
                    f"{source} would be overwritten by its own translation. Choose another `out` "
                    f"than {out}"
                )
            other = sources.setdefault(target, source)
            if other.resolve() != source.resolve():
                raise UserError(
                    f"{other} and {source} would both be written to {target}. Translate them "
                    "separately, each with its own `out`"
                )
    return {source: target for target, source in sources.items()}


def _images_and_targets(name: str, out: Path) -> list[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        # Earlier translations in a subfolder are not inputs.
        return [(image, out / image.relative_to(path)) for image in images_outside(path, out)]
    if path.is_file() and path.suffix.lower() not in EXTENSIONS:
        raise UserError(
            f"{path} does not have the file extension of an image, which determines the format of "
            "the translation. Rename it"
        )
    files = [path] if path.is_file() else sorted(map(Path, glob.glob(name, recursive=True)))
    images = [file for file in files if file.suffix.lower() in EXTENSIONS]
    if not images:
        raise UserError(f"there is no image or folder {name}, and no image matches it as a pattern")
    return [(image, out / image.name) for image in images]


def translate_file(
    translator: Translator,
    source: Path,
    target: Path,
    *,
    size: Size | None = None,
    half: str | None = None,
    skip_existing: bool = False,
) -> str | None:
    """Translates one image file, atomically.

    Args:
        translator: The model.
        source: The image.
        target: File to write. Its extension determines the format.
        size, half: As in `Translator.__call__`.
        skip_existing: Do nothing if the target exists.

    Returns:
        An error message, or None on success. Errors are not raised, so that one bad image does not
        stop the others.
    """
    try:
        if not (skip_existing and target.exists()):
            save_image(translator(source, size=size, half=half), target)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"{target} cannot be written: {error}"
    except RuntimeError as error:  # usually out of memory
        return f"{source} cannot be translated: {first_line(error)}"
    return None
