"""Measures whether fast training costs quality.

    python benchmarks/quality.py --seeds 3 --out runs/quality

Trains the demo in float32, in bfloat16, and in bfloat16 with compiled networks, with several
seeds. Each training run is measured like the demo: how far the appearance of held-out animals moved
to the other domain, and how much their background changed. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from transmute.config.data import SourceConfig
from transmute.config.training import TrainConfig
from transmute.demo.animals import write_data_set
from transmute.demo.demo import DEMO, score_translations
from transmute.files import write_json
from transmute.training.train import train

VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32", "compile": "off", "graph": "off"},
    "bfloat16": {"precision": "bfloat16", "compile": "off"},
    "compiled": {"precision": "bfloat16", "compile": "on"},
}


def train_and_measure(
    folder: Path, variant: str, seed: int, steps: int, device: str
) -> dict[str, float]:
    """Trains one variant with one seed, and returns its duration and the demo's metrics."""
    run, data = folder / f"{variant}-{seed}", folder / "data"
    config = TrainConfig.model_validate(
        {
            "folder": data,
            "run": run,
            "recipe": DEMO.replace(seed=seed, steps=steps),
            "data": SourceConfig(cache=True),
            "sample_every": 400,
            "device": device,
            **VARIANTS[variant],
        }
    )
    start = time.perf_counter()
    stopped_by = train(config)
    if stopped_by:
        sys.exit(128 + stopped_by)
    metrics = {"seconds": time.perf_counter() - start}
    for direction, score in score_translations(run, data)[1].items():
        metrics[f"{direction}: appearance"] = score.transfer
        metrics[f"{direction}: background"] = score.background_change
    return metrics


def main() -> None:
    """Runs what is missing, and prints a line per metric and variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=DEMO.steps, help="length of each training run")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    write_data_set(options.out / "data", train=400, test=32)
    results_file = options.out / "results.json"
    results: dict[str, dict[str, float]] = {}
    if results_file.exists():
        results = json.loads(results_file.read_text(encoding="utf-8"))
    for seed in range(options.seeds):
        for variant in VARIANTS:
            if f"{variant}-{seed}" not in results:
                results[f"{variant}-{seed}"] = train_and_measure(
                    options.out, variant, seed, options.steps, options.device
                )
                write_json(results_file, results)
    for name in next(iter(results.values())):
        for variant in VARIANTS:
            values = [results[f"{variant}-{seed}"][name] for seed in range(options.seeds)]
            deviation = stdev(values) if len(values) > 1 else float("nan")
            listed = ", ".join(f"{value:.3f}" for value in values)
            print(
                f"{name:28} {variant:9} mean {mean(values):8.3f}, standard deviation "
                f"{deviation:.3f} ({listed})"
            )


if __name__ == "__main__":
    main()
