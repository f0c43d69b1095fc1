"""Does speed cost quality? The demo's training in float32, in bfloat16, and in bfloat16 compiled, over several seeds.

    python benchmarks/quality.py --seeds 3 --out runs/quality

Each training is judged as the demo judges itself: how far the look of held-out animals went to the other domain, and how much their ground changed.
Finished ones are not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev

from transmute.data.config import SourceConfig
from transmute.demo.animals import write_data_set
from transmute.demo.demo import DEMO, judge
from transmute.training.config import TrainConfig
from transmute.training.train import train

VARIANTS = {
    "float32": {"precision": "float32", "compile": "off", "graph": "off"},
    "bfloat16": {"precision": "bfloat16", "compile": "off"},
    "compiled": {"precision": "bfloat16", "compile": "on"},
}


def judged(folder: Path, variant: str, seed: int, steps: int | None, device: str) -> dict[str, float]:
    """The demo's figures after one training."""
    run, data = folder / f"{variant}-{seed}", folder / "data"
    recipe = DEMO.replace(seed=seed, steps=steps or DEMO.steps)
    began = time.perf_counter()
    stopped_by = train(
        TrainConfig(folder=data, run=run, recipe=recipe, data=SourceConfig(cache=True), sample_every=400, device=device, **VARIANTS[variant])
    )
    if stopped_by:
        sys.exit(128 + stopped_by)
    figures: dict[str, float] = {"seconds": time.perf_counter() - began}
    for direction, found in judge(run, data)[1].items():
        figures |= {f"{direction}: look": found.moved, f"{direction}: ground": found.ground_changed}
    return figures


def main() -> None:
    """The trainings that are missing, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="in place of the demo's")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    write_data_set(given.out / "data", train=400, test=32)
    results_file = given.out / "results.json"
    results: dict[str, dict[str, float]] = json.loads(results_file.read_text()) if results_file.exists() else {}
    for seed in range(given.seeds):
        for variant in VARIANTS:
            if f"{variant}-{seed}" not in results:
                results[f"{variant}-{seed}"] = judged(given.out, variant, seed, given.steps, given.device)
                results_file.write_text(json.dumps(results, indent=1))
    for name in next(iter(results.values())):
        for variant in VARIANTS:
            values = [results[f"{variant}-{seed}"][name] for seed in range(given.seeds)]
            spread = stdev(values) if len(values) > 1 else float("nan")
            listed = ", ".join(f"{value:.3f}" for value in values)
            print(f"{name:24} {variant:9} mean {mean(values):8.3f}, deviation {spread:.3f} of {listed}")


if __name__ == "__main__":
    main()
