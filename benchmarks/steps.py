"""Times the training steps of several recipes against the reference, as `transmute bench` does for one, and prints a Markdown table.

python benchmarks/steps.py --device cpu --pairs 10
python benchmarks/steps.py --device cuda --pairs 20
"""

from __future__ import annotations

import argparse
import os

os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}

import torch

from transmute.bench.measure import compare
from transmute.recipes import RECIPES
from transmute.training.config import TrainConfig
from transmute.training.speed import algorithms_for, chosen_speed

CASES = {
    "cpu": [("cyclegan", "128", 1), ("pix2pix", "256", 1), ("cut", "128", 1), ("fastcut", "128", 1)],
    "cuda": [("cyclegan", "256", 1), ("cyclegan", "256", 8), ("pix2pix", "256", 1), ("cut", "256", 1), ("fastcut", "256", 1)],
}


def main() -> None:
    """A row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--only", default=None, help="one recipe")
    given = parser.parse_args()
    device = torch.device(given.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if given.device == 'cuda' else f'{torch.get_num_threads()} threads'}\n")
    print("| recipe | px | batch | networks | steps/s | reference | speed-up | memory, of the reference's | TFLOP/s, of the ceiling |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, size, batch in CASES[given.device]:
        if given.only not in (None, name):
            continue
        recipe = RECIPES[name].replace(size=size, batch=batch)
        config = TrainConfig(recipe=recipe, compile=given.compile)
        with algorithms_for(one_size=True, deterministic=False):
            speed, _ = chosen_speed(config, device, steps=100_000, one_size=True)
            found = compare(recipe, device, speed, pairs=given.pairs, say=print)
        ours, reference = found.ours, found.reference
        made = ", ".join([speed.precision, *(["compiled"] if speed.compiled else []), *(["graph"] if speed.captured else [])])
        print(
            f"| {name} | {size} | {batch} | {made} | {ours.median:.3g} ({ours.least:.3g} to {ours.most:.3g}) | "
            f"{reference.median:.3g} ({reference.least:.3g} to {reference.most:.3g}) | "
            f"**{found.speedup:.2f}** ({found.speedup_least:.2f} to {found.speedup_most:.2f}) | "
            f"{ours.memory / 2**20:,.0f} MiB, {ours.memory / reference.memory:.0%} | "
            f"{ours.median * found.step_flops / 1e12:.3g}, {found.share_of_ceiling:.0%} of {found.ceiling_flops / 1e12:.3g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
