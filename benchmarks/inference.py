"""Measures the translation of one image in float32 and in the precision that `Translator` chooses.

python benchmarks/inference.py --size 256 --pairs 20
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import transmute
from transmute import Translator
from transmute.config.data import PreprocessConfig
from transmute.config.networks import ResNetConfig
from transmute.translation.model import ModelCard, save_network


def write_random_model(path: Path, size: int) -> None:
    """Writes a model file with CycleGAN's generator and random weights."""
    torch.manual_seed(0)
    card = ModelCard(
        transmute=transmute.__version__,
        method="cyclegan",
        direction="a_to_b",
        source="a",
        target="b",
        generator=ResNetConfig(),
        in_channels=3,
        out_channels=3,
        size=f"{size}x{size}",
        preprocess=PreprocessConfig(),
    )
    save_network(path, card, ResNetConfig().build(3, 3))


def smooth_image(size: int) -> Tensor:
    """A smooth random image, (1, 3, size, size) in [-1, 1]."""
    return interpolate(torch.rand(1, 3, 32, 32), size, mode="bicubic").clamp(0, 1) * 2 - 1


def seconds_to_translate(translator: Translator, image: Tensor) -> float:
    """Seconds of one translation."""
    start = time.perf_counter()
    translator.translate(image).cpu()  # the copy waits for the device
    return time.perf_counter() - start


def main() -> None:
    """Prints durations, the speed-up, and the difference between the two outputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--pairs", type=int, default=20, help="measurements of each precision")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", type=Path, help="model file or run (default: random weights)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "a_to_b.safetensors"
        if options.model is None:
            write_random_model(path, options.size)
        exact = Translator(path, device=options.device, precision="float32")
        fast = Translator(path, device=options.device, precision="auto")
    image = smooth_image(options.size)
    for translator in (exact, fast):
        for _ in range(2):
            seconds_to_translate(translator, image)  # warm-up
    exact_seconds, fast_seconds = [], []
    for _ in range(options.pairs):
        exact_seconds.append(seconds_to_translate(exact, image))
        fast_seconds.append(seconds_to_translate(fast, image))
    for name, seconds in (("float32", exact_seconds), (f"auto: {fast.precision}", fast_seconds)):
        low, middle, high = (1000 * pick(seconds) for pick in (min, median, max))
        print(f"{name:15} {middle:7.1f} ms ({low:.1f} to {high:.1f})")
    ratios = [slow / quick for slow, quick in zip(exact_seconds, fast_seconds, strict=True)]
    print(f"speed-up {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    levels = (exact.translate(image) - fast.translate(image)).abs() * 127.5
    print(f"difference: mean {levels.mean():.2f}, maximum {levels.max():.1f} of 255 levels")


if __name__ == "__main__":
    main()
