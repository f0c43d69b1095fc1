"""Two domains of 16-bit images with six spectral bands, and the error of translations between them.

`make DIR` writes synthetic scenes of soil, vegetation and water as TIFFs, as two sensors would see
them: trainA and trainB (different scenes), testA, and truthB, the scenes of testA as the other
sensor sees them. `score DIR TRANSLATED` compares translations of testA with truthB.
docs/scientific.md has the commands in between.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

# Reflectance in blue, green, red, near infrared and two bands of shortwave infrared.
MATERIALS = np.array(
    [
        [0.08, 0.12, 0.18, 0.25, 0.33, 0.30],  # soil
        [0.03, 0.07, 0.04, 0.45, 0.22, 0.10],  # vegetation
        [0.07, 0.06, 0.04, 0.02, 0.01, 0.01],  # water
    ]
)
TILT = np.linspace(1, -1, 6)
SCALE = 10_000  # levels per unit of reflectance, as in products of Sentinel-2


def scene(random: np.random.Generator, size: int) -> np.ndarray:
    """Reflectance (size, size, 6) of smooth regions, straight fields and a hard shore."""
    amounts = np.stack([smooth(random, size, cells) for cells in (4, 4, 3)], axis=2)
    amounts[:, :, 1] += 1.5 * np.sign(smooth(random, size, 2))  # borders of fields
    amounts = np.exp(3 * amounts)
    amounts[smooth(random, size, 3) > 0.3] = (0, 0, 1)  # a lake
    light = 1 + 0.3 * smooth(random, size, 8)[:, :, None]
    spectra = amounts / amounts.sum(axis=2, keepdims=True) @ MATERIALS
    return spectra * light + random.normal(0, 0.002, (size, size, 6))


def smooth(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise (size, size), about -1 to 1, whose structures are size / cells wide."""
    coarse = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def other_sensor(reflectance: np.ndarray) -> np.ndarray:
    """The same spectra with another slope, in proportion to a pixel's brightness, and an offset."""
    return reflectance + 0.6 * TILT * reflectance.mean(axis=2, keepdims=True) + 0.1


def write(reflectance: np.ndarray, path: Path) -> None:
    """Writes a TIFF of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (reflectance * SCALE).round().clip(0, 65535).astype(np.uint16)
    tifffile.imwrite(path, levels, photometric="minisblack", planarconfig="contig")


def make(folder: Path, train: int, test: int, size: int) -> None:
    """Writes the data set."""
    random = np.random.default_rng(0)
    for index in range(train):
        write(scene(random, size), folder / "trainA" / f"{index:04}.tif")
        write(other_sensor(scene(random, size)), folder / "trainB" / f"{index:04}.tif")
    for index in range(test):
        reflectance = scene(random, size)
        write(reflectance, folder / "testA" / f"{index:04}.tif")
        write(other_sensor(reflectance), folder / "truthB" / f"{index:04}.tif")
        write(other_sensor(scene(random, size)), folder / "testB" / f"{index:04}.tif")


def read(folder: Path) -> np.ndarray:
    """The TIFFs of a folder, (images, height, width, 6)."""
    images = [tifffile.imread(path) for path in sorted(folder.glob("*.tif"))]
    for image in images:
        if image.dtype != np.uint16 or image.shape[2:] != (6,):
            raise SystemExit(f"{folder} has images {image.shape} of {image.dtype}, not 16-bit x 6")
    return np.stack(images)


def psnr(images: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB. The peak of each band is the range of the truth."""
    peaks = np.ptp(truth.reshape(-1, 6).astype(float), axis=0)
    return float(-10 * np.log10(np.square((images - truth.astype(float)) / peaks).mean()))


def stretched(images: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Images whose bands are scaled from the range of one domain to that of the other."""
    (low, high), (new_low, new_high) = (
        np.percentile(domain.reshape(-1, 6), (0.1, 99.9), axis=0) for domain in (source, target)
    )
    return (images - low) / (high - low) * (new_high - new_low) + new_low


def score(folder: Path, translated: Path) -> None:
    """Prints the error of translations, next to that of two simpler ways."""
    inputs, truth = read(folder / "testA"), read(folder / "truthB")
    ranges = stretched(inputs, read(folder / "trainA"), read(folder / "trainB"))
    print(f"inputs, not translated:        {psnr(inputs, truth):.1f} dB")
    print(f"inputs, bands scaled:          {psnr(ranges, truth):.1f} dB")
    print(f"translations:                  {psnr(read(translated), truth):.1f} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Synthetic images of two sensors.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write the data set")
    making.add_argument("folder", type=Path)
    making.add_argument("--train", type=int, default=60, help="training images per domain")
    making.add_argument("--test", type=int, default=8)
    making.add_argument("--size", type=int, default=64)
    scoring = commands.add_parser("score", help="compare translations of testA with the truth")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("translated", type=Path)
    options = vars(parser.parse_args())
    {"make": make, "score": score}[options.pop("command")](**options)
