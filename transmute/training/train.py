"""The training loop."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from transmute import plugins
from transmute.batch import Batch
from transmute.config.training import TrainConfig
from transmute.device import select_device
from transmute.errors import RankError, UserError
from transmute.images import normalize
from transmute.metrics.evaluator import Evaluator
from transmute.run import Run
from transmute.training import checkpoint
from transmute.training.evaluations import EvaluatorFactory
from transmute.training.processes import (
    is_launched,
    launch,
    process_group,
    seed_step,
    stop_signals,
)
from transmute.training.schedule import learning_rate_factor
from transmute.training.setup import Training, prepare

AfterSave = Callable[[Run, int], None]
"""Called on rank 0 with run and step after a checkpoint and its models have been written."""


def train(
    config: TrainConfig,
    after_save: AfterSave | None = None,
    evaluator: EvaluatorFactory = Evaluator,
    show: Callable[[str], str] = str,
) -> int | None:
    """Trains or resumes the run in `config.run`, in `config.devices` processes.

    Args:
        config: Training settings; `config.run` must be set.
        after_save: Called after a checkpoint and its models have been written; picklable.
        evaluator: Factory for the evaluator; picklable.
        show: Renders the names of settings in printed lines; picklable.

    Returns:
        None if training is finished, else the number of the signal that stopped it. Everything
        is saved in both cases.

    Raises:
        UserError: If any input is unusable (nothing is written then), or if training diverges.
    """
    if config.devices > 1 and not is_launched():
        select_device(config.device, config.devices)
        # The config may contain user-defined classes, which a new process must load first.
        arguments = pickle.dumps((config, after_save, evaluator, show))
        status = launch(_train_on_rank, (plugins.loaded_files(), arguments), config.devices)
        if status in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            return status - 128 if status else None
        sys.exit(status)
    with ExitStack() as stack:
        processes = stack.enter_context(process_group(config.device))
        training = prepare(config, processes, stack, evaluator, show)
        if training.state.step < training.last_step and not training.history.exhausted:
            return _loop(training, after_save)
        # A process killed after its last checkpoint left a report.html that still says it is
        # running.
        training.reporter.write_page(running=False)
        _conclude(training)
        return None


def _train_on_rank(files: Iterable[Path], arguments: bytes) -> None:
    for path in files:
        plugins.import_file(path)
    config, after_save, evaluator, show = pickle.loads(arguments)
    try:
        stopped_by = train(config, after_save, evaluator, show)
    except UserError as error:
        # Every rank raises the same UserError, so only rank 0 prints it. A RankError is local.
        if os.environ["RANK"] == "0" or isinstance(error, RankError):
            print(f"transmute: {show(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception:  # the launcher would swallow the traceback
        traceback.print_exc()
        sys.exit(1)
    if stopped_by:
        sys.exit(128 + stopped_by)


def _loop(training: Training, after_save: AfterSave | None) -> int | None:
    config, recipe, processes = training.config, training.config.recipe, training.processes
    state, reporter, console = training.state, training.reporter, training.console
    last_step, cuda = training.last_step, processes.device.type == "cuda"
    batches = _batches(training)
    if state.step == 0:
        reporter.sample(0)
        _evaluate(training, 0)
    with stop_signals() as signals, console.bar:
        for step in range(state.step + 1, last_step + 1):
            batch, load_seconds = console.next_batch(batches)
            seed_step(recipe.seed, step, processes.rank)
            batch = batch.to(processes.device)
            batch = Batch(normalize(batch.a), normalize(batch.b))
            micro_batches = batch.parts(recipe.optimizer.accumulate)
            state.add(state.trainer.step(micro_batches, lr_factor=_lr_factor(training, step)))
            state.step = step
            console.advance(step, load_seconds)

            # Check for Ctrl-C on any rank. With several GPUs this needs a synchronization, so check
            # every 10 steps.
            check_signal = processes.count == 1 or not cuda or step % 10 == 0
            interrupted = check_signal and processes.any_rank(bool(signals))
            # Evaluate, and keep the models if they are the best so far.
            if config.evaluate_every and (step % config.evaluate_every == 0 or step == last_step):
                with console.paused():
                    _evaluate(training, step)
            finished = step == last_step or training.history.exhausted
            # Write a sample sheet.
            if step % config.sample_every == 0 or finished:
                reporter.sample(step)
            # Report losses, and stop if training has diverged. Reading losses synchronizes a GPU.
            reporting = step % config.report_every == 0 or finished
            # The first evaluation may write models, and a run with models needs a checkpoint.
            saves = (config.save_every, config.keep_every or last_step)
            due = step == config.evaluate_every or any(step % every == 0 for every in saves)
            saving = due or finished or interrupted
            if reporting or saving or not cuda:
                means = processes.mean_over_ranks(state.mean_losses())
                reporter.require_finite(step, means)
                if reporting:
                    reporter.report(step, means, _lr_factor(training, step))
                    state.loss_sums, state.loss_count = {}, 0
            # Save a checkpoint with its models.
            if saving:
                _save(training, after_save, running=not (finished or interrupted))
            # Stop, possibly early: because evaluations stopped improving, or because of a signal.
            if finished:
                break
            if interrupted:
                console.say(f"stopped at step {step} of {last_step} and saved")
                console.say(f"resume with the same command and `run={config.run}`")
                return next(iter(signals), None)
    _conclude(training)
    return None


def _lr_factor(training: Training, step: int) -> float:
    """Factor of the learning rate at a step.

    Progress is counted in epochs, or in steps if the recipe's length is given in steps.
    """
    recipe = training.config.recipe
    epoch = (step - 1) * recipe.batch // training.stream.pass_length
    now, length = (step - 1, recipe.steps) if recipe.steps else (epoch, recipe.epochs)
    return learning_rate_factor(recipe.schedule, now, length, training.history.values)


def _batches(training: Training) -> Iterator[tuple[Batch, float]]:
    """The batches of the remaining steps, loaded in the background where that helps."""
    config, processes = training.config, training.processes
    cuda, workers = processes.device.type == "cuda", config.data.workers
    workers = workers if workers is not None else 4 * cuda
    return training.stream.batches(
        batch=config.recipe.batch,
        start_step=training.state.step,
        last_step=training.last_step,
        rank=processes.rank,
        processes=processes.count,
        workers=0 if config.data.cache else workers,
        pin=cuda,
    )


def _save(training: Training, after_save: AfterSave | None, *, running: bool) -> None:
    """Writes a checkpoint and its models, removes old ones, and updates report.html."""
    run, state, config = training.models.run, training.state, training.config
    checkpoint.save(run, training.processes, state)
    if training.processes.is_main:
        training.models.write(state.trainer, state.step, training.history.metrics(state.step))
        run.keep_newest(config.keep, config.keep_every)
    training.processes.barrier()
    training.reporter.write_page(running=running)
    if after_save and training.processes.is_main:
        after_save(run, state.step)


def _evaluate(training: Training, step: int) -> None:
    """Measures the generators on rank 0, and keeps their models if they are the best so far.

    Raises:
        UserError: If the deciding metric could not be measured.
    """
    config, processes, run = training.config, training.processes, training.models.run
    state, history = training.state, training.history
    if config.evaluate_every is None:
        return
    checkpoint.require_finite_weights(state.trainer, step)
    row = {}  # measured on rank 0 alone
    try:
        with processes.ending_together():
            if training.measure is not None:
                row = training.measure(step)
                history.require_same_metric(config.best, row["best"]["features"])
                run.append_evaluation(row)
                numbers = {
                    f"{direction} {metric['name']}": metric["value"]
                    for direction, metrics in row["metrics"].items()
                    for metric in metrics
                }
                training.reporter.loggers.log(step, numbers)
    except Exception:
        if step:
            _save(training, None, running=True)  # keeps the steps since the last checkpoint
        processes.barrier()
        raise
    history.rows = run.evaluations()
    if processes.is_main:
        improved = history.best_step == step
        if improved:
            training.models.write(state.trainer, step, history.metrics(step))
            run.keep_newest(config.keep, config.keep_every)
        value, better = row["best"]["value"], ", the best so far" if improved else ""
        training.console.say(f"step {step}: {config.best} {value:.4g}{better}")
    processes.barrier()


def _conclude(training: Training) -> None:
    """Prints how training ended, and how to use the models."""
    config, run, history = training.config, training.models.run, training.history
    step, last_step, say = training.state.step, training.last_step, training.console.say
    if step < last_step:
        say(f"ended at step {step} of {last_step}: evaluations stopped improving")
        say("to continue, use a larger `patience` or none")
    say(f"finished: open {run.report_file}")
    say(f"use it: transmute translate IMAGES --model {run.folder}")
    if config.evaluate_every:
        say(f"best by {config.best}: step {history.best_step} (translate with --step best)")
