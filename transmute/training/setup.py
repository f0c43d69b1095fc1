"""Everything before the first step: all input is checked before anything is written."""

import contextlib
import math
import multiprocessing
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import transmute
from transmute.config.data import FOUND_IN_IMAGES, PreprocessConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.scan import require_usable
from transmute.data.stream import Stream
from transmute.data.values import with_values
from transmute.device import device_name, require_working, select_precision
from transmute.errors import UserError
from transmute.files import write_json
from transmute.gpu import Build, find_gpu, unused_gpu
from transmute.images.find import unused_sentences
from transmute.memory import free_memory, gibibytes
from transmute.methods.base import Method
from transmute.recipes import RECIPES
from transmute.run import Run
from transmute.startup import require_main_guard
from transmute.training.checkpoint import ModelWriter, TrainingState, require_space, resume
from transmute.training.evaluations import (
    EvaluationHistory,
    Measure,
    depends_on_evaluations,
    prepare_measuring,
)
from transmute.training.memory import Estimate, advice, available, require_memory
from transmute.training.processes import Processes, seed_step
from transmute.training.reporting import Output, Reporter
from transmute.training.speed import cudnn_settings, select_speed
from transmute.training.trainer import Speed, Trainer
from transmute.translation.model import read_networks
from transmute.weights import mismatch


@dataclass
class Training:
    """A training run that is ready for its next step.

    Attributes:
        history: The evaluations so far; the same on every rank.
        measure: Evaluates the generators. None on ranks other than 0, and without evaluations.
        last_step: Length of the training run.
    """

    config: TrainConfig
    processes: Processes
    stream: Stream
    state: TrainingState
    history: EvaluationHistory
    models: ModelWriter
    reporter: Reporter
    measure: Measure | None
    last_step: int

    @property
    def finished(self) -> bool:
        """Whether no step is left, or evaluations stopped improving."""
        return self.state.step >= self.last_step or self.history.exhausted


@dataclass(frozen=True)
class Plan:
    """A training run whose input is checked. Nothing is written yet.

    Attributes:
        config: With the channels and ranges that were found in the images.
        size: (width, height) of the largest training images.
        one_size: Whether all training images have this size.
        fingerprint: Identifies the training images.
        memory: The memory that each process needs, if it is known.
        speed, explanation: How steps are made fast, and why.
    """

    config: TrainConfig
    processes: Processes
    stream: Stream
    last_step: int
    size: tuple[int, int]
    one_size: bool
    fingerprint: str
    memory: Estimate | None
    speed: Speed
    explanation: str

    @property
    def advice(self) -> str:
        """What to do if the memory is not enough after all."""
        needed = f"This recipe needs {self.memory}. " if self.memory else ""
        return f"{needed}{advice(self.config.recipe)}. The last checkpoint is kept"


def plan(config: TrainConfig, processes: Processes, say: Callable[[str], None]) -> Plan:
    """Checks all input, and estimates the memory.

    Args:
        config: Training settings; `config.run` must be set.
        processes: This process.
        say: Prints a line.

    Raises:
        UserError: If any input is unusable, or does not fit in memory.
    """
    assert config.run is not None
    run, device = Run(config.run), processes.device
    _require_possible(config, processes, say)
    config = config.replace(recipe=_with_values_of_run(run, config.recipe))
    extended = _require_same_recipe(run, config.recipe, extend=config.extend)
    previous = next(reversed(run.sessions()), None)
    if (geometry := _geometry(config.recipe)).crops:
        _estimate(config, processes, geometry.size)  # before images are read
    stream, last_step, sizes, fingerprint = _open_data(config, previous, say)
    config = config.replace(recipe=config.recipe.replace(preprocess=stream.preprocess))
    # `data.range_a` may have changed it.
    _require_same_recipe(run, config.recipe, extend=config.extend)
    if extended:
        _require_steps_left(run, last_step)
    if config.data.cache:
        _require_cache_fits(stream)
    one_size, size = len(sizes) == 1, require_sizes(config.recipe, sizes)
    memory = _estimate(config, processes, size)
    speed, explanation = select_speed(
        config, device, steps=last_step, one_size=one_size, before=previous
    )
    return Plan(
        config=config,
        processes=processes,
        stream=stream,
        last_step=last_step,
        size=size,
        one_size=one_size,
        fingerprint=fingerprint,
        memory=memory,
        speed=speed,
        explanation=explanation,
    )


def _estimate(config: TrainConfig, processes: Processes, size: tuple[int, int]) -> Estimate | None:
    precision, _ = select_precision(config.precision, processes.device)
    return require_memory(
        config.recipe,
        size,
        processes.device,
        processes=processes.count,
        precision=precision,
        thorough=config.dry_run,
    )


def _require_cache_fits(stream: Stream) -> None:
    number, pixels = sum(map(len, stream.data.train)), math.prod(stream.geometry.load)
    values = 1 if all(one.is_8_bit for one in stream.preprocess.ranges) else 2
    needed = number * pixels * max(stream.preprocess.channels) * values
    if needed > (free := free_memory()):
        raise UserError(
            f"`data.cache` needs {gibibytes(needed)} of memory for {number:,} images, but "
            f"{gibibytes(free)} are free. Set `data.cache=False`"
        )


def prepare(
    plan: Plan, stack: contextlib.ExitStack, console: Output, say: Callable[[str], None]
) -> Training:
    """Builds the networks, locks the run and resumes it.

    Args:
        plan: The training run.
        stack: Keeps the lock and other resources until training ends.
        console, say: Where to print.

    Raises:
        UserError: If the run cannot be resumed. The run folder is unchanged then, unless the
            deciding metric is not that of earlier evaluations.
    """
    config, processes, last_step = plan.config, plan.processes, plan.last_step
    run, is_main = Run(config.run or Path()), processes.is_main
    stack.enter_context(cudnn_settings(one_size=plan.one_size, deterministic=config.deterministic))
    trainer = _trainer(config, processes, plan.size, plan.speed, say)
    models = _models(config, run, processes, plan.stream.data)
    with processes.ending_together():
        measure = prepare_measuring(config, processes, plan.stream, models, trainer, say)
    state = TrainingState(trainer)
    if is_main:
        require_space(run, trainer)
        stack.enter_context(run.locked())
    if run.was_started():
        resume(run, processes, state, say)
    if is_main:
        run.rewind(state.step)
        facts = {"step": state.step, "last_step": last_step, "fingerprint": plan.fingerprint}
        _record_session(run, config, processes, plan.stream.data, facts | asdict(plan.speed))
    processes.barrier()
    history = EvaluationHistory(config, run.evaluations())
    history.require_same_metric(config.best)
    if is_main and state.step:
        _complete_models(run, config, models, trainer, state.step, history)
    reporter = Reporter(config, plan.stream, models, trainer, console, say, state.step, last_step)
    stack.callback(reporter.loggers.close)
    _introduce(config, processes, plan.explanation, state.step, last_step, say)
    return Training(
        config, processes, plan.stream, state, history, models, reporter, measure, last_step
    )


def describe(plan: Plan, say: Callable[[str], None]) -> None:
    """Prints what a training run will do: settings, networks, memory and length."""
    config, recipe, data = plan.config, plan.config.recipe, plan.stream.data
    usual = RECIPES.get(recipe.method.name, Recipe())
    changed = recipe.changes_from(usual.model_dump(mode="json"))
    say(f"recipe: {recipe.method.name}, " + ("; ".join(changed) or "with its usual settings"))
    for name, (number, kind) in (plan.memory.parameters if plan.memory else {}).items():
        say(f"network {name}: {kind}, {number:,} weights")
    count = f" for each of {plan.processes.count} processes" if plan.processes.count > 1 else ""
    free = available(plan.processes.device)
    unknown = "unknown, since this method does not run without values"
    say(f"memory: {plan.memory or unknown}{count}; {gibibytes(free)} available")
    say(
        f"length: {plan.last_step:,} steps of {recipe.batch} "
        f"(a pass over {max(map(len, data.train)):,} images is an epoch)"
    )
    run = Run(config.run or Path())
    step = max(run.checkpoints(), default=0)
    _introduce(config, plan.processes, plan.explanation, step, plan.last_step, say)
    say("dry run: nothing was written")


def _complete_models(
    run: Run,
    config: TrainConfig,
    models: ModelWriter,
    trainer: Trainer,
    step: int,
    history: EvaluationHistory,
) -> None:
    """Does what a killed process did not finish: writes the newest models, removes old ones."""
    if step not in run.models():
        models.write(trainer, step, history.metrics(step))
    run.keep_newest(config.keep, config.keep_every)


def count_workers(config: TrainConfig, device: torch.device) -> int:
    """The number of processes that load images, 0 to load them in this one."""
    workers, default = config.data.workers, 4 if device.type == "cuda" else 0
    return 0 if config.data.cache else default if workers is None else workers


def require_sizes(recipe: Recipe, sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Returns the (width, height) of training images, or of the largest if they differ.

    Raises:
        UserError: If a side is not a multiple of the networks' stride, if the smallest is too small
            for a network, or if images differ in size and are used in one batch or an image
            history.
    """
    sizes, stride = set(sizes), recipe.method.stride
    shortest, largest = min(min(size) for size in sizes), max(sizes)
    if any(side % stride for side in largest):
        lower, upper = (
            "x".join(str(max(1, (side + more) // stride) * stride) for side in largest)
            for more in (0, stride - 1)
        )
        raise UserError(
            f"`size={recipe.size}` is not a multiple of {stride}, which the networks of "
            f"{recipe.method.name} require. Use {' or '.join(dict.fromkeys((lower, upper)))}"
        )
    for name, network in recipe.method.networks.items():
        if shortest < network.min_size:
            raise UserError(
                f"images with sides of {shortest} px are too small for `method.{name}` "
                f"({network.name}), which needs {network.min_size}. Increase `size`, or use fewer "
                "layers"
            )
    for applies, consumer, change in (
        (recipe.batch > 1, f"a batch of {recipe.batch}", "`batch=1`"),
        (recipe.method.needs_equal_sizes, "an image history", "`method.history=0`"),
    ):
        if applies and len(sizes) > 1:
            raise UserError(
                f"`preprocess.mode={recipe.preprocess.mode}` produces images of different sizes, "
                f"but {consumer} needs images of one size. Use {change}, or a mode that crops"
            )
    return largest


def _require_possible(
    config: TrainConfig, processes: Processes, say: Callable[[str], None]
) -> None:
    """Checks the device, and settings that depend on devices or on each other."""
    if (
        count_workers(config, processes.device)
        and multiprocessing.get_start_method() != "fork"
        and multiprocessing.parent_process() is None  # which has checked it
    ):
        require_main_guard()
    if config.device == "auto" and (problem := unused_gpu(find_gpu(), Build.installed())):
        say(f"warning: {problem}")
    precision, _ = select_precision(config.precision, processes.device)
    require_working(processes.device, bfloat16=precision == "bfloat16")
    recipe = config.recipe
    if recipe.batch % (processes.count * recipe.optimizer.accumulate):
        raise UserError(
            f"a batch of {recipe.batch} cannot be divided among {processes.count} processes with "
            f"{recipe.optimizer.accumulate} micro-batches each. Change `batch`, `devices` or "
            "`optimizer.accumulate`"
        )
    if config.sync_batch_norm and (processes.device.type != "cuda" or processes.count == 1):
        raise UserError(
            "`sync_batch_norm` works only with several GPUs. Remove it, or use instance norm, "
            "which needs no synchronization"
        )
    if config.evaluate_every is None and depends_on_evaluations(config):
        raise UserError(
            "`patience` and a plateau schedule depend on evaluations. Set `evaluate_every` too"
        )


def _require_steps_left(run: Run, last_step: int) -> None:
    step = max(run.checkpoints(), default=0)
    if last_step <= step:
        raise UserError(
            f"{run.folder} is already at step {step}, but the requested length is {last_step} "
            f"steps. Set `steps` above {step}, or increase `epochs`"
        )


def _with_values_of_run(run: Run, recipe: Recipe) -> Recipe:
    """A recipe with the channels and ranges that were found when its run started."""
    if not (run.was_started() and run.checkpoints()):
        return recipe
    stored = run.recipe().get("preprocess", {})
    known = {name: value for name, value in recipe.preprocess if value is not None}
    found = {name: stored.get(name) for name in FOUND_IN_IMAGES}
    try:
        return recipe.replace(preprocess=PreprocessConfig(**{**found, **known}))
    except UserError as error:
        raise UserError(f"{run.recipe_file} is damaged: {error}") from None


def _require_same_recipe(run: Run, recipe: Recipe, *, extend: bool) -> bool:
    """A run resumes with its own recipe, and a new one starts in a folder without a run.

    Returns:
        Whether `extend` has changed the recipe of an existing run.
    """
    if run.folder.is_file():
        raise UserError(f"`run={run.folder}` is a file. Choose a folder")
    trained = run.checkpoints() or run.models()
    if not run.was_started() and (trained or run.samples() or run.metrics_file.exists()):
        raise UserError(
            f"{run.folder} contains training files but no recipe.json, so it cannot be resumed. "
            "Choose another `run`"
        )
    if not trained:  # it can be restarted with another recipe
        return False
    changed = recipe.changes_from(run.recipe())
    may_change = re.compile(r"(epochs|steps|schedule|optimizer|preprocess\.uncropped)\b")
    refused = [line for line in changed if not (extend and may_change.match(line))]
    if refused:
        more = f"; and {len(refused) - 8} more" if len(refused) > 8 else ""
        raise UserError(
            f"{run.folder} was started with another recipe ({'; '.join(refused[:8])}{more}). Use "
            f"the same settings (`config={run.recipe_file}`), or another `run`. `extend` allows "
            "another length, schedule or optimizer"
        )
    return bool(changed)


def _geometry(recipe: Recipe) -> Geometry:
    return Geometry.of(recipe.preprocess, recipe.size, recipe.method.stride)


def _open_data(
    config: TrainConfig, previous: dict[str, Any] | None, say: Callable[[str], None]
) -> tuple[Stream, int, set[tuple[int, int]], str]:
    """Opens the training images.

    Images are not checked again if an earlier session has checked them and their sizes are known.

    Returns:
        The stream of training images, the length of the training run in steps, the sizes of
        training images, and the fingerprint of the data set.
    """
    recipe, method, preprocess = config.recipe, config.recipe.method, config.recipe.preprocess
    paired, skip_bad = method.paired, config.data.skip_bad
    geometry = _geometry(recipe)
    sizes = {geometry.size}
    if geometry.crops:
        require_sizes(recipe, sizes)
    data = recognize(config.folder, config.data, paired=paired, one_domain=method.one_domain)
    for line in (f"data: {data.description}", *unused_sentences(data.others)):
        say(line)
    fingerprint = data.fingerprint()
    known = previous is not None and previous.get("fingerprint") == fingerprint
    if previous and not known:
        say(
            "the training images changed since this run started. Continuing with the new ones, "
            "from the same position in the order"
        )
    ranges = config.data.range_a, config.data.range_b
    has_values = None not in (preprocess.channels_a, preprocess.range_a, preprocess.range_b)
    if skip_bad or not known or not geometry.crops or not has_values or any(ranges):
        data, checked = require_usable(
            data, geometry, preprocess, paired=paired, skip_bad=skip_bad, say=say
        )
        sizes = {checked[source].size for side in data.train for source in side}
        preprocess = with_values(preprocess, data, checked, ranges, say)
    cache = {} if config.data.cache else None
    stream = Stream(data, geometry, preprocess, recipe.seed, paired, cache=cache)
    last_step = recipe.steps or max(1, recipe.epochs * stream.pass_length // recipe.batch)
    uncropped_from = round(last_step * recipe.batch * (1 - preprocess.uncropped))
    return replace(stream, uncropped_from=uncropped_from), last_step, sizes, fingerprint


def _trainer(
    config: TrainConfig,
    processes: Processes,
    size: tuple[int, int],
    speed: Speed,
    say: Callable[[str], None],
) -> Trainer:
    recipe, preprocess = config.recipe, config.recipe.preprocess
    seed_step(recipe.seed, 0, 0)
    method = recipe.method.build(*preprocess.channels, size)
    if config.sync_batch_norm:
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # converts the layers inside in place
    if config.start is not None and not Run(config.run or Path()).checkpoints():
        say(_load_networks(method, config.start))
    return Trainer(method.to(processes.device), recipe.optimizer, speed=speed, say=say)


def _load_networks(method: Method, start: Path) -> str:
    """Loads weights into those networks of a method that have a file, and describes which.

    Raises:
        UserError: If there are none, or if an architecture differs.
    """
    found = read_networks(start, [type(network.config) for network in method.networks.values()])
    names = [name for name in method.networks if name in found]
    if not names:
        raise UserError(
            f"{start} contains {', '.join(found)}, but the method has {', '.join(method.networks)}"
            ". Choose another `method` or `start`"
        )
    for name in names:
        module, state = method.networks[name].module, found[name].state
        if problem := mismatch(module.state_dict(), state):
            raise UserError(
                f"{found[name].path} has another architecture than {name} of this recipe: it "
                f"{problem}. Remove the settings that change the networks"
            )
        module.load_state_dict(state)
    new = [name for name in method.networks if name not in found]
    return f"from {start}: {', '.join(names)}" + (f"; new: {', '.join(new)}" if new else "")


def _models(config: TrainConfig, run: Run, processes: Processes, data: DataSet) -> ModelWriter:
    recipe = config.recipe
    ranks = 1 if config.sync_batch_norm else processes.count
    # Batch norm that sees one image at a time in training must do so at inference.
    one_image = recipe.batch // ranks // recipe.optimizer.accumulate == 1
    return ModelWriter(run, recipe, data.names, per_image_statistics=one_image)


def _introduce(
    config: TrainConfig,
    processes: Processes,
    speed: str,
    step: int,
    last_step: int,
    say: Callable[[str], None],
) -> None:
    """Prints the device, the speed settings, and the step at which training starts."""
    count = f"{processes.count} x " if processes.count > 1 else ""
    say(f"device: {count}{device_name(processes.device)}, {speed}")
    if processes.count > 1:
        statistics = "" if config.sync_batch_norm else " and batch norm statistics"
        say(f"each process has its own image history{statistics}")
    say(f"run: {config.run}, {'resumed at' if step else 'from'} step {step} of {last_step}")


def _record_session(
    run: Run, config: TrainConfig, processes: Processes, data: DataSet, facts: dict[str, Any]
) -> None:
    """Writes the recipe, and appends the session: versions, device, command line and data.

    Args:
        facts: More facts about the session.
    """
    facts = {
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "from": str(config.start) if config.start else None,
        "command": sys.argv,
        "transmute": transmute.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,  # with the kind of build, unlike the package's version
        **{name: version(name) for name in ("numpy", "pillow")},
        "platform": platform.platform(),
        "device": device_name(processes.device),
        "device_type": processes.device.type,
        "processes": processes.count,
        "data": data.description,
        **facts,
    }
    sessions = [*run.sessions(), facts]
    write_json(run.recipe_file, config.recipe.model_dump(mode="json"))
    write_json(run.environment_file, {"domains": list(data.names), "sessions": sessions})


def _commit() -> str | None:
    """The commit of Transmute's source, if it runs from a checkout."""
    root = Path(transmute.__file__).parents[1]
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # git may be missing
        if (root / ".git").exists():
            return subprocess.check_output(
                command, encoding="utf-8", stderr=subprocess.DEVNULL
            ).strip()
    return None
