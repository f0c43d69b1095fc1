"""Everything before the first step: all input is checked before anything is written."""

import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from rich.console import Console
from torch import nn

import transmute
from transmute.config.base import differences, width_and_height
from transmute.config.training import Recipe, TrainConfig
from transmute.data.layout import DataSet, recognize
from transmute.data.preprocess import Geometry
from transmute.data.scan import require_usable
from transmute.data.stream import Stream
from transmute.device import require_working, select_precision
from transmute.errors import UserError
from transmute.methods.base import Method
from transmute.run import Run
from transmute.training import evaluations, loggers
from transmute.training.checkpoint import ModelWriter, TrainingState, resume
from transmute.training.console import TrainingConsole
from transmute.training.processes import Processes, seed_step
from transmute.training.reporting import Diagnosis, Reporter
from transmute.training.speed import Speed, cudnn_settings, select_speed
from transmute.training.trainer import Trainer
from transmute.translation.model import read_networks

PREVIEWS = 4
"""Rows of a sample sheet."""


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
    console: TrainingConsole
    stream: Stream
    state: TrainingState
    history: evaluations.EvaluationHistory
    models: ModelWriter
    reporter: Reporter
    measure: evaluations.Measure | None
    last_step: int


def prepare(
    config: TrainConfig,
    processes: Processes,
    stack: ExitStack,
    make_evaluator: evaluations.EvaluatorFactory,
    show: Callable[[str], str],
) -> Training:
    """Checks all input, builds the networks, locks the run and resumes it.

    Args:
        stack: Keeps the lock and other resources until training ends.
        show: Renders the names of settings in printed lines.

    Raises:
        UserError: If any input is unusable. The run folder is unchanged then.
    """
    assert config.run is not None
    recipe, run, is_main = config.recipe, Run(config.run), processes.is_main
    console = Console(quiet=not is_main, highlight=False, soft_wrap=True)
    say = partial(console.print, markup=False)

    _require_working_hardware(config, processes)
    _require_same_recipe(run, recipe, extend=config.extend)
    geometry = Geometry.of(recipe.preprocess, recipe.size, recipe.method.stride)
    previous = run.sessions()[-1] if run.sessions() else None
    data, sizes, fingerprint = _find_images(config, geometry, previous, say)
    stream, last_step = _stream(config, data, geometry)
    _require_steps_left(config, run, last_step)

    one_size, size = len(sizes) == 1, require_sizes(recipe, sizes)
    stack.enter_context(cudnn_settings(one_size=one_size, deterministic=config.deterministic))
    speed, explanation = select_speed(
        config, processes.device, steps=last_step, one_size=one_size, before=previous
    )
    trainer = _trainer(config, processes, size, speed, say)
    models = ModelWriter(run, recipe, data.names, _per_image_statistics(config, processes))
    measure = _measure(config, processes, data, geometry, make_evaluator, models, trainer, say)

    state = TrainingState(trainer)
    if is_main:
        stack.enter_context(run.locked())
    if run.exists():
        resume(run, processes, state, say)
    if is_main:
        run.rewind(state.step)
        _record_session(run, config, processes, speed, data, fingerprint, state.step, last_step)
    processes.barrier()
    history = evaluations.EvaluationHistory(config, run.evaluations())
    history.require_same_metric(config.best)
    if is_main and state.step and state.step not in run.models():  # killed while writing them
        models.write(trainer, state.step, history.metrics(state.step))

    progress = TrainingConsole(console, processes, state.step, last_step, recipe.batch, show)
    reporter = _reporter(config, stream, models, trainer, progress)
    stack.callback(reporter.loggers.close)
    _introduce(config, processes, explanation, state.step, last_step, say)
    return Training(
        config, processes, progress, stream, state, history, models, reporter, measure, last_step
    )


def require_multiple_of_stride(recipe: Recipe) -> None:
    """Checks that the size suits the generators.

    Raises:
        UserError: If a side is not a multiple of the stride. Names the nearest sizes that are.
    """
    stride, size = recipe.method.stride, width_and_height(recipe.size)
    if any(side % stride for side in size):
        lower, upper = (
            "x".join(str(max(1, (side + more) // stride) * stride) for side in size)
            for more in (0, stride - 1)
        )
        raise UserError(
            f"`size={recipe.size}` is not a multiple of {stride}, which the networks of "
            f"{recipe.method.name} require. Use {' or '.join(dict.fromkeys((lower, upper)))}"
        )


def require_sizes(recipe: Recipe, sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Returns the (width, height) of training images, or of the largest if they differ.

    Raises:
        UserError: If the smallest is too small for a network, or if images differ in size and
            are used in one batch or an image history.
    """
    sizes = set(sizes)
    shortest = min(min(size) for size in sizes)
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
    return max(sizes)


def _require_working_hardware(config: TrainConfig, processes: Processes) -> None:
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


def _require_same_recipe(run: Run, recipe: Recipe, *, extend: bool) -> None:
    """A run resumes with its own recipe, and a new one starts in a folder without a run."""
    if run.folder.is_file():
        raise UserError(f"`run={run.folder}` is a file. Choose a folder")
    trained = run.checkpoints() or run.models()
    if not run.exists() and (trained or run.samples() or run.metrics_file.exists()):
        raise UserError(
            f"{run.folder} contains training files but no recipe.json, so it cannot be resumed. "
            "Choose another `run`"
        )
    before = run.read_json(run.recipe_file) if trained else {}
    changed = differences(before, recipe.model_dump(mode="json"))
    if extend:
        may_change = re.compile(r"(epochs|steps|schedule|optimizer|preprocess\.uncropped)\b")
        changed = [line for line in changed if not may_change.match(line)]
    if changed and trained:  # without checkpoints, a run can be restarted with another recipe
        more = f"; and {len(changed) - 8} more" if len(changed) > 8 else ""
        raise UserError(
            f"{run.folder} was started with another recipe ({'; '.join(changed[:8])}{more}). Use "
            f"the same settings (`config={run.recipe_file}`), or another `run`. `extend` allows "
            "another length, schedule or optimizer"
        )


def _require_steps_left(config: TrainConfig, run: Run, last_step: int) -> None:
    """An extended run must end after its current step."""
    step, recipe = max(run.checkpoints(), default=0), config.recipe.model_dump(mode="json")
    if config.extend and step >= last_step and run.read_json(run.recipe_file) != recipe:
        raise UserError(
            f"{run.folder} is already at step {step}, but the requested length is {last_step} "
            f"steps. Set `steps` above {step}, or increase `epochs`"
        )


def _find_images(
    config: TrainConfig,
    geometry: Geometry,
    previous: dict[str, Any] | None,
    say: Callable[[str], None],
) -> tuple[DataSet, set[tuple[int, int]], str]:
    """The data set, the sizes of training images, and the fingerprint of the data set.

    Images are not checked again if an earlier session has checked them and their sizes are known.
    """
    method, skip_bad = config.recipe.method, config.data.skip_bad
    if geometry.crops:
        require_multiple_of_stride(config.recipe)
    data = recognize(config.folder, config.data, paired=method.paired, one_domain=method.one_domain)
    say(f"data: {data.description}")
    fingerprint = data.fingerprint()
    known = previous is not None and previous.get("fingerprint") == fingerprint
    if previous and not known:
        say(
            "the training images changed since this run started. Continuing with the new ones, "
            "from the same position in the order"
        )
    if known and geometry.crops and not skip_bad:
        return data, {geometry.size}, fingerprint
    data, sizes = require_usable(data, geometry, paired=method.paired, skip_bad=skip_bad, say=say)
    return data, sizes, fingerprint


def _stream(config: TrainConfig, data: DataSet, geometry: Geometry) -> tuple[Stream, int]:
    """The stream of training images, and the length of the training run in steps."""
    recipe, preprocess = config.recipe, config.recipe.preprocess
    cache = {} if config.data.cache else None
    stream = Stream(data, geometry, preprocess, recipe.seed, recipe.method.paired, cache=cache)
    last_step = recipe.steps or max(1, recipe.epochs * stream.pass_length // recipe.batch)
    uncropped_from = round(last_step * recipe.batch * (1 - preprocess.uncropped))
    return replace(stream, uncropped_from=uncropped_from), last_step


def _trainer(
    config: TrainConfig,
    processes: Processes,
    size: tuple[int, int],
    speed: Speed,
    say: Callable[[str], None],
) -> Trainer:
    recipe, preprocess = config.recipe, config.recipe.preprocess
    seed_step(recipe.seed, 0, 0)
    method = recipe.method.build(preprocess.channels_a, preprocess.channels_b, size)
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
        try:
            method.networks[name].module.load_state_dict(found[name].state)
        except RuntimeError:
            raise UserError(
                f"{found[name].path} has another architecture than {name} of this recipe. "
                "Remove the settings that change the networks"
            ) from None
    new = [name for name in method.networks if name not in found]
    return f"from {start}: {', '.join(names)}" + (f"; new: {', '.join(new)}" if new else "")


def _per_image_statistics(config: TrainConfig, processes: Processes) -> bool:
    """Whether batch norm sees one image at a time in training, and so must at inference."""
    ranks = 1 if config.sync_batch_norm else processes.count
    return config.recipe.batch // ranks // config.recipe.optimizer.accumulate == 1


def _measure(
    config: TrainConfig,
    processes: Processes,
    data: DataSet,
    geometry: Geometry,
    make_evaluator: evaluations.EvaluatorFactory,
    models: ModelWriter,
    trainer: Trainer,
    say: Callable[[str], None],
) -> evaluations.Measure | None:
    """The evaluation function of rank 0. None on other ranks, and without evaluations."""
    if config.evaluate_every is None and evaluations.depends_on_evaluations(config):
        raise UserError(
            "`patience` and a plateau schedule depend on evaluations. Set `evaluate_every` too"
        )
    with processes.ending_together():
        if config.evaluate_every is not None and processes.is_main:
            evaluator = make_evaluator(config.metrics, processes.device)
            return evaluations.prepare_measuring(
                config, data, geometry, evaluator, models, trainer, say
            )
    return None


def _reporter(
    config: TrainConfig,
    stream: Stream,
    models: ModelWriter,
    trainer: Trainer,
    console: TrainingConsole,
) -> Reporter:
    run, recipe, is_main = models.run, config.recipe, console.processes.is_main
    log, values = config.log if is_main else (), recipe.model_dump(mode="json")
    return Reporter(
        run,
        recipe,
        trainer,
        console,
        Diagnosis(console.last_step, run.metrics()),
        loggers.Loggers(log, run, values, console.start_step, console.say),
        *(stream.fixed_batches(PREVIEWS) if is_main else ([], [])),
        models.per_image_statistics,
        enabled=is_main,
    )


def _introduce(
    config: TrainConfig,
    processes: Processes,
    speed: str,
    step: int,
    last_step: int,
    say: Callable[[str], None],
) -> None:
    """Prints the device, the speed settings, and the step at which training starts."""
    device = (
        torch.cuda.get_device_name(processes.device) if processes.device.type == "cuda" else "cpu"
    )
    count = f"{processes.count} x " if processes.count > 1 else ""
    say(f"device: {count}{device}, {speed}")
    if processes.count > 1:
        statistics = "" if config.sync_batch_norm else " and batch norm statistics"
        say(f"each process has its own image history{statistics}")
    say(f"run: {config.run}, {'resumed at' if step else 'from'} step {step} of {last_step}")


def _record_session(
    run: Run,
    config: TrainConfig,
    processes: Processes,
    speed: Speed,
    data: DataSet,
    fingerprint: str,
    step: int,
    last_step: int,
) -> None:
    """Writes the recipe, and appends the session: versions, device, command line and data."""
    device = processes.device
    facts = {
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "step": step,
        "last_step": last_step,
        "from": str(config.start) if config.start else None,
        "command": sys.argv,
        "transmute": transmute.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "device_type": device.type,
        **asdict(speed),
        "processes": processes.count,
        "data": data.description,
        "fingerprint": fingerprint,
    }
    sessions = [*run.sessions(), facts]
    run.write_json(run.recipe_file, config.recipe.model_dump(mode="json"))
    run.write_json(run.environment_file, {"domains": list(data.names), "sessions": sessions})


def _commit() -> str | None:
    """The commit of Transmute's source, if it runs from a checkout."""
    root = Path(transmute.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    result = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or None
