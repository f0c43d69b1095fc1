"""The training loop: when to report, sample, save and stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import transmute
from transmute.batch import Batch
from transmute.data.check import checked, common_size
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.stream import Order, Stream, fixed_batch, readers
from transmute.images import normalize, save_picture
from transmute.report import write_report
from transmute.run import Run
from transmute.settings import UserError, differences
from transmute.training.config import Recipe, TrainConfig
from transmute.training.environment import environment
from transmute.training.meter import Meter, require_finite
from transmute.training.processes import Processes, chosen_precision, joined, launch, under_a_launcher
from transmute.training.samples import sample_sheet
from transmute.training.schedule import rate
from transmute.training.trainer import Trainer
from transmute.training.watch import StopRequest, Watch
from transmute.translation.model import ModelCard, ready, save_model
from transmute.weights import WeightsError, load_tensors, save_tensors


def train(config: TrainConfig) -> int | None:
    """Trains, or goes on with the training in `config.run`, in as many processes as the config says.

    Args:
        config: With a run folder (`TrainConfig.with_run`).

    Returns:
        None when the training is finished, else the number of the signal that stopped it; everything is saved then.

    Raises:
        UserError: If something given does not fit, before anything is written; or if a loss is not finite.
    """
    if config.devices > 1 and not under_a_launcher():
        return launch(_train_as_child, config, config.devices)
    with joined(config.device) as processes:
        session = _prepare(config, processes)
        return _loop(session) if session.first_step < session.last_step else None


def _train_as_child(config: TrainConfig) -> None:
    try:
        stopped_by = train(config)
    except UserError as error:
        # Every process comes to the same error; the first one says it.
        if int(torch.distributed.get_rank() if torch.distributed.is_initialized() else 0) == 0:
            print(f"transmute: {error}", file=sys.stderr)
        sys.exit(2)
    if stopped_by:
        sys.exit(128 + stopped_by)


@dataclass
class _Session:
    """All that the loop works with."""

    config: TrainConfig
    run: Run
    processes: Processes
    data: DataSet
    stream: Stream
    trainer: Trainer
    meter: Meter
    watch: Watch
    first_step: int
    last_step: int
    own_statistics: bool

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    def rate(self, step: int) -> float:
        """The factor of the learning rate in a step; the schedule counts epochs unless the length is given in steps."""
        if self.recipe.steps is not None:
            return rate(self.recipe.schedule, step, self.recipe.steps)
        return rate(self.recipe.schedule, step * self.recipe.batch // self.stream.order.pass_length, self.recipe.epochs)


def _loop(session: _Session) -> int | None:
    config, recipe, run, processes = session.config, session.recipe, session.run, session.processes
    trainer, meter, watch = session.trainer, session.meter, session.watch
    last = session.last_step
    batches = session.stream.batches(
        batch=recipe.batch,
        first_step=session.first_step,
        last_step=last,
        rank=processes.rank,
        processes=processes.count,
        workers=_workers(config, processes),
        pin=processes.device.type == "cuda",
    )
    shown = fixed_batch(session.data, recipe.preprocess, session.stream.geometry, count=4) if processes.first else []
    if session.first_step == 0:
        _sample(session, shown, 0)
    with StopRequest() as stop, watch:
        for step in range(session.first_step + 1, last + 1):
            batch, load_seconds = next(batches)
            _seed(recipe.seed, step, processes.rank)
            losses = trainer.step(_parts(batch, recipe.optimizer.accumulate, processes.device), rate=session.rate(step - 1))
            meter.add(losses)
            watch.advance(load_seconds)

            stopping = processes.any(stop.signal is not None)
            reporting = step % config.report_every == 0 or step == last
            saving = step % config.save_every == 0 or step == last or stopping
            if reporting or saving or processes.device.type == "cpu":
                means = processes.mean(meter.means())
                require_finite(means, step)
                if reporting:
                    _report(session, step, means)
                    meter.reset()
            if step % config.sample_every == 0 or step == last:
                _sample(session, shown, step)
            if saving:
                _save(session, step)
            if stopping and step < last:
                watch.say(f"stopped at step {step} of {last} and saved; the same command with --run {run.folder} goes on")
                return stop.signal
    watch.say(f"finished: {last} steps in {run.folder}; open {run.report_file}, or use it with: transmute translate PICTURES --model {run.folder}")
    return None


def _prepare(config: TrainConfig, processes: Processes) -> _Session:
    """Everything up to the first step. Nothing is written before all that the user gave is known to be good."""
    assert config.run is not None
    recipe, run = config.recipe, Run(config.run)
    if recipe.batch % (processes.count * recipe.optimizer.accumulate):
        raise UserError(
            f"a batch of {recipe.batch} cannot be divided among {processes.count} processes with {recipe.optimizer.accumulate} parts each: "
            "change --batch, --devices or --optimizer.accumulate"
        )
    sessions = _earlier_sessions(run, recipe)
    watch = Watch(first_step=0, last_step=0, batch=1, quiet=not processes.first)

    data = recognize(config.folder, config.data, paired=recipe.method.paired)
    watch.say(f"data: {data.description}")
    geometry = Geometry.of(recipe.preprocess, recipe.size, recipe.method.generator.stride)
    size = _require_legal_size(recipe, geometry)
    fingerprint, both = data.fingerprint(), readers(geometry, recipe.preprocess)
    if sessions and sessions[-1]["fingerprint"] != fingerprint:
        watch.say("the training pictures are not those with which this run began: it goes on with the new ones, from the same place in the order")
    if not sessions or sessions[-1]["fingerprint"] != fingerprint or config.data.skip_bad:
        data = checked(data, both, paired=recipe.method.paired, skip_bad=config.data.skip_bad, say=watch.say)
    if not geometry.crops:
        size = _require_common_size(recipe, common_size(data, both, geometry))

    order = Order(len(data.train[0]), len(data.train[1]), recipe.seed, recipe.method.paired, recipe.preprocess.serial)
    last_step = recipe.steps or max(1, recipe.epochs * order.pass_length // recipe.batch)
    precision, why = _precision(config, processes, sessions)
    _seed(recipe.seed, 0, 0)
    method = recipe.method.build(recipe.preprocess.channels_a, recipe.preprocess.channels_b, size)
    if config.sync_batch_norm:
        if processes.device.type != "cuda" or processes.count == 1:
            raise UserError("--sync-batch-norm works among several GPUs only: leave it out, or choose instance norm, which needs no synchronizing")
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    trainer = Trainer(method.to(processes.device), recipe.optimizer, autocast=torch.bfloat16 if precision == "bfloat16" else None)
    meter = Meter()
    first_step = _resume(run, trainer, meter, processes, watch) if sessions else 0

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
    watch.say(f"device: {processes.count} x {kind}, networks in {precision} ({why})")
    if processes.count > 1 and not config.sync_batch_norm:
        watch.say("each process has an image history and batch-norm statistics of its own")
    if first_step >= last_step:
        watch.say(f"{run.folder} is finished: {first_step} of {last_step} steps; use it with: transmute translate PICTURES --model {run.folder}")
    else:
        watch.say(f"run: {run.folder}, {'from' if not first_step else 'continued at'} step {first_step} of {last_step}")
    stream = Stream(data, order, recipe.preprocess, geometry, keep=config.data.cache)
    own_statistics = recipe.batch // processes.count // recipe.optimizer.accumulate == 1
    watch = Watch(first_step=first_step, last_step=last_step, batch=recipe.batch, quiet=not processes.first)
    return _Session(config, run, processes, data, stream, trainer, meter, watch, first_step, last_step, own_statistics)


def _earlier_sessions(run: Run, recipe: Recipe) -> list[dict]:
    """What is known of the run so far; empty for a new one.

    Raises:
        UserError: If the run was begun with another recipe, or the folder holds something else.
    """
    if not run.exists():
        if run.folder.is_file():
            raise UserError(f"--run {run.folder} is a file: name a folder")
        return []
    begun_with = run.read_json(run.recipe_file)
    if changed := differences(begun_with, recipe.model_dump(mode="json")):
        raise UserError(
            f"{run.folder} was begun with another recipe, so it cannot be continued with this one ({'; '.join(changed)}): "
            "give the same settings, or another --run"
        )
    return run.read_json(run.environment_file)["sessions"] if run.environment_file.is_file() else []


def _require_legal_size(recipe: Recipe, geometry: Geometry) -> tuple[int, int]:
    stride = recipe.method.generator.stride
    if geometry.crops and any(side % stride for side in geometry.size):
        legal = "x".join(str(max(1, round(side / stride)) * stride) for side in geometry.size)
        raise UserError(
            f"--size {recipe.size} does not fit a {recipe.method.generator.name} generator, whose sides are multiples of {stride}: take {legal}"
        )
    return geometry.size


def _require_common_size(recipe: Recipe, size: tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        return size
    mode = recipe.preprocess.mode
    if recipe.batch > 1:
        raise UserError(f"--preprocess.mode {mode} leaves pictures of different sizes, which cannot share a batch of {recipe.batch}: take --batch 1, or a mode that crops")
    if recipe.method.name == "cyclegan" and recipe.method.history:
        raise UserError(f"--preprocess.mode {mode} leaves pictures of different sizes, which cannot share a history: take --method.history 0, or a mode that crops")
    return 1, 1


def _precision(config: TrainConfig, processes: Processes, sessions: list[dict]) -> tuple[str, str]:
    """A continued run stays with what it began with, unless told otherwise."""
    if config.precision == "auto" and sessions and sessions[-1]["device_type"] == processes.device.type:
        return sessions[-1]["precision"], "as before"
    return chosen_precision(config.precision, processes.device)


def _workers(config: TrainConfig, processes: Processes) -> int:
    if config.data.cache:
        return 0
    if config.data.workers is not None:
        return config.data.workers
    return 4 if processes.device.type == "cuda" else 0


def _seed(seed: int, step: int, rank: int) -> None:
    """Makes all that is random in a step a function of (seed, step, rank)."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def _parts(batch: Batch, count: int, device: torch.device) -> list[Batch]:
    batch = batch.to(device)
    parts = zip(normalize(batch.a).chunk(count), normalize(batch.b).chunk(count), strict=True)
    return [Batch(a, b) for a, b in parts]


def _report(session: _Session, step: int, means: dict[str, float]) -> None:
    watch = session.watch
    watch.report(step, means)
    if session.processes.first:
        row = {"step": step, "pictures": step * session.recipe.batch, **means, "rate": session.rate(step - 1)}
        speed = {"pictures_per_second": round(watch.pictures_per_second, 3), "load_milliseconds": round(watch.load_milliseconds, 2)}
        session.run.append_metrics(row | speed)


def _sample(session: _Session, shown: Sequence[Batch], step: int) -> None:
    if session.processes.first:
        picture = sample_sheet(session.trainer.method, session.trainer, shown, own_statistics=session.own_statistics)
        save_picture(picture, session.run.sample_file(step))
        write_report(session.run, session.last_step)


def _save(session: _Session, step: int) -> None:
    """A checkpoint and models, complete or not there; then older ones beyond `keep` go."""
    run, trainer, processes = session.run, session.trainer, session.processes
    if (name := trainer.non_finite()) is not None:
        raise UserError(f"the weight {name} is not finite at step {step}: the last checkpoint is kept; try a lower --optimizer.lr, or --precision float32")
    header = {"step": step, "processes": processes.count}
    if not processes.first:
        save_tensors(run.checkpoint_file(step, processes.rank), dict(trainer.method.named_buffers()), header)
    processes.wait()
    if processes.first:
        _save_models(session, step)
        save_tensors(run.checkpoint_file(step), trainer.state_dict() | session.meter.state_dict(), header)
        run.keep_newest(session.config.keep)
        write_report(run, session.last_step)
    processes.wait()


def _save_models(session: _Session, step: int) -> None:
    recipe, names = session.recipe, dict(zip("ab", session.data.names, strict=True))
    channels = {"a": recipe.preprocess.channels_a, "b": recipe.preprocess.channels_b}
    for direction, network in session.trainer.translators.items():
        source, target = direction[0], direction[-1]
        card = ModelCard(
            transmute=transmute.__version__,
            method=recipe.method.name,
            direction=direction,
            source=names[source],
            target=names[target],
            generator=recipe.method.generator,
            in_channels=channels[source],
            out_channels=channels[target],
            size=recipe.size,
            preprocess=recipe.preprocess,
            own_statistics=session.own_statistics,
            step=step,
            pictures=step * recipe.batch,
        )
        save_model(session.run.model_folder(step) / f"{direction}.safetensors", card, ready(network, own_statistics=False))


def _resume(run: Run, trainer: Trainer, meter: Meter, processes: Processes, watch: Watch) -> int:
    """Restores the newest checkpoint that is whole, and returns its step; 0 if there is none."""
    for step in reversed(run.checkpoints()):
        try:
            state, header = load_tensors(run.checkpoint_file(step))
            buffers = load_tensors(run.checkpoint_file(step, processes.rank))[0] if 0 < processes.rank < header["processes"] else {}
        except WeightsError as error:
            watch.say(f"checkpoint {step} cannot be used ({error}); trying the one before it")
            continue
        if header["processes"] != processes.count:
            watch.say(f"begun with {header['processes']} processes, continued with {processes.count}: image histories are not those of an uninterrupted run")
        meter.load_state_dict(state, processes.device)
        state |= {f"method.{name}": buffer for name, buffer in buffers.items()}
        trainer.load_state_dict(state)
        return step
    return 0
