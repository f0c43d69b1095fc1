"""Images of plain and striped animals on varied backgrounds, and how well they are translated.

Both domains have the same kinds of animals and backgrounds, and differ only in the coat. It is
therefore known exactly what a translator should change and what it should keep. Both are measured
with masks of the animals, which training never sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from transmute.images.encode import save_image

_OVERSAMPLING = 4  # images are drawn this many times larger and reduced, for smooth edges
_GROUNDS = [
    ((96, 148, 62), (62, 110, 44)),
    ((196, 164, 104), (160, 120, 70)),
    ((140, 150, 80), (98, 104, 52)),
    ((176, 120, 86), (128, 82, 58)),
]
_SKIES = [
    ((120, 178, 232), (196, 222, 242)),
    ((236, 178, 120), (246, 222, 180)),
    ((150, 166, 186), (206, 212, 218)),
    ((96, 140, 210), (236, 206, 196)),
]
_COATS = [(142, 82, 42), (112, 62, 36), (164, 102, 56), (124, 70, 30)]


def animal(
    random: np.random.Generator, *, striped: bool, size: int = 64
) -> tuple[Image.Image, Image.Image]:
    """Draws an image and the mask of its animal.

    Args:
        random: Random generator of all variation.
        striped: Black stripes on white, else plain brown.
        size: Side of the image in pixels.

    Returns:
        The image (RGB) and the mask (L: 255 in the animal, 0 outside), both size x size.
    """
    side = size * _OVERSAMPLING
    background = _background(random, side)
    mask, dark = _silhouette(random, side)
    coat = _coat(random, side, striped=striped)
    coat[np.asarray(dark) > 127] = (30, 24, 22)
    coat = np.clip(coat * _light_from_above(mask)[:, :, None], 0, 255)
    opacity = np.asarray(mask, dtype=np.float32)[:, :, None] / 255
    blended = (background * (1 - opacity) + coat * opacity).round().clip(0, 255).astype(np.uint8)
    return (
        Image.fromarray(blended).resize((size, size), Image.Resampling.BOX),
        mask.resize((size, size), Image.Resampling.BOX),
    )


def _noise(random: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1: an enlarged grid of random values."""
    grid = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))


def _background(random: np.random.Generator, side: int) -> np.ndarray:
    """Sky above hills above textured ground, float (side, side, 3) in 0..255."""
    down = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    top, bottom = _varied(random, _SKIES)
    image = np.broadcast_to(top * (1 - down) + bottom * down, (side, side, 3)).copy()
    near, far = _varied(random, _GROUNDS)
    horizon = random.uniform(0.35, 0.6)
    # First the hills, then the ground in front of them.
    for height, haze in ((random.uniform(0.06, 0.16), 0.55), (0.02, 0.0)):
        wave = np.sin(
            2 * np.pi * (random.uniform(0.5, 1.6) * np.linspace(0, 1, side) + random.random())
        )
        below = down[:, :, 0] > (horizon - height * (0.6 + 0.4 * wave))[None, :]
        ground = (far * (1 - down) + near * down) * (1 - haze) + bottom * haze * 0.85
        image = np.where(below[:, :, None], ground, image)
    texture = 6 * _noise(random, side, 8) + 9 * _noise(random, side, 40)
    return image + (texture * (down[:, :, 0] > horizon))[:, :, None]


def _varied(
    random: np.random.Generator, palette: Sequence[Sequence[tuple[int, int, int]]]
) -> list[np.ndarray]:
    """A random pair of colors, slightly changed."""
    return [color + random.normal(0, 8, 3) for color in random.choice(palette)]


def _silhouette(random: np.random.Generator, side: int) -> tuple[Image.Image, Image.Image]:
    """Masks of an animal seen from the side, and of its mane, tail and hooves."""
    scale = side * random.uniform(0.74, 0.92)
    left = random.uniform(0.02, 0.98 - scale / side) * side
    ground = side * random.uniform(0.88, 0.96)
    flip = random.random() < 0.5

    # Shapes are in units of the animal's length: x from its nose, y up from its feet.
    legs = [
        (hip, hip + reach + random.uniform(-0.04, 0.04))
        for hip, reach in ((0.36, -0.03), (0.42, 0.05), (0.80, -0.04), (0.86, 0.04))
    ]
    lift = random.uniform(-0.10, 0.05)
    mane_and_tail = [
        [(0.25, 0.86 + lift), (0.205, 0.83 + lift), (0.40, 0.56), (0.46, 0.59)],
        [(0.89, 0.52), (0.93, 0.46), (0.99, 0.16), (0.94, 0.14)],
    ]
    dark_parts = [
        *mane_and_tail,
        *(  # hooves
            [(foot - 0.03, 0.035), (foot + 0.03, 0.035), (foot + 0.03, 0), (foot - 0.03, 0)]
            for _, foot in legs
        ),
    ]
    body = [
        *(  # legs
            [(hip - 0.06, 0.42), (hip + 0.06, 0.42), (foot + 0.025, 0), (foot - 0.025, 0)]
            for hip, foot in legs
        ),
        *mane_and_tail,
        [  # head
            (0.23, 0.84 + lift),
            (0.10, 0.80 + lift),
            (0.01, 0.60 + lift),
            (0.07, 0.56 + lift),
            (0.20, 0.66 + lift),
        ],
        [(0.16, 0.80 + lift), (0.22, 0.80 + lift), (0.205, 0.91 + lift)],  # ear
        [(0.30, 0.56), (0.46, 0.52), (0.22, 0.80 + lift), (0.12, 0.70 + lift)],  # neck
    ]
    ellipses = (0.60, 0.44, 0.31, 0.155), (0.045, 0.595 + lift, 0.045, 0.04)  # belly and muzzle

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        x = left + scale * x
        return (side - x if flip else x), ground - scale * y

    mask, dark = Image.new("L", (side, side)), Image.new("L", (side, side))
    for image, polygons in ((mask, body), (dark, dark_parts)):
        for points in polygons:
            ImageDraw.Draw(image).polygon([to_pixels(*point) for point in points], fill=255)
    for x, y, wide, high in ellipses:
        (x0, y0), (x1, y1) = to_pixels(x - wide, y + high), to_pixels(x + wide, y - high)
        ImageDraw.Draw(mask).ellipse((min(x0, x1), y0, max(x0, x1), y1), fill=255)
    return mask, dark


def _coat(random: np.random.Generator, side: int, *, striped: bool) -> np.ndarray:
    """Color of the coat everywhere, float (side, side, 3) in 0..255."""
    mottle = _noise(random, side, 10)[:, :, None]
    if not striped:
        return random.choice(_COATS) + random.normal(0, 6, 3) + 5 * mottle
    rows, columns = np.mgrid[0:side, 0:side] / side
    wave = columns + random.uniform(-0.25, 0.25) * rows + 0.022 * _noise(random, side, 5)
    dark = np.sin(2 * np.pi * (random.uniform(9.0, 11.0) * wave + random.random())) > 0.1
    return np.where(dark[:, :, None], (28, 26, 28), (238, 234, 226)) + 3 * mottle


def _light_from_above(mask: Image.Image) -> np.ndarray:
    """A factor for the coat: bright backs, dark bellies."""
    blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(mask.width // 24)), np.float32) / 255
    up, down = (np.roll(blurred, shift, axis=0) for shift in (-mask.width // 48, mask.width // 48))
    return 1.0 + 1.6 * (up - down).clip(-0.25, 0.15)


def write_data_set(folder: Path, *, train: int, test: int, size: int = 64, seed: int = 0) -> None:
    """Writes trainA, trainB, testA and testB, where a is plain and b is striped.

    The masks of held-out images are written to masksA and masksB.

    Args:
        folder: Folder to write to.
        train, test: Numbers of training images and of held-out images per domain.
        size: Side of the images in pixels.
        seed: Seed of the images.
    """
    for phase, count in (("train", train), ("test", test)):
        for domain, striped in (("A", False), ("B", True)):
            for index in range(count):
                random = np.random.default_rng([seed, phase == "test", striped, index])
                image, mask = animal(random, striped=striped, size=size)
                save_image(image, folder / f"{phase}{domain}" / f"{index:04}.png")
                if phase == "test":
                    save_image(mask, folder / f"masks{domain}" / f"{index:04}.png")


@dataclass(frozen=True)
class TransferScore:
    """How translations changed the animals and their background, as means over images.

    Attributes:
        transfer: How far the animals' appearance moved from their own domain (0) to the other (1).
        background_change: Mean absolute difference to the input outside the animals, in levels of
            255.
        background_of_another: The same between different inputs, for comparison.
    """

    transfer: float
    background_change: float
    background_of_another: float


def score_transfer(
    real: Sequence[Image.Image],
    translated: Sequence[Image.Image],
    masks: Sequence[Image.Image],
    other: Sequence[Image.Image],
    other_masks: Sequence[Image.Image],
) -> TransferScore:
    """Compares translations with their inputs and with the other domain.

    An animal's appearance is its mean red, green and blue and the contrast of its brightness. The
    transfer is measured along the line from the mean appearance of its domain to that of the other,
    in units of the standard deviation within the domains.

    Args:
        real, translated, masks: Images of one domain, their translations (RGB), and the masks of
            their animals (L). All have one size.
        other, other_masks: Images of the other domain.
    """
    start, end = _appearances(real, masks), _appearances(other, other_masks)
    spread = np.sqrt((start.var(axis=0) + end.var(axis=0)) / 2)
    line = (end.mean(axis=0) - start.mean(axis=0)) / spread
    moved = (_appearances(translated, masks).mean(axis=0) - start.mean(axis=0)) / spread
    return TransferScore(
        float(moved @ line / (line @ line)),
        _background_difference(real, translated, masks),
        _background_difference(real, [*real[1:], real[0]], masks),
    )


def _appearances(images: Sequence[Image.Image], masks: Sequence[Image.Image]) -> np.ndarray:
    """Mean red, green and blue, and the standard deviation of brightness, inside each animal."""
    animals = [
        np.asarray(image)[np.asarray(mask) == 255]
        for image, mask in zip(images, masks, strict=True)
    ]
    return np.array([[*rgb.mean(axis=0), rgb.mean(axis=1).std()] for rgb in animals])


def _background_difference(
    images: Sequence[Image.Image], others: Sequence[Image.Image], masks: Sequence[Image.Image]
) -> float:
    differences = [
        np.abs(np.asarray(image, np.float64) - np.asarray(other))[np.asarray(mask) == 0].mean()
        for image, other, mask in zip(images, others, masks, strict=True)
    ]
    return float(np.mean(differences))
