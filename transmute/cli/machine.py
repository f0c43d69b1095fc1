"""`transmute doctor` and `bench`: whether this machine can train, and how fast."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from pydantic import Field

from transmute.cli.parsing import Command, as_flags
from transmute.cli.runs import RecipeCommand
from transmute.config.base import Argument, width_and_height
from transmute.config.training import Recipe, TrainConfig


class DoctorCommand(Command):
    """Checks that this machine can train: software, numerical results of devices, disk, memory and
    optional packages. Exits with 1 if a check fails."""

    folder: Annotated[Path, Argument("DIR", positional=True)] = Path("runs")
    """Folder for runs, whose disk is checked."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print JSON instead of the table."""

    def execute(self) -> int:
        from transmute.cli.checks import all_checks

        checks = list(all_checks(self.folder))
        bad = [check.name for check in checks if check.ok is False]
        if self.as_json:
            print(json.dumps({"healthy": not bad, "checks": list(map(asdict, checks))}, indent=2))
            return 1 if bad else 0
        for check in checks:
            status = {True: "ok", False: "BAD", None: ""}[check.ok]
            print(f"{status:4} {check.name:16}  {check.result}")
        for check in checks:
            if check.advice and not check.ok:
                print(f"{check.name}: {as_flags(check.advice)}")
        print(f"not healthy: {', '.join(bad)}" if bad else "healthy")
        return 1 if bad else 0


class BenchCommand(RecipeCommand):
    """Measures the training steps of a recipe on this machine and estimates how long the recipe
    takes. Peak memory is reported on GPUs only."""

    recipe: Annotated[Recipe, Argument(name="")] = Recipe()
    """The recipe. Training images are random."""
    images: int = Field(default=1334, ge=1)
    """Number of images in the larger domain, used to convert epochs to steps. The default is that
    of horse2zebra."""
    repeats: int = Field(default=5, ge=1)
    """Number of measurements, each of at least half a second."""
    device: Annotated[str, Argument("auto|cpu|cuda")] = "auto"
    """Device, or cuda:N for GPU N. The first GPU is cuda:0. auto uses a GPU if there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the networks. auto uses bfloat16 where it is fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Use torch.compile. auto compiles for long training runs."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Replay whole steps as CUDA graphs. auto uses them on a GPU."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print one JSON object instead of a table."""

    def execute(self) -> None:
        import torch
        from rich.console import Console

        from transmute.device import (
            current_device,
            device_name,
            out_of_memory_reported,
            select_device,
            select_precision,
        )
        from transmute.training.memory import advice, require_memory
        from transmute.training.setup import require_sizes
        from transmute.training.speed import cudnn_settings, select_speed, time_steps

        recipe = self.recipe
        require_sizes(recipe, {width_and_height(recipe.size)})
        device = select_device(self.device)
        steps = recipe.steps or recipe.epochs * self.images // recipe.batch
        config = TrainConfig(
            recipe=recipe, precision=self.precision, compile=self.compile, graph=self.graph
        )
        size, precision = width_and_height(recipe.size), select_precision(self.precision, device)[0]
        needed = require_memory(recipe, size, device, precision=precision)
        console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        with current_device(device), cudnn_settings(one_size=True, deterministic=False):
            speed, explanation = select_speed(config, device, steps=steps, one_size=True)
            console.print(f"device: {device_name(device)}, {explanation}")
            console.print(f"memory: {needed or 'unknown'}")
            with out_of_memory_reported(f"This recipe needs {needed}. {advice(recipe)}"):
                speeds = time_steps(recipe, device, speed, repeats=self.repeats, say=console.print)
        typical, cuda = median(speeds), device.type == "cuda"
        result: dict[str, Any] = {
            "method": recipe.method.name,
            "size": recipe.size,
            "batch": recipe.batch,
            "device": device_name(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            **asdict(speed),
            "repeats": self.repeats,
            "steps_per_second": typical,
            "steps_per_second_spread": [min(speeds), max(speeds)],
            "images_per_second": typical * recipe.batch,
            # On a CPU, torch does not count memory.
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if cuda else None,
            "recipe_steps": steps,
            "recipe_seconds": steps / typical,
        }
        self._print(result)

    def _print(self, result: dict[str, Any]) -> None:
        if self.as_json:
            print(json.dumps(result))
            return
        low, high = result["steps_per_second_spread"]
        duration = timedelta(seconds=round(result["recipe_seconds"]))
        steps = f"{result['recipe_steps']:,} steps"
        print(
            f"{'steps/s':16} {result['steps_per_second']:.3g} ({low:.3g} to {high:.3g})\n"
            f"{'images/s':16} {result['images_per_second']:.3g}\n"
            f"{steps:16} {duration}"
        )
        if result["peak_memory_bytes"]:
            print(f"{'peak memory':16} {result['peak_memory_bytes'] / 2**20:,.0f} MiB")
