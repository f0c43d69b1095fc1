"""Everything up to the first step: what the user gave is looked at before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from transmute.batch import Batch
from transmute.data.check import checked, common_size
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Order, Stream, fixed_batch, readers
from transmute.run import Run
from transmute.settings import UserError, differences
from transmute.training.checkpoint import resume
from transmute.training.config import Recipe, TrainConfig
from transmute.training.environment import environment
from transmute.training.meter import Meter
from transmute.training.processes import Processes, chosen_precision
from transmute.training.schedule import rate
from transmute.training.trainer import Trainer


@dataclass
class Session:
    """All that the loop works with.

    Attributes:
        data: The pictures that are used.
        shown: The pictures of the sample sheets.
        first_step, last_step: Steps behind us, and in the whole training.
    """

    config: TrainConfig
    run: Run
    processes: Processes
    console: Console
    data: DataSet
    stream: Stream
    shown: list[Batch]
    trainer: Trainer
    meter: Meter
    first_step: int
    last_step: int

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    def rate(self, step: int) -> float:
        """The factor of the learning rate in a step; the schedule counts epochs unless the length is given in steps."""
        if self.recipe.steps is not None:
            return rate(self.recipe.schedule, step - 1, self.recipe.steps)
        return rate(self.recipe.schedule, (step - 1) * self.recipe.batch // self.stream.order.pass_length, self.recipe.epochs)


def prepare(config: TrainConfig, processes: Processes) -> Session:
    """Finds and checks the pictures, builds the networks, and goes back to where an existing run was.

    Raises:
        UserError: If anything that was given does not fit; the run folder is as it was.
    """
    assert config.run is not None
    recipe, run = config.recipe, Run(config.run)
    console = Console(quiet=not processes.first, highlight=False, soft_wrap=True)
    say = partial(console.print, markup=False)
    _require_divisible_batch(recipe, processes)
    sessions = _earlier_sessions(run, recipe)

    geometry = Geometry.of(recipe.preprocess, recipe.size, recipe.method.generator.stride)
    _require_legal_size(recipe, geometry)
    data, fingerprint = _pictures(config, geometry, sessions, say)
    size = _common_size(recipe, data, geometry)
    _require_large_enough(recipe, size)
    shown = fixed_batch(data, recipe.preprocess, geometry, count=4) if processes.first else []
    order = Order(len(data.train[0]), len(data.train[1]), recipe.seed, recipe.method.paired, recipe.preprocess.serial)
    last_step = recipe.steps or max(1, recipe.epochs * order.pass_length // recipe.batch)

    precision, why = _precision(config, processes, sessions)
    trainer, meter = _trainer(config, processes, size, precision), Meter()
    first_step = resume(run, trainer, meter, processes, say) if sessions else 0

    if processes.first:
        run.rewind(first_step)
        if not sessions:
            run.write_json(run.recipe_file, recipe.model_dump(mode="json"))
        facts = environment(
            device=processes.device, precision=precision, processes=processes.count, data=data.description, fingerprint=fingerprint, step=first_step
        )
        run.write_json(run.environment_file, {"domains": list(data.names), "sessions": [*sessions, facts]})
    processes.wait()
    kind = torch.cuda.get_device_name(processes.device) if processes.device.type == "cuda" else "cpu"
    say(f"device: {f'{processes.count} x ' if processes.count > 1 else ''}{kind}, networks in {precision} ({why})")
    if processes.count > 1:
        say(f"each process has an image history{'' if config.sync_batch_norm else ' and batch-norm statistics'} of its own")
    if first_step < last_step:
        say(f"run: {run.folder}, {'continued at' if first_step else 'from'} step {first_step} of {last_step}")
    else:
        say(f"{run.folder} is finished: {first_step} of {last_step} steps; use it with: transmute translate PICTURES --model {run.folder}")
    stream = Stream(data, order, recipe.preprocess, geometry, keep=config.data.cache)
    return Session(config, run, processes, console, data, stream, shown, trainer, meter, first_step, last_step)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Makes all that is random in a step a function of (seed, step, rank). Step 0 is the drawing of the weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def _earlier_sessions(run: Run, recipe: Recipe) -> list[dict[str, Any]]:
    """What is known of the run so far; empty for a new one.

    Raises:
        UserError: If the run was begun with another recipe, or its name is that of a file.
    """
    if not run.exists():
        if run.folder.is_file():
            raise UserError(f"--run {run.folder} is a file: name a folder")
        return []
    if changed := differences(run.read_json(run.recipe_file), recipe.model_dump(mode="json")):
        raise UserError(
            f"{run.folder} was begun with another recipe, so it cannot be continued with this one ({'; '.join(changed)}): "
            "give the same settings, or another --run"
        )
    return run.read_json(run.environment_file)["sessions"] if run.environment_file.is_file() else []


def _require_divisible_batch(recipe: Recipe, processes: Processes) -> None:
    if recipe.batch % (processes.count * recipe.optimizer.accumulate):
        raise UserError(
            f"a batch of {recipe.batch} cannot be divided among {processes.count} processes with {recipe.optimizer.accumulate} parts each: "
            "change --batch, --devices or --optimizer.accumulate"
        )


def _require_legal_size(recipe: Recipe, geometry: Geometry) -> None:
    stride = recipe.method.generator.stride
    if geometry.crops and any(side % stride for side in geometry.size):
        legal = "x".join(str(max(1, round(side / stride)) * stride) for side in geometry.size)
        raise UserError(
            f"--size {recipe.size} does not fit a {recipe.method.generator.name} generator, whose sides are multiples of {stride}: take {legal}"
        )


def _require_large_enough(recipe: Recipe, size: tuple[int, int]) -> None:
    for network in (recipe.method.generator, recipe.method.discriminator):
        if min(size) < network.smallest:
            raise UserError(
                f"pictures of {size[0]}x{size[1]} are too small for this {network.name}, whose layers need {network.smallest}: "
                "raise --size, or take fewer layers"
            )


def _pictures(config: TrainConfig, geometry: Geometry, sessions: list[dict[str, Any]], say: Callable[[str], None]) -> tuple[DataSet, str]:
    """The pictures to train with, and the fingerprint of all that were found. Those of an earlier session were looked at then."""
    recipe, paired = config.recipe, config.recipe.method.paired
    data = recognize(config.folder, config.data, paired=paired)
    say(f"data: {data.description}")
    fingerprint = data.fingerprint()
    known = bool(sessions) and sessions[-1]["fingerprint"] == fingerprint
    if sessions and not known:
        say("the training pictures are not those with which this run began: it goes on with the new ones, from the same place in the order")
    if not known or config.data.skip_bad:
        data = checked(data, readers(geometry, recipe.preprocess), paired=paired, skip_bad=config.data.skip_bad, say=say)
    return data, fingerprint


def _common_size(recipe: Recipe, data: DataSet, geometry: Geometry) -> tuple[int, int]:
    """The (width, height) of what training sees; anything where pictures differ and it does not matter."""
    size = common_size(data, readers(geometry, recipe.preprocess), geometry)
    differ = f"--preprocess.mode {recipe.preprocess.mode} leaves pictures of different sizes, which cannot share"
    if size is None and recipe.batch > 1:
        raise UserError(f"{differ} a batch of {recipe.batch}: take --batch 1, or a mode that crops")
    if size is None and recipe.method.name == "cyclegan" and recipe.method.history:
        raise UserError(f"{differ} a history: take --method.history 0, or a mode that crops")
    return size or geometry.size


def _precision(config: TrainConfig, processes: Processes, sessions: list[dict[str, Any]]) -> tuple[str, str]:
    """float32 or bfloat16, and why; a continued run stays with what it began with, unless told otherwise."""
    if config.precision == "auto" and sessions and sessions[-1]["device_type"] == processes.device.type:
        return sessions[-1]["precision"], "as before"
    return chosen_precision(config.precision, processes.device)


def _trainer(config: TrainConfig, processes: Processes, size: tuple[int, int], precision: str) -> Trainer:
    recipe = config.recipe
    seed_step(recipe.seed, 0, 0)
    method = recipe.method.build(recipe.preprocess.channels_a, recipe.preprocess.channels_b, size)
    if config.sync_batch_norm:
        if processes.device.type != "cuda" or processes.count == 1:
            raise UserError("--sync-batch-norm works among several GPUs only: leave it out, or choose instance norm, which needs no synchronizing")
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # in place: the method itself is no batch norm
    return Trainer(method.to(processes.device), recipe.optimizer, autocast=torch.bfloat16 if precision == "bfloat16" else None)
