"""Everything up to the first step: what the user gave is looked at before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from transmute.batch import Batch
from transmute.data.check import checked
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Order, Stream, fixed_batches, readers
from transmute.devices import chosen_precision
from transmute.diagnostics.device import require_working
from transmute.methods.base import Method
from transmute.run import Run
from transmute.settings import UserError, differences, width_and_height
from transmute.training.checkpoint import resume, save_models
from transmute.training.config import PlateauConfig, Recipe, TrainConfig
from transmute.training.diagnosing import Diagnosis
from transmute.training.environment import environment
from transmute.training.loggers import Loggers
from transmute.training.meter import Meter
from transmute.training.processes import Processes
from transmute.training.progress import MakeEvaluator, Progress
from transmute.training.schedule import plateau_rate, rate
from transmute.training.speed import Speed, algorithms_for, chosen_speed
from transmute.training.trainer import Trainer
from transmute.translation.model import read_networks


@dataclass
class Session:
    """All that the loop works with.

    Attributes:
        say: Prints a line, in the first process.
        data: The pictures that are used.
        shown: The pictures of the sample sheets, held-out ones where there are any.
        seen: As many that are trained with; empty where `shown` are.
        first_step, last_step: Steps behind us, and in the whole training.
    """

    config: TrainConfig
    run: Run
    processes: Processes
    console: Console
    data: DataSet
    stream: Stream
    shown: list[Batch]
    seen: list[Batch]
    trainer: Trainer
    last_step: int
    progress: Progress
    meter: Meter = field(default_factory=Meter)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    loggers: Loggers | None = None
    first_step: int = 0

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    @property
    def own_statistics(self) -> bool:
        """Whether batch norm sees one picture at a time in training, and so must in use."""
        sharing = 1 if self.config.sync_batch_norm else self.processes.count
        return self.recipe.batch // sharing // self.recipe.optimizer.accumulate == 1

    def say(self, line: str) -> None:
        """Prints a line, in the first process."""
        self.console.print(line, markup=False)

    def rate(self, step: int) -> float:
        """The factor of the learning rate in a step; the schedule counts epochs unless the length is given in steps."""
        schedule = self.recipe.schedule
        if isinstance(schedule, PlateauConfig):
            return plateau_rate(schedule, self.progress.losses)
        if self.recipe.steps is not None:
            return rate(schedule, step - 1, self.recipe.steps)
        return rate(schedule, (step - 1) * self.recipe.batch // self.stream.order.pass_length, self.recipe.epochs)


def prepare(config: TrainConfig, processes: Processes, until_done: ExitStack, evaluator: MakeEvaluator | None = None) -> Session:
    """Finds and checks the pictures, builds the networks, locks the run until all is done, and goes back to where it was.

    Raises:
        UserError: If anything that was given does not fit; the run folder is as it was.
    """
    assert config.run is not None
    require_working(processes.device, bfloat16=chosen_precision(config.precision, processes.device)[0] == "bfloat16")
    recipe, run = config.recipe, Run(config.run)
    console = Console(quiet=not processes.first, highlight=False, soft_wrap=True)
    say = partial(console.print, markup=False)
    _require_divisible_batch(recipe, processes)
    begun = run.exists()
    _require_same_recipe(run, recipe, extend=config.extend)
    sessions = run.sessions() if begun else []

    geometry = Geometry.of(recipe.preprocess, recipe.size, recipe.method.generator.stride)
    if geometry.crops:
        require_legal_size(recipe)
    data, sizes, fingerprint = _pictures(config, geometry, sessions, say)
    size = require_sizes(recipe, sizes)
    shown, seen = fixed_batches(data, recipe.preprocess, geometry, count=4) if processes.first else ([], [])
    order = Order(len(data.train[0]), len(data.train[1]), recipe.seed, recipe.method.paired, recipe.preprocess.serial)
    last_step = recipe.steps or max(1, recipe.epochs * order.pass_length // recipe.batch)
    now = max(run.checkpoints(), default=0)
    if config.extend and last_step <= now and run.read_json(run.recipe_file) != recipe.model_dump(mode="json"):
        raise UserError(f"{run.folder} is at step {now} already, so nothing is left to train until {last_step}: give a greater length")
    settled_from = round(last_step * recipe.batch * (1 - recipe.preprocess.settled)) if recipe.preprocess.settled else None
    stream = Stream(data, order, recipe.preprocess, geometry, keep=config.data.cache, settled_from=settled_from)

    one_size = len(sizes) == 1
    until_done.enter_context(algorithms_for(one_size=one_size, deterministic=config.deterministic))
    speed, why = chosen_speed(config, processes.device, steps=last_step, one_size=one_size, before=sessions[-1] if sessions else None)
    trainer = _trainer(config, processes, size, speed, say)
    progress = _progress(config, data, processes, geometry, evaluator, say, both_ways=len(trainer.translators) == 2)
    session = Session(config, run, processes, console, data, stream, shown, seen, trainer, last_step, progress)
    if processes.first:
        until_done.enter_context(run.locked())
    if begun:
        session.first_step = first_step = resume(session)
        if processes.first:
            run.rewind(first_step)
            progress.rows = run.evaluations()
            if first_step and first_step not in run.models():  # it died between its checkpoint and its models
                save_models(session, first_step)
    if processes.first:
        run.write_json(run.recipe_file, recipe.model_dump(mode="json"))
        facts = environment(
            device=processes.device,
            speed=speed,
            processes=processes.count,
            data=data.description,
            fingerprint=fingerprint,
            step=session.first_step,
            last_step=last_step,
            start=config.start,
        )
        run.write_json(run.environment_file, {"domains": list(data.names), "sessions": [*sessions, facts]})
    processes.wait()
    progress.rows = run.evaluations()
    progress.require_continuity(config.best)
    if processes.first:
        session.diagnosis = Diagnosis(run.metrics()[-10:])
        session.loggers = Loggers(config.log, run, recipe.model_dump(mode="json"), session.first_step, session.say)
        until_done.callback(session.loggers.close)
    _introduce(session, why)
    return session


def _progress(config: TrainConfig, data: DataSet, processes: Processes, *given: Any, both_ways: bool) -> Progress:
    """What measures, in the first process; if it cannot, all processes end together."""
    progress, problem = None, None
    try:
        progress = Progress.of(config, data, processes, *given, both_ways=both_ways)
    except UserError as error:
        problem = error
    if processes.any(problem is not None) or progress is None:
        processes.wait()  # who leaves first, with gloo, may take the others down
        raise problem or UserError("the first process cannot evaluate")
    return progress


def _introduce(session: Session, speed: str) -> None:
    processes, run, first, last = session.processes, session.run, session.first_step, session.last_step
    kind = torch.cuda.get_device_name(processes.device) if processes.device.type == "cuda" else "cpu"
    session.say(f"device: {f'{processes.count} x ' if processes.count > 1 else ''}{kind}, {speed}")
    if processes.count > 1:
        session.say(f"each process has an image history{'' if session.config.sync_batch_norm else ' and batch-norm statistics'} of its own")
    if session.progress.over:
        session.say(f"{run.folder} has ended at step {first} of {last}, since evaluations got no better: a larger --patience, or none, goes on")
    elif first < last:
        session.say(f"run: {run.folder}, {'continued at' if first else 'from'} step {first} of {last}")
    else:
        session.say(f"{run.folder} is finished: {first} of {last} steps; use it with: transmute translate PICTURES --model {run.folder}")


def seed_step(seed: int, step: int, rank: int) -> None:
    """Makes all that is random in a step a function of (seed, step, rank). Step 0 is the drawing of the weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def _require_same_recipe(run: Run, recipe: Recipe, *, extend: bool) -> None:
    """A run goes on with what it was begun with, and a new one begins in a folder that holds none."""
    if run.folder.is_file():
        raise UserError(f"--run {run.folder} is a file: name a folder")
    if not run.exists():
        if run.checkpoints() or run.models() or run.samples() or run.metrics_file.exists():
            raise UserError(f"{run.folder} holds a training but no recipe.json, so it can be neither continued nor begun: name another --run")
        return
    changed = differences(run.read_json(run.recipe_file), recipe.model_dump(mode="json"))
    if extend:
        changed = [line for line in changed if not re.match(r"(epochs|steps|schedule|optimizer|preprocess\.settled)\b", line)]
    if changed and (run.checkpoints() or run.models()):  # a run that has come to nothing yet may begin anew
        listed = "; ".join(changed[:8]) + (f"; and {len(changed) - 8} more" if len(changed) > 8 else "")
        raise UserError(
            f"{run.folder} was begun with another recipe, so it cannot be continued with this one ({listed}): "
            f"give the same settings (--config {run.recipe_file}), or another --run; --extend allows another length, schedule or optimizer"
        )


def _require_divisible_batch(recipe: Recipe, processes: Processes) -> None:
    if recipe.batch % (processes.count * recipe.optimizer.accumulate):
        raise UserError(
            f"a batch of {recipe.batch} cannot be divided among {processes.count} processes with {recipe.optimizer.accumulate} parts each: "
            "change --batch, --devices or --optimizer.accumulate"
        )


def require_legal_size(recipe: Recipe) -> None:
    """Sides must be multiples of what the generator halves them by.

    Raises:
        UserError: If they are not, with the nearest that are.
    """
    stride, size = recipe.method.generator.stride, width_and_height(recipe.size)
    if any(side % stride for side in size):
        legal = "x".join(str(max(1, round(side / stride)) * stride) for side in size)
        raise UserError(
            f"--size {recipe.size} does not fit a {recipe.method.generator.name} generator, whose sides are multiples of {stride}: take {legal}"
        )


def _pictures(
    config: TrainConfig, geometry: Geometry, sessions: list[dict[str, Any]], say: Callable[[str], None]
) -> tuple[DataSet, set[tuple[int, int]], str]:
    """The pictures to train with, the sizes that training sees of them, and the fingerprint of all that were found.

    What an earlier session has looked at is not looked at again, where all sizes are known without.
    """
    recipe, paired = config.recipe, config.recipe.method.paired
    data = recognize(config.folder, config.data, paired=paired, one_domain=recipe.method.one_domain)
    say(f"data: {data.description}")
    fingerprint = data.fingerprint()
    known = bool(sessions) and sessions[-1].get("fingerprint") == fingerprint
    if sessions and not known:
        say("the training pictures are not those with which this run began: it goes on with the new ones, from the same place in the order")
    if known and geometry.crops and not config.data.skip_bad:
        return data, {geometry.size}, fingerprint
    data, sizes = checked(data, readers(geometry, recipe.preprocess), paired=paired, skip_bad=config.data.skip_bad, say=say)
    return data, sizes, fingerprint


def require_sizes(recipe: Recipe, sizes: set[tuple[int, int]]) -> tuple[int, int]:
    """The (width, height) of what training sees, or of its largest where they differ and that does not matter.

    Raises:
        UserError: If the networks cannot work on the smallest, or if different ones would have to share a batch or a history.
    """
    shortest = min(min(size) for size in sizes)
    for network in (recipe.method.generator, recipe.method.discriminator):
        if shortest < network.smallest:
            raise UserError(
                f"pictures with sides of {shortest} pixels are too small for this {network.name}, whose layers need {network.smallest}: "
                "raise --size, or take fewer layers"
            )
    differ = f"--preprocess.mode {recipe.preprocess.mode} leaves pictures of different sizes, which cannot share"
    if len(sizes) > 1 and recipe.batch > 1:
        raise UserError(f"{differ} a batch of {recipe.batch}: take --batch 1, or a mode that crops")
    if len(sizes) > 1 and recipe.method.needs_equal_sizes:
        raise UserError(f"{differ} a history: take --method.history 0, or a mode that crops")
    return max(sizes)


def _started(method: Method, start: Path) -> str:
    """Gives the networks of a method the weights that there are for them, and says which.

    Raises:
        UserError: If there are none, or if they are of another architecture.
    """
    found = read_networks(start)
    taken = [name for name in method.networks if name in found]
    if not taken:
        raise UserError(f"{start} holds {', '.join(found)}, but this method has {', '.join(method.networks)}: choose another --method or --from")
    for name in taken:
        try:
            method.networks[name].load_state_dict(found[name].state)
        except RuntimeError:
            raise UserError(f"{found[name].path} is of another architecture than this recipe's {name}: leave out what changes its networks") from None
    anew = [name for name in method.networks if name not in found]
    return f"from {start}: {', '.join(taken)}" + (f"; anew: {', '.join(anew)}" if anew else "")


def _trainer(config: TrainConfig, processes: Processes, size: tuple[int, int], speed: Speed, say: Callable[[str], None]) -> Trainer:
    recipe = config.recipe
    seed_step(recipe.seed, 0, 0)
    method = recipe.method.build(recipe.preprocess.channels_a, recipe.preprocess.channels_b, size)
    if config.sync_batch_norm:
        if processes.device.type != "cuda" or processes.count == 1:
            raise UserError("--sync-batch-norm works among several GPUs only: leave it out, or choose instance norm, which needs no synchronizing")
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # in place: the method itself is no batch norm
    if config.start is not None and not Run(config.run or Path()).checkpoints():
        say(_started(method, config.start))
    return Trainer(method.to(processes.device), recipe.optimizer, speed=speed, say=say)
