"""Translation of image files: finds the inputs, and writes the outputs."""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from transmute.config.base import Size, width_and_height
from transmute.config.data import Range
from transmute.errors import UserError, first_line
from transmute.files import FileError
from transmute.images.decode import open_pages, read_image
from transmute.images.encode import best_ending, save_image, save_pages, too_large, why_not
from transmute.images.find import EXTENSIONS, KNOWN_EXTENSIONS, find_files, images_outside
from transmute.images.limits import MAX_PIXELS, require_room
from transmute.images.ranges import range_for, range_in, shown
from transmute.images.raster import Depth, ImageError, Raster
from transmute.translation.translator import Translator

DEPTHS: dict[str, Depth] = {"8": "uint8", "16": "uint16", "float": "float32"}
"""Types of values by their names on the command line."""
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")


def find_inputs(
    inputs: Iterable[str],
    out: Path,
    *,
    compare: bool = False,
    ending: str | None = None,
    any_extension: bool = False,
) -> dict[Path, Path]:
    """Finds the images to translate.

    Args:
        inputs: Image files, folders (searched with their subfolders) and glob patterns. A path
            that exists is not a pattern, nor are the folders that exist at the start of a pattern.
        out: Folder for the translations. For a single image, also a file with the extension of an
            image. An existing folder is a folder, whatever its name.
        compare: Comparisons are written too.
        ending: Extension of the translations; by default, that of each image.
        any_extension: Every file counts as an image, for a custom reader.

    Returns:
        The file of each image's translation, by image. In a folder, images keep their names, and
        those in a folder also keep their subfolders.

    Raises:
        UserError: If an input does not exist or contains no images, if there are several images but
            `out` is a file, or if a file would overwrite an image or another translation.
    """
    found = [pair for name in inputs for pair in _images_and_targets(name, out, any_extension)]
    if ending is not None:
        found = [(source, target.with_suffix(ending)) for source, target in found]
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
    """The file of the comparison next to a translation: zebra.compare.jpg for zebra.jpg."""
    ending = target.suffix if target.suffix.lower() in _PHOTO_ENDINGS else ".png"
    return target.with_name(f"{target.stem}.compare{ending}")


def _images_and_targets(name: str, out: Path, any_extension: bool) -> list[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        # Earlier translations in a subfolder are not inputs.
        images = images_outside(path, out, any_extension=any_extension)
        return [(image, out / image.relative_to(path)) for image in images]

    def counts(path: Path) -> bool:
        return any_extension or path.suffix.lower() in EXTENSIONS

    exists = os.path.lexists(path)  # perhaps as a broken link, which is one bad image
    if exists and not counts(path):
        raise UserError(
            f"{path} does not have the extension of an image that can be read. If it is such an "
            "image, rename it: the extension also determines the format of the translation. "
            f"{KNOWN_EXTENSIONS}"
        )
    files = [path] if exists else _matching(path)
    images = [file for file in files if counts(file) and not file.is_dir()]
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
    values: Range | None = None,
    depth: Depth | None = None,
    pages: str = "all",
    any_format: bool = False,
    reader: str | None = None,
    max_pixels: int = MAX_PIXELS,
    skip_existing: bool = False,
    compare: bool = False,
) -> tuple[str | None, list[str]]:
    """Translates an image file with all its pages, atomically.

    Args:
        translator: The model.
        source, target: Files to read and to write. The latter's extension determines the format.
        size, half, values, depth: As in `Translator.raster`.
        pages: "all" pages and frames, or only the "first".
        any_format: If the format cannot hold the translation, append .png or .tif to the name.
        reader, max_pixels: As in `read_image`.
        skip_existing, compare: Keep files that exist; also write both images side by side.

    Returns:
        An error message, or None on success, and remarks. One bad image does not stop the others.
    """
    notes: dict[str, None] = {}
    existing = _existing(target, any_format=any_format) if skip_existing else None
    comparison = comparison_file(existing or target) if compare else None
    try:
        if existing and (comparison is None or comparison.exists()):
            return None, []
        if existing:
            first = read_image(source, reader=reader, max_pixels=max_pixels)
            output = read_image(existing)
        else:
            _require_possible(target, None if any_format else size)
            options = {"size": size, "half": half, "values": values, "depth": depth}
            translate = partial(translator.raster, name=str(source), **options)
            first, outputs = _translated(translate, source, reader, max_pixels, pages)
            output, notes = outputs[0], dict.fromkeys(note for one in outputs for note in one.notes)
            if any_format and why_not(output, target.suffix.lower(), pages=len(outputs)):
                target = Path(f"{target}{best_ending(output, pages=len(outputs))}")
            save_pages(outputs, target)
        if comparison:
            before = values or range_for(first, translator.card.source_range, str(source))
            after = range_in(translator.card.target_range, output.depth)
            images = _on_white(first.half(half), before), _on_white(output, after)
            save_image(_side_by_side(*images), comparison)
    except (ImageError, FileError) as error:
        return str(error), []
    except OSError as error:
        return f"{target} cannot be written: {error}", []
    except (RuntimeError, MemoryError) as error:  # usually out of memory
        return f"{source} cannot be translated: {first_line(error)}", []
    return None, [f"{source}: {note}" for note in notes]


def _require_possible(target: Path, size: Size | None) -> None:
    """Checks that the format of a file can hold images of a size, before they are computed."""
    if size and (problem := too_large(target.suffix.lower(), width_and_height(size))):
        raise ImageError(
            f"{target} cannot be written, because {problem}. Use `format=auto` or `format=png`"
        )


def _existing(target: Path, *, any_format: bool) -> Path | None:
    """The file of an earlier translation, if there is one."""
    endings = ("", ".png", ".tif") if any_format else ("",)
    return next((path for end in endings if (path := Path(f"{target}{end}")).exists()), None)


def _translated(
    translate: Callable[[Raster], Raster],
    source: Path,
    reader: str | None,
    max_pixels: int,
    which: str,
) -> tuple[Raster, list[Raster]]:
    """The first page of a file, and the translations of its pages."""
    first, translations = None, []
    with open_pages(source, reader=reader, max_pixels=max_pixels) as pages:
        number = pages.number if which == "all" else 1
        for page in range(number):
            image = pages.read(page)
            first = first or image
            translations.append(translate(image))
            if page == 0:
                require_room(str(source), number, translations[0].pixels.nbytes)
    assert first is not None
    return first, translations


def _on_white(raster: Raster, values: Range) -> Image.Image:
    """An image to show, opaque."""
    return shown(read_image(shown(raster, values)).flattened("white"))


def _side_by_side(image: Image.Image, translation: Image.Image) -> Image.Image:
    """An input, resized to the size of its translation, to the left of the translation."""
    width, height = translation.size
    both = Image.new("RGB", (2 * width, height))
    both.paste(image.resize(translation.size, Image.Resampling.BICUBIC), (0, 0))
    both.paste(translation, (width, 0))
    return both
