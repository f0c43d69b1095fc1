"""Procedural pictures of plain and striped animals on varied grounds, with the masks of the animals.

Both domains have the same animals and grounds and differ in the coat alone, so what a translator should change, and what
it should leave alone, is known exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from transmute.images import save_picture

_FINE = 4  # drawn this many times larger, then reduced: smooth edges
_GROUNDS = [((96, 148, 62), (62, 110, 44)), ((196, 164, 104), (160, 120, 70)), ((140, 150, 80), (98, 104, 52)), ((176, 120, 86), (128, 82, 58))]
_SKIES = [
    ((120, 178, 232), (196, 222, 242)),
    ((236, 178, 120), (246, 222, 180)),
    ((150, 166, 186), (206, 212, 218)),
    ((96, 140, 210), (236, 206, 196)),
]
_COATS = [(142, 82, 42), (112, 62, 36), (164, 102, 56), (124, 70, 30)]


def animal(random: np.random.Generator, *, striped: bool, size: int = 64) -> tuple[Image.Image, Image.Image]:
    """One picture and the mask of its animal.

    Args:
        random: Source of everything that varies.
        striped: Black stripes on white, else plain brown.
        size: Side of the picture in pixels.

    Returns:
        The picture (RGB) and the mask (L: 255 in the animal, 0 outside), both size x size.
    """
    fine = size * _FINE
    picture = _ground(random, fine)
    mask, mane = _silhouette(random, fine)
    coat = _coat(random, fine, striped=striped)
    coat[np.asarray(mane) > 127] = (30, 24, 22)
    shade = _light_from_above(mask)
    coat = np.clip(coat * shade[:, :, None], 0, 255)
    soft = np.asarray(mask, dtype=np.float32)[:, :, None] / 255
    blended = picture * (1 - soft) + coat * soft
    small = (size, size)
    reduced = Image.fromarray(blended.round().clip(0, 255).astype(np.uint8)).resize(small, Image.Resampling.BOX)
    return reduced, mask.resize(small, Image.Resampling.BOX)


def _noise(random: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1: random values on a grid of cells, enlarged."""
    grid = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))


def _ground(random: np.random.Generator, side: int) -> np.ndarray:
    """Sky over hills over textured ground, float (side, side, 3) in 0..255."""
    down = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(color) + random.normal(0, 8, 3) for color in _SKIES[random.integers(len(_SKIES))])
    picture = np.broadcast_to(top * (1 - down) + bottom * down, (side, side, 3)).copy()
    near, far = (np.array(color) + random.normal(0, 8, 3) for color in _GROUNDS[random.integers(len(_GROUNDS))])
    across = np.linspace(0, 1, side)
    horizon = random.uniform(0.35, 0.6)
    for height, share in ((random.uniform(0.06, 0.16), 0.55), (0.02, 0.0)):  # hills, then the ground before them
        wave = horizon - height * (0.6 + 0.4 * np.sin(2 * np.pi * (random.uniform(0.5, 1.6) * across + random.random())))
        below = down[:, :, 0] > wave[None, :]
        color = (far * (1 - down) + near * down) * (1 - share) + bottom * share * 0.85
        picture = np.where(below[:, :, None], color, picture)
    texture = 6 * _noise(random, side, 8) + 9 * _noise(random, side, 40)
    return picture + (texture * (down[:, :, 0] > horizon))[:, :, None]


def _silhouette(random: np.random.Generator, side: int) -> tuple[Image.Image, Image.Image]:
    """The masks of an animal seen from the side, and of its mane, tail and hooves."""
    mask, dark = (Image.new("L", (side, side)) for _ in range(2))
    body, hair = ImageDraw.Draw(mask), ImageDraw.Draw(dark)
    scale = side * random.uniform(0.74, 0.92)
    left = random.uniform(0.02, 0.98 - scale / side) * side
    ground = side * random.uniform(0.88, 0.96)
    flip = random.random() < 0.5

    def at(x: float, y: float) -> tuple[float, float]:
        """From the animal's own coordinates (x from its nose, y up from its feet, in its length) to pixels."""
        x = left + scale * x
        return (side - x if flip else x), ground - scale * y

    def blob(draw: ImageDraw.ImageDraw, x: float, y: float, wide: float, high: float) -> None:
        (x0, y0), (x1, y1) = at(x - wide, y + high), at(x + wide, y - high)
        draw.ellipse((min(x0, x1), y0, max(x0, x1), y1), fill=255)

    def shape(draw: ImageDraw.ImageDraw, *points: tuple[float, float]) -> None:
        draw.polygon([at(*point) for point in points], fill=255)

    for hip, reach in ((0.36, -0.03), (0.42, 0.05), (0.80, -0.04), (0.86, 0.04)):
        foot = hip + reach + random.uniform(-0.04, 0.04)
        shape(body, (hip - 0.06, 0.42), (hip + 0.06, 0.42), (foot + 0.025, 0.0), (foot - 0.025, 0.0))
        shape(hair, (foot - 0.03, 0.035), (foot + 0.03, 0.035), (foot + 0.03, 0.0), (foot - 0.03, 0.0))
    blob(body, 0.60, 0.44, 0.31, 0.155)
    lift = random.uniform(-0.10, 0.05)
    shape(body, (0.30, 0.56), (0.46, 0.52), (0.22, 0.80 + lift), (0.12, 0.70 + lift))
    shape(body, (0.23, 0.84 + lift), (0.10, 0.80 + lift), (0.01, 0.60 + lift), (0.07, 0.56 + lift), (0.20, 0.66 + lift))
    blob(body, 0.045, 0.595 + lift, 0.045, 0.04)
    shape(body, (0.16, 0.80 + lift), (0.22, 0.80 + lift), (0.205, 0.91 + lift))
    shape(hair, (0.25, 0.86 + lift), (0.205, 0.83 + lift), (0.40, 0.56), (0.46, 0.59))
    shape(body, (0.25, 0.86 + lift), (0.205, 0.83 + lift), (0.40, 0.56), (0.46, 0.59))
    shape(hair, (0.89, 0.52), (0.93, 0.46), (0.99, 0.16), (0.94, 0.14))
    shape(body, (0.89, 0.52), (0.93, 0.46), (0.99, 0.16), (0.94, 0.14))
    return mask, dark


def _coat(random: np.random.Generator, side: int, *, striped: bool) -> np.ndarray:
    """Color of the coat everywhere, float (side, side, 3) in 0..255."""
    mottle = _noise(random, side, 10)[:, :, None]
    if not striped:
        return np.array(_COATS[random.integers(len(_COATS))]) + random.normal(0, 6, 3) + 5 * mottle
    rows, columns = np.mgrid[0:side, 0:side] / side
    tilt = random.uniform(-0.25, 0.25)
    wave = columns + tilt * rows + 0.022 * _noise(random, side, 5)
    dark = np.sin(2 * np.pi * (random.uniform(9.0, 11.0) * wave + random.random())) > 0.1
    return np.where(dark[:, :, None], (28, 26, 28), (238, 234, 226)) + 3 * mottle


def _light_from_above(mask: Image.Image) -> np.ndarray:
    """A factor for the coat: bright backs, dark bellies."""
    blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(mask.width // 24)), dtype=np.float32) / 255
    return 1.0 + 1.6 * (np.roll(blurred, -mask.width // 48, axis=0) - np.roll(blurred, mask.width // 48, axis=0)).clip(-0.25, 0.15)


def write_data_set(folder: Path, *, train: int, test: int, size: int = 64, seed: int = 0) -> None:
    """Writes trainA, trainB, testA, testB (a is plain, b is striped) and, for the held-out pictures, masksA and masksB."""
    for phase, count in (("train", train), ("test", test)):
        for domain, striped in (("A", False), ("B", True)):
            for index in range(count):
                random = np.random.default_rng([seed, phase == "test", striped, index])
                picture, mask = animal(random, striped=striped, size=size)
                save_picture(picture, folder / f"{phase}{domain}" / f"{index:04}.png")
                if phase == "test":
                    save_picture(mask, folder / f"masks{domain}" / f"{index:04}.png")
