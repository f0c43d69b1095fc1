"""Makes data sets out of folders: pairs side by side, held-out pictures, smaller pictures. What is read is never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from transmute.data.config import SourceConfig
from transmute.data.layout import by_stem, recognize
from transmute.data.parallel import in_threads
from transmute.images import find_pictures, open_picture, save_picture
from transmute.settings import UserError, width_and_height

Work = dict[Path, Callable[[], None]]
"""Each file to be written, and what writes it or raises a UserError."""

LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff", ".ppm"})


def carry_out(work: Work, *, overwrite: bool = False) -> list[str]:
    """Writes all files, or none if some are there that may not be replaced.

    Returns:
        A sentence for each file that could not be written.
    """
    there = [target for target in work if target.exists()]
    if there and not overwrite:
        raise UserError(f"{len(there)} files are there already, the first is {there[0]}: choose another --out, or add --overwrite to replace them")
    return [problem for problem in in_threads(_problem, list(work.values()), "writing") if problem]


def _problem(write: Callable[[], None]) -> str:
    try:
        write()
    except UserError as error:
        return str(error)
    return ""


def plan_combine(a: Path, b: Path, out: Path, *, resize: bool) -> Work:
    """Pairs of two folders side by side, a left and b right, as RGB, in the format of a where that is lossless, else PNG.

    Pictures are matched by their path below the folders, less its ending; pairs that differ in size need `resize`, which brings b to the size of a.
    """
    _refuse_inside(out, a, b)
    of_a, of_b = (by_stem(folder, find_pictures(folder)) for folder in (a, b))
    if not of_a.keys() & of_b.keys():
        raise UserError(f"no picture of {a} has the name of one in {b}: pairs are matched by file name without its ending")
    work: Work = {}
    for stem, path in sorted((of_b | of_a).items()):
        target = out / (stem + (path.suffix if path.suffix.lower() in LOSSLESS else ".png"))
        work[target] = partial(_combine, of_a.get(stem), of_b.get(stem), target, resize)
    return work


def _combine(a: Path | None, b: Path | None, target: Path, resize: bool) -> None:
    if a is None or b is None:
        raise UserError(f"{a or b} has no partner of the same name in the other folder")
    left, right = open_picture(a)[0], open_picture(b)[0]
    if left.size != right.size and not resize:
        raise UserError(f"{a} is {left.width}x{left.height} and {b} is {right.width}x{right.height}: add --resize to bring b to the size of a")
    both = Image.new("RGB", (2 * left.width, left.height))
    both.paste(left)
    both.paste(right.resize(left.size, Image.Resampling.BICUBIC), (left.width, 0))  # of equal size it is a copy
    save_picture(both, target)


def plan_split(folder: Path, out: Path, *, share: float, seed: int, paired: bool, link: bool) -> Work:
    """A data set with held-out pictures, copied from one without.

    Args:
        folder: Any layout of two folders; for pairs also pictures side by side, in `train` or in the folder itself.
        share: Of the pictures to hold out, between 0 and 1; at least one is held out and one is not.
        seed: Of the choice, which is the same for the same names.
        paired: Hold out both pictures of a pair.
        link: Hard links in place of copies.
    """
    _refuse_inside(out, folder)
    pictures = find_pictures(folder)
    flat = paired and pictures and all(path.parent == folder for path in pictures)
    domains = [("", folder, pictures)] if flat else _domains(folder, paired)
    work: Work = {}
    for letter, top, pictures in domains:
        if len(pictures) < 2:
            raise UserError(f"{top} has only one picture: at least two are needed to hold one out")
        num_test = min(max(1, round(share * len(pictures))), len(pictures) - 1)
        held_out = set(np.random.default_rng(seed).permutation(len(pictures))[:num_test].tolist())  # for equally long lists the same
        for index, path in enumerate(pictures):
            target = out / f"{'test' if index in held_out else 'train'}{letter}" / path.relative_to(top)
            work[target] = partial(_copy, path, target, link)
    return work


def _domains(folder: Path, paired: bool) -> list[tuple[str, Path, list[Path]]]:
    """Letter, folder and pictures of each domain, partners in equal places; of pairs side by side there is one, without a letter."""
    data = recognize(folder, SourceConfig(), paired=False)
    if data.test[0]:
        raise UserError(f"{folder} has pictures held out already, in {data.folders[-1]}: name a folder without them")
    sides = [[one.path for one in side] for side in data.train]
    if data.train[0][0].half:
        return [("", data.folders[0], sides[0])]
    if paired:
        a, b = (by_stem(*side) for side in zip(data.folders, sides, strict=True))
        if alone := sorted(a.keys() ^ b.keys()):
            raise UserError(f"{len(alone)} pictures have no partner in the other folder, the first is {alone[0]}: add or remove them")
        sides = [[side[stem] for stem in sorted(a)] for side in (a, b)]
    return list(zip("AB", data.folders, sides, strict=True))


def _copy(source: Path, target: Path, link: bool) -> None:
    """Copies or links a file, aside first, so that no half of it is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside) if link else shutil.copy2(source, aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)  # also where both were one file already


def plan_resize(folder: Path, out: Path, *, size: str, mode: str) -> Work:
    """The pictures of a tree at another size (Pillow's bicubic), in the tree and under the names that they have.

    Args:
        size: N or "WIDTHxHEIGHT" in pixels.
        mode: "resize" to the size, "scale-width" to its width with the height in proportion, or "crop" the middle of what just covers it.
    """
    _refuse_inside(out, folder)
    pictures = find_pictures(folder)
    if not pictures:
        raise UserError(f"{folder} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
    targets = [out / path.relative_to(folder) for path in pictures]
    return {target: partial(_resize, path, target, width_and_height(size), mode) for path, target in zip(pictures, targets, strict=True)}


def _resize(source: Path, target: Path, size: tuple[int, int], mode: str) -> None:
    image = open_picture(source)[0]
    if mode == "crop":
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    else:
        height = size[1] if mode == "resize" else max(1, round(size[0] * image.height / image.width))
        image = image.resize((size[0], height), Image.Resampling.BICUBIC)
    save_picture(image, target)


def _refuse_inside(out: Path, *folders: Path) -> None:
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out {out} is inside {folder}, whose pictures are read: choose a folder beside it")
