"""Measures a recipe's training step against a reference implementation, in alternation.

    python benchmarks/steps.py --recipe cyclegan --size 128 --device cpu --pairs 10 --json

The reference is eager and in float32 (benchmarks/reference.py). Both run with equal networks on
the same random images. Reported are medians over the pairs with minimum and maximum.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Silences the log of torch's profiler, which is read when torch is imported.
os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `benchmarks` can be imported

import torch

from benchmarks.comparison import Comparison, compare
from transmute.config.base import width_and_height
from transmute.config.training import Recipe, TrainConfig
from transmute.device import select_device
from transmute.errors import UserError
from transmute.recipes import RECIPES
from transmute.training.setup import require_sizes
from transmute.training.speed import cudnn_settings, select_speed
from transmute.training.trainer import Speed


def measure(
    recipe: Recipe, device: torch.device, *, pairs: int, precision: str, compiled: str, graph: str
) -> dict[str, Any]:
    """The comparison of one recipe as JSON values.

    Raises:
        UserError: If the recipe's size does not suit its networks.
    """
    require_sizes(recipe, {width_and_height(recipe.size)})
    config = TrainConfig.model_validate(
        {"recipe": recipe, "precision": precision, "compile": compiled, "graph": graph}
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    with cudnn_settings(one_size=True, deterministic=False):
        speed, explanation = select_speed(config, device, steps=100_000, one_size=True)
        say(explanation)
        comparison = compare(recipe, device, speed, pairs=pairs, say=say)
    return facts(recipe, device, speed, pairs) | figures(comparison, recipe.batch)


def facts(recipe: Recipe, device: torch.device, speed: Speed, pairs: int) -> dict[str, Any]:
    """What was measured, and where."""
    threads = torch.get_num_threads()
    cuda = device.type == "cuda"
    return {
        "method": recipe.method.name,
        "size": recipe.size,
        "batch": recipe.batch,
        "device": torch.cuda.get_device_name(device) if cuda else f"cpu, {threads} threads",
        "torch": torch.__version__,
        "threads": threads,
        **dataclasses.asdict(speed),
        "pairs": pairs,
    }


def figures(comparison: Comparison, batch: int) -> dict[str, Any]:
    """The measured values: each `..._spread` is [minimum, maximum] over the pairs."""
    spreads = {
        "steps_per_second": comparison.steps_per_second,
        "reference_steps_per_second": comparison.reference_steps_per_second,
        "speedup": comparison.speedup,
    }
    values: dict[str, Any] = {}
    for name, spread in spreads.items():
        values |= {name: spread.median, f"{name}_spread": [spread.min, spread.max]}
    return values | {
        "images_per_second": comparison.steps_per_second.median * batch,
        "reference_images_per_second": comparison.reference_steps_per_second.median * batch,
        "memory_bytes": comparison.memory,
        "reference_memory_bytes": comparison.reference_memory,
        "step_flops": comparison.step_flops,
        "flops_per_second": comparison.steps_per_second.median * comparison.step_flops,
        "ceiling_flops_per_second": comparison.ceiling,
        "share_of_ceiling": comparison.share_of_ceiling,
    }


def table(result: dict[str, Any]) -> str:
    """The result as text."""

    def spread(name: str) -> str:
        low, high = result[f"{name}_spread"]
        return f"{result[name]:.3g} ({low:.3g} to {high:.3g})"

    memory, reference_memory = result["memory_bytes"], result["reference_memory_bytes"]
    rows = [
        ("recipe", f"{result['method']}, {result['size']} px, batch {result['batch']}"),
        ("device", f"{result['device']}, torch {result['torch']}"),
        ("steps/s", spread("steps_per_second")),
        ("reference steps/s", spread("reference_steps_per_second")),
        ("speed-up", spread("speedup")),
        ("memory", f"{memory / 2**20:,.0f} MiB, {memory / reference_memory:.0%} of the reference"),
        (
            "TFLOP/s",
            f"{result['flops_per_second'] / 1e12:.3g}, {result['share_of_ceiling']:.0%} of a large "
            f"matrix product ({result['ceiling_flops_per_second'] / 1e12:.3g})",
        ),
        ("TFLOP per step", f"{result['step_flops'] / 1e12:.3g}"),
    ]
    return "\n".join(f"{name:18} {value}" for name, value in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the options, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    switch = {"choices": ("auto", "on", "off"), "default": "auto"}
    parser.add_argument("--recipe", choices=RECIPES, default="cyclegan")
    parser.add_argument("--size", help="pixels, N or WxH (default: the recipe's)")
    parser.add_argument("--batch", type=int, help="images per domain (default: the recipe's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--compile", **switch, help="as in transmute train")
    parser.add_argument("--graph", **switch, help="as in transmute train")
    parser.add_argument("--pairs", type=int, default=10, help="measurements of each step")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    changes = {"size": options.size, "batch": options.batch}
    try:
        result = measure(
            RECIPES[options.recipe].updated({k: v for k, v in changes.items() if v is not None}),
            select_device(options.device),
            pairs=options.pairs,
            precision=options.precision,
            compiled=options.compile,
            graph=options.graph,
        )
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
