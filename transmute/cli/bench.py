"""`transmute bench`: measures the training speed of a recipe on this machine."""

import dataclasses
import json
from datetime import timedelta
from statistics import median
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

    from transmute.device import device_name, select_device
    from transmute.training.setup import require_sizes
    from transmute.training.speed import cudnn_settings, select_speed, time_steps

    recipe = settings.recipe
    require_sizes(recipe, {width_and_height(recipe.size)})
    device = torch.device(select_device(settings.device))
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
        console.print(f"device: {device_name(device)}, {explanation}")
        speeds = time_steps(recipe, device, speed, repeats=settings.repeats, say=console.print)
    cuda = device.type == "cuda"  # on a CPU, torch does not count memory
    peak_memory = torch.cuda.max_memory_allocated(device) if cuda else None
    result = {
        "method": recipe.method.name,
        "size": recipe.size,
        "batch": recipe.batch,
        "device": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **dataclasses.asdict(speed),
        "repeats": settings.repeats,
        "steps_per_second": median(speeds),
        "steps_per_second_spread": [min(speeds), max(speeds)],
        "images_per_second": median(speeds) * recipe.batch,
        "peak_memory_bytes": peak_memory,
        "recipe_steps": steps,
        "recipe_seconds": steps / median(speeds),
    }
    if settings.as_json:
        print(json.dumps(result))
    else:
        _print_table(result)
    return 0


def _print_table(result: dict[str, Any]) -> None:
    slowest, fastest = result["steps_per_second_spread"]
    duration = timedelta(seconds=round(result["recipe_seconds"]))
    rows = {
        "steps/s": f"{result['steps_per_second']:.3g} ({slowest:.3g} to {fastest:.3g})",
        "images/s": f"{result['images_per_second']:.3g}",
        f"{result['recipe_steps']:,} steps": duration,
    }
    if result["peak_memory_bytes"] is not None:
        rows["peak memory"] = f"{result['peak_memory_bytes'] / 2**20:,.0f} MiB"
    print("\n".join(f"{name:16} {value}" for name, value in rows.items()))
