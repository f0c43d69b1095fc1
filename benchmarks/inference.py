"""Times the translation of one picture: the original's generator, in eager float32 and as `Translator` does it by itself.

python benchmarks/inference.py --size 256 --pairs 20
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import transmute
from transmute import Translator
from transmute.data.config import PreprocessConfig
from transmute.networks.config import ResNetConfig
from transmute.translation.model import ModelCard, save_network


def main() -> None:
    """Medians and ranges, the ratio of the pairs, and how far the pixels move."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", type=Path, default=None, help="a trained model file or run; without one, new weights")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.model or Path(folder) / "a_to_b.safetensors"
        if given.model is None:
            torch.manual_seed(0)
            about = {"method": "cyclegan", "direction": "a_to_b", "source": "a", "target": "b", "generator": ResNetConfig()}
            card = ModelCard(
                transmute=transmute.__version__, in_channels=3, out_channels=3, size=str(given.size), preprocess=PreprocessConfig(), **about
            )
            save_network(path, card, ResNetConfig().build(3, 3))
        exact, quick = (Translator(path, device=given.device, precision=precision) for precision in ("float32", "auto"))
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 32, 32), given.size, mode="bicubic").clamp(0, 1) * 2 - 1
    seconds: dict[str, list[float]] = {"float32": [], quick.precision + " by auto": []}
    for pair in range(given.pairs + 2):
        for taken, translator in zip(seconds.values(), (exact, quick), strict=True):
            start = time.perf_counter()
            translator.translate(picture).cpu()
            if pair >= 2:
                taken.append(time.perf_counter() - start)
    for name, taken in seconds.items():
        print(f"{name:18} {1000 * median(taken):7.1f} ms ({1000 * min(taken):.1f} to {1000 * max(taken):.1f})")
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    print(f"speed-up {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {given.pairs} pairs)")
    levels = (exact.translate(picture) - quick.translate(picture)).abs() * 127.5
    print(f"pixels move by {levels.mean():.2f} of 255 levels on average, {levels.max():.1f} at most")


if __name__ == "__main__":
    main()
