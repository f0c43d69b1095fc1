"""The training loop: when to report, sample, save and stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch

from transmute.batch import Batch
from transmute.devices import chosen_device
from transmute.diagnostics.signs import Sign, not_finite
from transmute.images import normalize, save_picture
from transmute.report.page import write_report
from transmute.run import Run
from transmute.settings import OwnError, UserError
from transmute.training import diagnosing
from transmute.training.checkpoint import save
from transmute.training.config import TrainConfig
from transmute.training.evaluating import evaluate
from transmute.training.processes import Processes, first_of_all, joined, launch, under_a_launcher
from transmute.training.progress import MakeEvaluator
from transmute.training.samples import sample_sheet, shown
from transmute.training.session import Session, prepare, seed_step
from transmute.training.watch import StopRequest, Watch

WARM_UP, TIMED = 5, 10
"""Steps before and between the two looks at the clock from which the length of a training is estimated."""

AfterSave = Callable[[Run, int], None]
"""Is called with the run and the step, in the first process, when a checkpoint and its models are written."""


def train(config: TrainConfig, after_save: AfterSave | None = None, evaluator: MakeEvaluator | None = None) -> int | None:
    """Trains, or goes on with the training in `config.run`, in as many processes as the config says.

    Args:
        config: With a run folder (`TrainConfig.with_run`).
        after_save: Is called with the run and the step when a checkpoint and its models are written; picklable, for several processes.
        evaluator: Makes what measures the translators (`transmute.evaluation.Evaluator`); needed where the config asks for evaluations.

    Returns:
        None when the training is finished, else the number of the signal that stopped it; everything is saved then.

    Raises:
        UserError: If something given does not fit, before anything is written; or if a loss is not finite.
    """
    if config.devices > 1 and not under_a_launcher():
        chosen_device(config.device, config.devices)
        status = launch(_train_as_child, (config, after_save, evaluator), config.devices)
        if status in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            return status - 128 if status else None
        sys.exit(status)
    with contextlib.ExitStack() as until_done:
        processes = until_done.enter_context(joined(config.device))
        session = prepare(config, processes, until_done, evaluator)
        if session.first_step < session.last_step and not session.progress.over:
            return _loop(session, after_save)
        _write_page(session, running=False)  # a process that died right after its last checkpoint left a page that waits for more
        return None


def _train_as_child(config: TrainConfig, after_save: AfterSave | None, evaluator: MakeEvaluator | None) -> None:
    try:
        stopped_by = train(config, after_save, evaluator)
    except UserError as error:
        if first_of_all() or isinstance(error, OwnError):  # to others all processes come together
            print(f"transmute: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception:  # the launcher would swallow it
        traceback.print_exc()
        sys.exit(1)
    if stopped_by:
        sys.exit(128 + stopped_by)


def _loop(session: Session, after_save: AfterSave | None) -> int | None:
    config, recipe, run, processes = session.config, session.recipe, session.run, session.processes
    trainer, meter, last = session.trainer, session.meter, session.last_step
    watch = Watch(session.console, first_step=session.first_step, last_step=last, batch=recipe.batch)
    batches = session.stream.batches(
        batch=recipe.batch,
        first_step=session.first_step,
        last_step=last,
        rank=processes.rank,
        processes=processes.count,
        workers=_workers(config, processes),
        pin=processes.device.type == "cuda",
    )
    if session.first_step == 0:
        _sample(session, 0)
        evaluate(session, 0)
    with StopRequest() as stop, watch:
        for step in range(session.first_step + 1, last + 1):
            batch, load_seconds = watch.next_of(batches)
            seed_step(recipe.seed, step, processes.rank)
            losses = trainer.step(_parts(batch, recipe.optimizer.accumulate, processes.device), rate=session.rate(step))
            meter.add(losses)
            watch.advance(load_seconds)
            if step == session.first_step + WARM_UP and step + TIMED < last:
                processes.finish()
                watch.restart()
            if step == session.first_step + WARM_UP + TIMED < last:
                processes.finish()
                watch.estimate(step)

            asking = processes.count == 1 or processes.device.type == "cpu" or step % 10 == 0  # among GPUs, to ask is to wait
            stopping = asking and processes.any(stop.signal is not None)
            if config.evaluate_every and (step % config.evaluate_every == 0 or step == last):
                with watch.paused():
                    evaluate(session, step)
            ending = step == last or session.progress.over
            saving = step % config.save_every == 0 or step % (config.keep_every or last) == 0 or ending or stopping
            saving |= step == config.evaluate_every  # models without any checkpoint could not be continued
            reporting = step % config.report_every == 0 or ending
            if step % config.sample_every == 0 or ending:
                _sample(session, step)
            if reporting or saving or processes.device.type == "cpu":  # on a GPU, to look is to wait
                means = processes.mean(meter.means())
                _require_finite(session, step, means)
                if reporting:
                    _report(session, watch, step, means)
                    meter.reset()
            if saving:
                save(session, step)
                _write_page(session, running=not (ending or stopping))
                if after_save and processes.first:
                    after_save(run, step)
            if session.progress.over and step < last:
                watch.say(f"ended at step {step} of {last}: {config.patience} evaluations in a row were not better than the best before")
                break
            if stopping and step < last:
                watch.say(f"stopped at step {step} of {last} and saved; the same command with --run {run.folder} goes on")
                return stop.signal
    watch.say(f"finished in {run.folder}; open {run.report_file}, or use it with: transmute translate PICTURES --model {run.folder}")
    if config.evaluate_every:
        watch.say(f"best by {config.best}: step {session.progress.best_step}; use it with --step best")
    return None


def _workers(config: TrainConfig, processes: Processes) -> int:
    if config.data.cache:
        return 0
    if config.data.workers is not None:
        return config.data.workers
    return 4 if processes.device.type == "cuda" else 0


def _parts(batch: Batch, count: int, device: torch.device) -> list[Batch]:
    batch = batch.to(device)
    return Batch(normalize(batch.a), normalize(batch.b)).parts(count)


def _report(session: Session, watch: Watch, step: int, means: dict[str, float]) -> None:
    watch.report(step, means)
    if session.processes.first:
        rate = session.rate(step)
        row = {"step": step, "pictures": step * session.recipe.batch, **means, "rate": rate}
        speed = {"pictures_per_second": round(watch.pictures_per_second, 3), "load_milliseconds": round(watch.load_milliseconds, 2)}
        game, spent = session.recipe.method.adversarial, watch.waiting()
        session.diagnosis.rows.append(row)
        latest = session.diagnosis.rows
        _say(
            session,
            step,
            diagnosing.NUMBERS,
            diagnosing.of_numbers(
                latest, game, waiting=spent, rate=rate, step=step, steps=session.last_step, ahead=session.processes.device.type == "cuda"
            ),
        )
        signs, session.diagnosis.new = session.diagnosis.new, []
        session.run.append_metrics(row | speed | ({"signs": signs} if signs else {}))
        if session.loggers:
            session.loggers.numbers(step, row | speed)
        if watch.page_is_due():
            _write_page(session)


def _sample(session: Session, step: int) -> None:
    if session.processes.first:
        method, trainer = session.trainer.method, session.trainer
        rows, seen = (shown(method, trainer, batches, own_statistics=session.own_statistics) for batches in (session.shown, session.seen))
        save_picture(sample_sheet(rows), session.run.sample_file(step))
        if session.loggers:
            session.loggers.picture(step, session.run.sample_file(step))
        if step:
            _say(session, step, diagnosing.PICTURES, diagnosing.of_pictures(method, rows, seen, paired=session.recipe.method.paired))
        _write_page(session)


def _say(session: Session, step: int, kinds: Sequence[str], signs: Sequence[Sign]) -> None:
    for sign in session.diagnosis.hear(kinds, signs, step=step, steps=session.last_step):
        session.say(f"warning at step {step}: {sign.sentence}; {sign.change} (docs/reading-a-run.md, {sign.name})")


def _require_finite(session: Session, step: int, means: dict[str, float]) -> None:
    sign = not_finite(means)
    if sign is None:
        return
    if session.processes.first:
        session.run.append_metrics({"step": step, "signs": [asdict(sign)]})
        _write_page(session, running=False)
    raise UserError(f"{sign.sentence} by step {step}: an earlier checkpoint is kept; {sign.change}")


def _write_page(session: Session, *, running: bool = True) -> None:
    if session.processes.first:
        with contextlib.suppress(OSError):  # some systems let no file be replaced that a browser reads; the next page will do
            write_report(session.run, running=running)
