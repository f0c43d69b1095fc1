"""CT slices in a file format of one's own, and their translation to slices of another modality.

`make DIR` writes synthetic slices of a body as raw files (height, width, then float32 values): CT
in Hounsfield units in trainA and testA, MR-like intensities of other bodies in trainB and testB,
and truthB, the bodies of testA in MR. `read` reads these files, also for Transmute. `score DIR
TRANSLATED` compares translations of testA, as .npy, with truthB. docs/scientific.md has the
commands in between.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

CT = [-1000, -700, -100, 0, 50, 400, 1000]  # air, lung, fat, water, soft tissue, bone
MR = [0, 60, 450, 600, 660, 800, 900]


def read(path: Path) -> np.ndarray:
    """Reads a slice (height, width) of float32 values."""
    content = Path(path).read_bytes()
    height, width = np.frombuffer(content, "<u4", 2)
    return np.frombuffer(content, "<f4", offset=8).reshape(height, width)


def write(values: np.ndarray, path: Path) -> None:
    """Writes a slice that `read` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.array(values.shape, "<u4").tobytes() + values.astype("<f4").tobytes())


def body(random: np.random.Generator, size: int) -> np.ndarray:
    """A slice in Hounsfield units: a body in air, with fat, two lungs, organs, spine and ribs."""
    values = np.full((size, size), -1000.0)
    across, down = random.uniform(0.75, 0.95), random.uniform(0.55, 0.8)
    texture = smooth(random, size, 12)
    values[ellipse(size, 0, 0, across, down)] = -100
    values[ellipse(size, 0, 0, across - 0.08, down - 0.08)] = 50
    for side in (-1, 1):
        middle, width = side * across * 0.45, random.uniform(0.18, 0.28)
        values[ellipse(size, middle, -0.1, width, down * 0.6)] = -700
        for _ in range(4):  # vessels
            x, y = middle + random.uniform(-0.1, 0.1), random.uniform(-0.3, 0.2)
            values[ellipse(size, x, y, 0.03, 0.03)] = 50
        for height in (-0.5, 0.3):  # ribs
            values[ellipse(size, side * across * 0.85, height * down, 0.05, 0.09)] = 700
    values[ellipse(size, 0, down * 0.65, 0.14, 0.12)] = random.uniform(500, 900)
    values[ellipse(size, 0, 0, *random.uniform(0.08, 0.14, 2))] = 0
    values += 40 * texture * (values > -1000) + random.normal(0, 8, (size, size))
    return values.clip(-1000, 1000)


def ellipse(size: int, x: float, y: float, width: float, height: float) -> np.ndarray:
    """Mask (size, size) of an ellipse, in coordinates from -1 to 1."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return np.square((columns - x) / width) + np.square((rows - y) / height) < 1


def smooth(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise (size, size), about -1 to 1, whose structures are size / cells wide."""
    coarse = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def as_mr(hounsfield: np.ndarray) -> np.ndarray:
    """The intensity of each pixel in the other modality, a function of its Hounsfield units."""
    return np.interp(hounsfield, CT, MR)


def make(folder: Path, train: int, test: int, size: int) -> None:
    """Writes the data set."""
    random = np.random.default_rng(0)
    for index in range(train):
        write(body(random, size), folder / "trainA" / f"{index:04}.raw")
        write(as_mr(body(random, size)), folder / "trainB" / f"{index:04}.raw")
    for index in range(test):
        slice_ = body(random, size)
        write(slice_, folder / "testA" / f"{index:04}.raw")
        write(as_mr(slice_), folder / "truthB" / f"{index:04}.raw")
        write(as_mr(body(random, size)), folder / "testB" / f"{index:04}.raw")


def read_all(folder: Path) -> np.ndarray:
    """The raw files of a folder, (images, height, width)."""
    return np.stack([read(path) for path in sorted(folder.glob("*.raw"))])


def psnr(images: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB. The peak is the range of the truth."""
    return float(-10 * np.log10(np.square((images - truth) / np.ptp(truth)).mean()))


def score(folder: Path, translated: Path) -> None:
    """Prints the error of translations, next to that of two simpler ways."""
    inputs, truth = read_all(folder / "testA"), read_all(folder / "truthB")
    low, high = np.percentile(read_all(folder / "trainB"), (0.1, 99.9))
    scaled = (inputs.clip(-1000, 1000) + 1000) / 2000 * (high - low) + low
    results = np.stack([np.load(path) for path in sorted(translated.glob("*.npy"))])
    if results.dtype != np.float32:
        raise SystemExit(f"{translated} has images of {results.dtype}, not float32")
    print(f"inputs, not translated:        {psnr(inputs, truth):.1f} dB")
    print(f"inputs, -1000:1000 scaled:     {psnr(scaled, truth):.1f} dB")
    print(f"translations:                  {psnr(results.reshape(truth.shape), truth):.1f} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Synthetic CT and MR slices.")
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
