"""`transmute bench`: measures the training speed of a recipe on this machine."""

import dataclasses
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from transmute.cli.train import parse_with_recipe
from transmute.config.base import Argument, Settings, width_and_height
from transmute.config.training import Recipe, TrainConfig


class BenchArguments(Settings):
    """Measures the training steps of a recipe on this machine and estimates how long the recipe
    takes. Peak memory is reported on GPUs only."""

    recipe: Annotated[Recipe, Argument(name="")] = Recipe()
    """The recipe. Training images are random."""
    images: int = Field(default=1334, ge=1)
    """Number of images in the larger domain, used to convert epochs to steps. The default is that
    of horse2zebra."""
    repeats: int = Field(default=5, ge=1)
    """Number of measurements, each of at least half a second."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device. auto uses a GPU if there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the networks. auto uses bfloat16 where it is fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Use torch.compile. auto compiles for long training runs."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole steps as CUDA graphs. auto uses them on a GPU."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print one JSON object instead of a table."""


def bench(arguments: list[str]) -> int:
    """Measures training steps, and prints their speed and the duration of the whole recipe."""
    settings = parse_with_recipe(BenchArguments, arguments, "bench")

    import torch
    from rich.console import Console

    from transmute.device import select_device
    from transmute.training.setup import require_multiple_of_stride, require_sizes
    from transmute.training.speed import cudnn_settings, select_speed
    from transmute.training.timing import time_steps

    recipe = settings.recipe
    require_multiple_of_stride(recipe)
    require_sizes(recipe, {width_and_height(recipe.size)})
    device = torch.device(select_device(settings.device))
    threads = torch.get_num_threads()
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"cpu, {threads} threads"
    steps = recipe.steps or recipe.epochs * settings.images // recipe.batch
    config = TrainConfig(
        recipe=recipe,
        precision=settings.precision,
        compile=settings.compile,
        graph=settings.graph,
    )
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    with cudnn_settings(one_size=True, deterministic=False):
        speed, explanation = select_speed(config, device, steps=steps, one_size=True)
        console.print(f"device: {name}, {explanation}")
        timing = time_steps(recipe, device, speed, repeats=settings.repeats, say=console.print)
    result = {
        "method": recipe.method.name,
        "size": recipe.size,
        "batch": recipe.batch,
        "device": name,
        "torch": torch.__version__,
        "threads": threads,
        **dataclasses.asdict(speed),
        "repeats": settings.repeats,
        "steps_per_second": timing.steps_per_second,
        "steps_per_second_spread": [timing.slowest, timing.fastest],
        "images_per_second": timing.steps_per_second * recipe.batch,
        "peak_memory_bytes": timing.peak_memory,
        "recipe_steps": steps,
        "recipe_seconds": steps / timing.steps_per_second,
    }
    if settings.as_json:
        print(json.dumps(result))
    else:
        _print_table(result)
    return 0


def _print_table(result: dict[str, Any]) -> None:
    from transmute.training.console import duration

    slowest, fastest = result["steps_per_second_spread"]
    rows = {
        "steps/s": f"{result['steps_per_second']:.3g} ({slowest:.3g} to {fastest:.3g})",
        "images/s": f"{result['images_per_second']:.3g}",
        f"{result['recipe_steps']:,} steps": duration(result["recipe_seconds"]),
    }
    if result["peak_memory_bytes"] is not None:
        rows["peak memory"] = f"{result['peak_memory_bytes'] / 2**20:,.0f} MiB"
    print("\n".join(f"{name:16} {value}" for name, value in rows.items()))
