"""Writes data sets: side by side pairs, held-out images, smaller images. Inputs stay unchanged."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from transmute.config.base import width_and_height
from transmute.config.data import SourceConfig
from transmute.data.layout import match_pairs, recognize
from transmute.data.scan import in_threads
from transmute.errors import UserError, counted
from transmute.files import replacing, writing
from transmute.images.color import is_srgb, profile_name
from transmute.images.decode import open_pages
from transmute.images.encode import WRITABLE, save_pages, why_not
from transmute.images.find import find_images, require_images
from transmute.images.limits import require_resizable, require_room
from transmute.images.raster import Raster, opaque

Plan = dict[Path, Callable[[Path], None]]
"""For each file to write, the function that writes it, and may raise a UserError."""

_KEPT = (".png", ".tif", ".tiff", ".npy")
_ARRAYS = (".dcm", ".npz", ".jxl")
"""Formats of pairs that stay as they are, and those that become TIFF. All others become PNG."""


def execute(plan: Plan, *, overwrite: bool = False) -> list[str]:
    """Writes all files of a plan.

    Returns:
        A sentence for each file that could not be written.

    Raises:
        UserError: If files exist and `overwrite` is not set. Nothing is written then.
    """
    existing = [target for target in plan if target.exists()]
    if existing and not overwrite:
        raise UserError(
            f"{counted(len(existing), 'file')} would be replaced, the first is {existing[0]}. "
            "Choose another `out`, or replace them with `overwrite`"
        )

    def problem(target: Path) -> str:
        try:
            plan[target](target)
        except UserError as error:
            return str(error)
        return ""

    return [problem for problem in in_threads(problem, list(plan), "writing") if problem]


def plan_combine(a: Path, b: Path, out: Path, *, resize: bool) -> Plan:
    """Plans pairs of two folders side by side, a left and b right.

    Images are matched by their path relative to the folders, without extension. Depth, channels,
    alpha and pages are kept. PNG, TIFF and .npy keep the format of a, DICOM, .npz and JPEG XL
    become TIFF, and all others PNG.

    Args:
        a, b: Folders of the domains.
        out: Folder to write to.
        resize: Resize b to the size of a where they differ. Without it, such pairs are problems.

    Raises:
        UserError: If no images match, or `out` is inside one of the input folders.
    """
    _refuse_inside(out, a, b)
    images_a, images_b = match_pairs((a, b), (find_images(a), find_images(b)))
    stems = sorted(images_a.keys() | images_b.keys())
    plan: Plan = {}
    for stem in stems:
        pair = images_a.get(stem), images_b.get(stem)
        ending = pair[0].suffix if pair[0] else ".png"
        if ending.lower() not in _KEPT:
            ending = ".tif" if ending.lower() in _ARRAYS else ".png"
        plan[out / (stem + ending)] = partial(_combine, *pair, resize)
    return plan


def _combine(a: Path | None, b: Path | None, resize: bool, target: Path) -> None:
    """Writes the pages of a pair side by side.

    Raises:
        UserError: If they cannot be combined.
    """
    if a is None or b is None:
        raise UserError(f"{a or b} has no partner of the same name in the other folder")
    lefts, rights = _read_pages(a), _read_pages(b)
    if len(lefts) != len(rights):
        raise UserError(
            f"{a} has {len(lefts)} pages and {b} has {len(rights)}. Remove the pages without a "
            "partner"
        )
    pages = [
        _side_by_side(a, left, b, right, resize) for left, right in zip(lefts, rights, strict=True)
    ]
    save_pages(pages, target)


def _side_by_side(a: Path, left: Raster, b: Path, right: Raster, resize: bool) -> Raster:
    if left.size != right.size and not resize:
        raise UserError(
            f"{a} is {left.width}x{left.height} and {b} is {right.width}x{right.height}. Resize b "
            "to the size of a with `resize`"
        )
    for what, of_a, of_b in (
        ("values of type {}", left.depth, right.depth),
        ("{} channels", left.channels, right.channels),
        ("the color profile {}", _profile(left), _profile(right)),
    ):
        if of_a != of_b and {of_a, of_b} != {1, 3}:
            raise UserError(
                f"{a} has {what.format(of_a)}, but {b} has {what.format(of_b)}, and one file "
                "cannot hold both. Convert one of them"
            )
    channels, right = max(left.channels, right.channels), right.resized(left.size)
    left, right = left.with_channels(channels, str(a)), right.with_channels(channels, str(b))
    alpha = None
    if left.alpha is not None or right.alpha is not None:
        alpha = np.hstack([_alpha(left), _alpha(right)])
    return replace(left, pixels=np.hstack([left.pixels, right.pixels]), alpha=alpha)


def _profile(image: Raster) -> str:
    """Name of the color profile of an image."""
    profile = image.tags.profile
    return "sRGB" if profile is None or is_srgb(profile) else profile_name(profile)


def _alpha(image: Raster) -> np.ndarray:
    """The alpha channel of an image, opaque if it has none."""
    if image.alpha is not None:
        return image.alpha
    return np.full(image.pixels.shape[:2], opaque(image.pixels.dtype), image.pixels.dtype)


def _read_pages(path: Path) -> list[Raster]:
    with open_pages(path) as pages:
        read = [pages.read(0)]
        require_room(str(path), pages.number, read[0].pixels.nbytes)
        return read + [pages.read(page) for page in range(1, pages.number)]


def plan_split(
    folder: Path, out: Path, *, test: float, seed: int, paired: bool, link: bool
) -> Plan:
    """Plans a copy of a data set in which some images are held out.

    Args:
        folder: The data set, in any layout that `recognize` supports.
        out: Folder to write to.
        test: Fraction of the images to hold out, in (0, 1). At least one image is held out, and
            at least one is not.
        seed: Seed of the choice, which also depends on the names of the images.
        paired: Hold out both images of a pair.
        link: Make hard links instead of copies.

    Raises:
        UserError: If images are already held out, a domain has only one image, pairs do not match,
            no layout fits, or `out` is inside the folder.
    """
    _refuse_inside(out, folder)
    # Pairs side by side are copied as they are, so their shape does not matter, and files are held
    # out with all their pages.
    source = SourceConfig(side_by_side=paired, pages="first")
    data = recognize(folder, source, paired=paired)
    if data.test[0]:
        raise UserError(
            f"{folder} already has held-out images, in {data.folders[-1]}. Choose a folder without "
            "them"
        )
    plan: Plan = {}
    for letter, top, sources in zip("AB", data.folders, data.train, strict=True):
        if len(sources) < 2:
            raise UserError(f"{top} has only one image. Holding one out needs at least two")
        num_test = min(max(1, round(test * len(sources))), len(sources) - 1)
        # Partners have the same index, and domains of one length the same permutation.
        held_out = set(np.random.default_rng(seed).permutation(len(sources))[:num_test].tolist())
        for index, source in enumerate(sources):
            # Both halves of a side by side image are one file.
            phase = f"{'test' if index in held_out else 'train'}{'' if source.half else letter}"
            plan[out / phase / source.path.relative_to(top)] = partial(_copy, source.path, link)
    return plan


def _copy(source: Path, link: bool, target: Path) -> None:
    if not source.is_file():  # a pipe or a broken link
        raise UserError(f"{source} is not a regular file")
    if link:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.hardlink_to(source)
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    shutil.copystat(source, target)  # last, since the mode may forbid writing


def plan_resize(folder: Path, out: Path, *, size: str, mode: str) -> Plan:
    """Plans a copy of all images in a folder at another size (Pillow's bicubic).

    Subfolders, names, depth, channels, alpha, pages and metadata are kept. Formats that cannot be
    written become TIFF.

    Args:
        folder: Folder of images.
        out: Folder to write to.
        size: N or "WIDTHxHEIGHT" in pixels.
        mode: "resize" to the size; "scale-width" to its width, keeping proportions; or "crop" the
            middle to the size, after resizing so that the size is just covered.

    Raises:
        UserError: If the folder contains no images, two would get the same name, or `out` is
            inside it.
    """
    _refuse_inside(out, folder)
    plan: Plan = {}
    sources: dict[Path, Path] = {}
    for path in require_images(folder):
        target = out / path.relative_to(folder)
        if target.suffix.lower() not in WRITABLE:
            target = target.with_suffix(".tif")
        if (other := sources.setdefault(target, path)) is not path:
            raise UserError(f"{other} and {path} would both become {target}. Rename one of them")
        plan[target] = partial(_resize, path, width_and_height(size), mode)
    return plan


def _resize(source: Path, size: tuple[int, int], mode: str, target: Path) -> None:
    def resized(image: Raster) -> Raster:
        height = max(1, round(size[0] * image.height / image.width))
        chosen = (size[0], height) if mode == "scale-width" else size
        require_resizable(str(source), chosen, 3 * image.channels * image.pixels.itemsize)
        return (_with_proportions(image, size) if mode == "crop" else image).resized(chosen)

    pages = [resized(page) for page in _read_pages(source)]
    if problem := why_not(pages[0], target.suffix.lower(), pages=len(pages)):
        raise UserError(f"{source} cannot be resized, because {problem}. Convert it to TIFF first")
    save_pages(pages, target)


def _with_proportions(image: Raster, size: tuple[int, int]) -> Raster:
    """Crops the middle with the proportions of a size."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = (
        min(max(1, round(scale * side)), most) for side, most in zip(size, image.size, strict=True)
    )
    return image.cropped((image.width - width) // 2, (image.height - height) // 2, width, height)


def _refuse_inside(out: Path, *folders: Path) -> None:
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"`out` is {out}, which is inside {folder}, a folder that is read. Choose a folder "
                "next to it"
            )
