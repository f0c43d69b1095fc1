"""The training loop."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from transmute.batch import Batch
from transmute.config.training import TrainConfig
from transmute.data.stream import lost_workers_reported
from transmute.device import out_of_memory_reported, select_device
from transmute.errors import UserError, printable
from transmute.images.ranges import normalize
from transmute.training.checkpoint import save
from transmute.training.processes import (
    is_launched,
    launch,
    process_group,
    seed_step,
    stop_signals,
)
from transmute.training.reporting import Observer, Output
from transmute.training.schedule import learning_rate_factor
from transmute.training.setup import Training, count_workers, describe, plan, prepare


def train(
    config: TrainConfig,
    observer: Observer | None = None,
    show: Callable[[str], str] = str,
) -> int | None:
    """Trains or resumes the run in `config.run`, in `config.devices` processes.

    Args:
        config: Training settings; `config.run` must be set.
        observer: Follows the training run; picklable.
        show: Renders the names of settings in printed lines; picklable.

    Returns:
        None if training is finished, else the number of the signal that stopped it. Everything
        is saved in both cases.

    Raises:
        UserError: If any input is unusable (nothing is written then), or if training diverges.
    """
    if config.devices > 1 and not is_launched():
        select_device(config.device, config.devices)
        if sys.platform == "win32":  # pytorch/pytorch#178600: torch's rendezvous needs libuv
            raise UserError(
                "torch cannot start several processes on Windows. Set `devices=1`, or use WSL 2"
            )
        return launch(train, (config, observer, show), config.devices)
    with ExitStack() as stack:
        processes = stack.enter_context(process_group(config.device))
        console = Output(
            quiet=not processes.is_main, highlight=False, soft_wrap=True, force_jupyter=False
        )

        def say(line: str) -> None:
            console.print(printable(show(line)), markup=False)

        planned = plan(config, processes, say)
        if config.dry_run:
            describe(planned, say)
            return None
        stack.enter_context(out_of_memory_reported(planned.advice))
        training = prepare(planned, stack, console, say)
        observer = observer if processes.is_main else None
        try:
            with lost_workers_reported(config.data.timeout):
                stopped_by = None if training.finished else _loop(training, observer)
        finally:
            # Also if nothing was left to do: a killed process leaves a page that is "running".
            training.reporter.write_page(running=False)
        _conclude(training)
        return stopped_by


def _loop(training: Training, observer: Observer | None) -> int | None:
    config, recipe, processes = training.config, training.config.recipe, training.processes
    state, reporter = training.state, training.reporter
    last_step, cuda = training.last_step, processes.device.type == "cuda"
    batches = _batches(training)
    alone = processes.count == 1
    if state.step == 0:
        reporter.sample(0)
        _evaluate(training, 0)
    start_step = state.step if processes.count == 1 else -1
    with stop_signals(lambda: state.step > start_step) as signals, reporter.bar:
        reporter.console.signals = signals
        for step in range(state.step + 1, last_step + 1):
            with _saving_on_error(training, enabled=alone):
                batch = reporter.next_batch(batches).to(processes.device)
            seed_step(recipe.seed, step, processes.rank)
            batch = Batch(normalize(batch.a), normalize(batch.b))
            micro_batches = batch.parts(recipe.optimizer.accumulate)
            state.add(state.trainer.step(micro_batches, lr_factor=_lr_factor(training, step)))
            state.step = step
            reporter.advance(step)

            # Check for Ctrl-C on any rank. With several GPUs this needs a synchronization, so check
            # every 10 steps.
            check_signal = processes.count == 1 or not cuda or step % 10 == 0
            interrupted = check_signal and processes.any_rank(bool(signals))
            # Evaluate, and keep the models if they are the best so far.
            if config.evaluate_every and (step % config.evaluate_every == 0 or step == last_step):
                with reporter.paused():
                    _evaluate(training, step)
            finished = training.finished
            # Write a sample sheet.
            if step % config.sample_every == 0 or finished:
                with _saving_on_error(training, enabled=alone):
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
                    reporter.report(step, means, _lr_factor(training, step), observer)
                    state.loss_sums, state.loss_count = {}, 0
            # Save a checkpoint with its models.
            if saving:
                _save(training, observer)
            if observer is not None:
                observer.after_step(training.models.run, step)
            # Stop, possibly early: because evaluations stopped improving, or because of a signal.
            if finished or interrupted:
                break
    return None if training.finished else next(iter(signals), None)


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
    return training.stream.batches(
        batch=config.recipe.batch,
        start_step=training.state.step,
        last_step=training.last_step,
        rank=processes.rank,
        processes=processes.count,
        workers=count_workers(config, processes.device),
        timeout=config.data.timeout,
        pin=processes.device.type == "cuda",
    )


def _save(training: Training, observer: Observer | None) -> None:
    """Writes a checkpoint and its models, and removes old ones."""
    run, state, config = training.models.run, training.state, training.config
    save(run, training.processes, state)
    if training.processes.is_main:
        training.models.write(state.trainer, state.step, training.history.metrics(state.step))
        run.keep_newest(config.keep, config.keep_every)
    training.processes.barrier()
    if observer is not None:
        observer.after_save(run, state.step)


def _evaluate(training: Training, step: int) -> None:
    """Measures the generators on rank 0, and keeps their models if they are the best so far.

    Raises:
        UserError: If the deciding metric could not be measured.
    """
    config, run, history = training.config, training.models.run, training.history
    if config.evaluate_every is None:
        return
    training.state.trainer.require_finite(step)
    with _saving_on_error(training), training.processes.ending_together():
        if training.measure is not None:
            row = training.measure(step)
            history.require_same_metric(config.best, row["best"]["features"])
            run.append(run.evaluations_file, row)
            numbers = {
                f"{direction} {metric['name']}": metric["value"]
                for direction, metrics in row["metrics"].items()
                for metric in metrics
            }
            training.reporter.loggers.log(step, numbers)
            history.rows = run.evaluations()
            better = "" if step else ", before training"
            if history.best_step == step:
                better = f", the best so far{history.remark}"
                if run.checkpoints():  # else the first checkpoint follows, and then its models
                    training.models.write(training.state.trainer, step, history.metrics(step))
                    run.keep_newest(config.keep, config.keep_every)
            value, features = row["best"]["value"], row["best"]["features"]
            kind = f" ({features} features)" if features else ""
            training.reporter.say(f"step {step}: {config.best} {value:.4g}{kind}{better}")
    history.rows = run.evaluations()


@contextmanager
def _saving_on_error(training: Training, *, enabled: bool = True) -> Iterator[None]:
    """Keeps the steps since the last checkpoint if the block fails.

    Args:
        training: A training run. The block must not change its networks.
        enabled: False if the block may fail on some ranks only.
    """
    try:
        yield
    except Exception:
        if enabled and training.state.step:
            with suppress(UserError):  # the disk may be full, or the folder removed
                _save(training, None)
        if enabled:
            training.processes.barrier()
        raise


def _conclude(training: Training) -> None:
    """Prints how training ended."""
    config, history, say = training.config, training.history, training.reporter.say
    step, last_step = training.state.step, training.last_step
    if not training.finished:
        say(f"stopped at step {step} of {last_step} and saved")
        say(f"resume with the same command and `run={config.run}`")
        return
    if step < last_step:
        say(f"ended at step {step} of {last_step}: evaluations stopped improving")
        say("to continue, use a larger `patience` or none")
    say(f"finished: open {training.models.run.report_file}")
    if config.evaluate_every:
        say(f"best by {config.best}: step {history.best_step}{history.remark}")
