"""`transmute bench`: how fast a recipe's step is on this machine, and how long the whole recipe takes."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from transmute.cli.parsing import parsed
from transmute.cli.train import chosen_recipe
from transmute.settings import Settings, width_and_height
from transmute.training.config import Recipe

if TYPE_CHECKING:
    from transmute.bench.measure import Comparison


class BenchArguments(Settings):
    """What is timed, how, and how often."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()
    """What would be learned; pictures are noise here."""
    pictures: int = Field(default=1334, ge=1)
    """Pictures of the larger domain, for the length of a recipe that counts epochs; 1334 is horse2zebra."""
    pairs: int = Field(default=10, ge=1)
    """How often ours and the reference are timed, by turns."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes; auto takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """As in `transmute train`."""
    compile: Literal["auto", "on", "off"] = "auto"
    """As in `transmute train`."""
    graph: Literal["auto", "on", "off"] = "auto"
    """As in `transmute train`."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object in place of the table."""


def bench(arguments: list[str]) -> int:
    """Times the steps and prints the figures."""
    rest, recipe, choices = chosen_recipe(arguments)
    about = "Times a recipe's training step on this machine, ours and a reference by turns: the original's step, eager and in float32."
    given = parsed(BenchArguments, rest, "bench", description=f"{about} {choices}", default=BenchArguments(recipe=recipe))

    os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # torch's profiler talks of itself

    import torch
    from rich.console import Console

    from transmute.bench.measure import compare
    from transmute.devices import chosen_device
    from transmute.training.config import TrainConfig
    from transmute.training.session import require_legal_size, require_sizes
    from transmute.training.speed import algorithms_for, chosen_speed

    recipe = given.recipe
    require_legal_size(recipe)
    require_sizes(recipe, {width_and_height(recipe.size)})
    device = torch.device(chosen_device(given.device))
    steps = recipe.steps or recipe.epochs * given.pictures // recipe.batch
    config = TrainConfig(recipe=recipe, precision=given.precision, compile=given.compile, graph=given.graph)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with algorithms_for(one_size=True, deterministic=False):
        speed, why = chosen_speed(config, device, steps=steps, one_size=True)
        console.print(f"device: {_name(device)}, {why}", markup=False)
        found = compare(recipe, device, speed, pairs=given.pairs, say=lambda line: console.print(line, markup=False))
    facts = {
        "method": recipe.method.name,
        "size": recipe.size,
        "batch": recipe.batch,
        "device": _name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **dataclasses.asdict(speed),
        "pairs": given.pairs,
    }
    if given.as_json:
        print(json.dumps(facts | _figures(found, recipe, steps)))
    else:
        _print_table(found, recipe, steps)
    return 0


def _name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def _figures(found: Comparison, recipe: Recipe, steps: int) -> dict[str, Any]:
    return {
        "steps_per_second": found.ours.median,
        "steps_per_second_spread": [found.ours.least, found.ours.most],
        "reference_steps_per_second": found.reference.median,
        "reference_steps_per_second_spread": [found.reference.least, found.reference.most],
        "speedup": found.speedup,
        "speedup_spread": [found.speedup_least, found.speedup_most],
        "pictures_per_second": found.ours.median * recipe.batch,
        "reference_pictures_per_second": found.reference.median * recipe.batch,
        "memory_bytes": found.ours.memory,
        "reference_memory_bytes": found.reference.memory,
        "step_flops": found.step_flops,
        "flops_per_second": found.ours.median * found.step_flops,
        "ceiling_flops_per_second": found.ceiling_flops,
        "share_of_ceiling": found.share_of_ceiling,
        "recipe_steps": steps,
        "recipe_seconds": steps / found.ours.median,
        "reference_recipe_seconds": steps / found.reference.median,
    }


def _print_table(found: Comparison, recipe: Recipe, steps: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from transmute.training.watch import duration

    both = (found.ours, found.reference)
    table = Table("", "ours", "reference", box=None, pad_edge=False)
    table.add_row("steps/s", *(f"{one.median:.3g} ({one.least:.3g} to {one.most:.3g})" for one in both))
    table.add_row("pictures/s", *(f"{one.median * recipe.batch:.3g}" for one in both))
    table.add_row("memory", *(f"{one.memory / 2**20:,.0f} MiB" for one in both))
    table.add_row("TFLOP/s", *(f"{one.median * found.step_flops / 1e12:.3g}" for one in both))
    table.add_row(f"{steps:,} steps", *(duration(steps / one.median) for one in both))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"\nspeed-up: {found.speedup:.2f}, from {found.speedup_least:.2f} to {found.speedup_most:.2f} in the pairs\n"
        f"a step is {found.step_flops / 1e12:.3g} TFLOP; ours reaches {found.share_of_ceiling:.0%} of the {found.ceiling_flops / 1e12:.3g} TFLOP/s "
        "of a large matrix product in the same precision"
    )
