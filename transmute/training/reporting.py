"""Reports of a training run: progress, metrics, samples, symptoms and a page."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from transmute.batch import Batch
from transmute.config.training import TrainConfig
from transmute.data.stream import Stream
from transmute.device import synchronize
from transmute.diagnostics.symptoms import Symptom, not_finite
from transmute.errors import UserError
from transmute.files import FileError, write_text
from transmute.images.encode import save_image
from transmute.images.ranges import displayed_part
from transmute.notebook import NotebookProgress
from transmute.report.page import render_page
from transmute.run import Run
from transmute.training.checkpoint import ModelWriter
from transmute.training.diagnosis import Diagnosis, image_symptoms, number_symptoms
from transmute.training.loggers import Loggers
from transmute.training.previews import make_previews, sample_row, sheet
from transmute.training.trainer import Trainer

PAGE_SECONDS = 20.0
"""Least time between two pages written at reports. A page contains images, so it is large."""

WARM_UP, TIMED = 5, 10
"""Steps before the timing, and steps timed, from which the remaining time is estimated."""


PREVIEWS = 4
"""Rows of a sample sheet."""


class Observer(Protocol):
    """Follows a training run, on rank 0. Picklable, for training in several processes."""

    def after_step(self, run: Run, step: int) -> None:
        """Called at the end of each step."""

    def after_report(self, run: Run, row: dict[str, Any]) -> None:
        """Called with each new row of metrics.jsonl, instead of printing a line about it."""

    def after_save(self, run: Run, step: int) -> None:
        """Called when a checkpoint and its models have been written."""


class Output(Console):
    """The console of a training run, which ends quietly if the program that reads it ends.

    Attributes:
        signals: Signals that stop the training loop, to which SIGPIPE is added. None before it.
    """

    signals: dict[int, float] | None = None

    def on_broken_pipe(self) -> None:
        with contextlib.suppress(SystemExit):  # after closing the output
            super().on_broken_pipe()
        if self.signals is None:
            raise BrokenPipeError
        self.signals[13] = time.monotonic()  # Windows has no signal.SIGPIPE


class Reporter:
    """Shows the progress of a training run, and writes its reports.

    Args:
        config: Training settings.
        stream: With the images of sample sheets: held-out ones, or training images if none are
            held out.
        models: The models of the run, which the samples show.
        trainer: The trainer.
        console: Where to print. On ranks other than 0, it is quiet, and nothing is written.
        say: Prints a line on the console.
        start_step: Steps finished before this session.
        last_step: Length of the training run.

    Attributes:
        bar: The progress bar: a context manager that shows it.
        enabled: Whether this is rank 0.
    """

    def __init__(
        self,
        config: TrainConfig,
        stream: Stream,
        models: ModelWriter,
        trainer: Trainer,
        console: Output,
        say: Callable[[str], None],
        start_step: int,
        last_step: int,
    ) -> None:
        self.models, self.trainer = models, trainer
        self.run, self.recipe = models.run, config.recipe
        self.start_step, self.last_step = start_step, last_step
        self.console, self.say, self.enabled = console, say, not console.quiet
        self.diagnosis = Diagnosis(last_step, self.run.metrics())
        self.shown, self.trained_on, log = [], [], ()
        if self.enabled:
            self.shown, self.trained_on = stream.fixed_batches(PREVIEWS, say)
            log = config.log
        for domain, channels in zip("ab", self.recipe.preprocess.channels, strict=True):
            if part := displayed_part(channels):
                say(f"{domain}: samples, FID, KID and LPIPS use {part}")
        self.loggers = Loggers(log, self.run, self.recipe.model_dump(mode="json"), start_step, say)
        # rich needs ipywidgets for a bar in a notebook.
        self.notebook = NotebookProgress() if self.enabled and Console().is_jupyter else None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[report]}"),
            console=console,
            disable=console.quiet or not console.is_terminal or self.notebook is not None,
        )
        self._task = self.bar.add_task("training", total=last_step, completed=start_step, report="")
        self._page_written, self._line = 0.0, ""
        self._restart_timing()

    def _restart_timing(self) -> None:
        self._start, self._steps = time.perf_counter(), 0
        self._waited, self._load_seconds = 0.0, 0.0

    def next_batch(self, batches: Iterator[tuple[Batch, float]]) -> Batch:
        """The next batch. Records how long it took to load, and to arrive."""
        start = time.perf_counter()
        batch, load_seconds = next(batches)
        self._waited += time.perf_counter() - start
        self._load_seconds += load_seconds
        return batch

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of the block from the speed."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def advance(self, step: int) -> None:
        """Records a finished step, and prints an estimate once the first steps are timed."""
        self._steps += 1
        self.bar.advance(self._task)
        taken, left = step - self.start_step, self.last_step - step
        if taken == WARM_UP and left > TIMED:
            synchronize(self.trainer.device)
            self._restart_timing()
        if taken == WARM_UP + TIMED and left:
            synchronize(self.trainer.device)
            speed = self._steps / (time.perf_counter() - self._start)
            duration = timedelta(seconds=round(left / speed))
            self.say(f"{speed:.3g} steps/s: the remaining {left:,} take {duration}")

    def report(
        self, step: int, means: dict[str, float], lr_factor: float, observer: Observer | None
    ) -> None:
        """Appends losses and speed to metrics.jsonl, checks them for symptoms, and prints them.

        Args:
            step: The current step.
            means: Mean losses since the last report.
            lr_factor: Factor of the learning rate.
            observer: Called with the new row, instead of printing it.
        """
        seconds, steps = time.perf_counter() - self._start, max(self._steps, 1)
        row = {
            "step": step,
            "images": step * self.recipe.batch,
            **means,
            "rate": lr_factor,
            "images_per_second": round(self._steps * self.recipe.batch / seconds, 3),
            "load_milliseconds": round(1000 * self._load_seconds / steps, 2),
        }
        printed = means if observer is None else {}
        losses = " ".join(f"{name} {value:.3f}" for name, value in printed.items())
        speed = f"{row['images_per_second']:.3g} images/s"
        load = f"({row['load_milliseconds']:.1f} ms to load one)"
        self.bar.update(self._task, report=f"{speed} {load} {losses}")
        if self.bar.disable and observer is None:
            left = timedelta(seconds=round((self.last_step - step) * seconds / steps))
            self._line = f"step {step}/{self.last_step}  {speed}  {left} left  {losses}"
            if self.notebook is None:
                self.say(self._line)
            else:
                self.notebook.show(self._line, self.run.sample_file(self.run.samples()[-1]))
        if self.enabled:
            self._write_metrics(row, waiting=(self._waited, seconds))
        if observer is not None:
            observer.after_report(self.run, row)
        self._restart_timing()

    def _write_metrics(self, row: dict[str, Any], waiting: tuple[float, float]) -> None:
        self.diagnosis.rows.append(row)
        found = number_symptoms(
            self.recipe.method,
            self.diagnosis.rows,
            waiting=waiting,
            lr_factor=row["rate"],
            step=row["step"],
            steps=self.last_step,
            asynchronous=self.trainer.device.type == "cuda",
        )
        self._warn("numbers", found, row["step"])
        unsaved, self.diagnosis.unsaved = self.diagnosis.unsaved, []
        symptoms = {"symptoms": unsaved} if unsaved else {}
        self.run.append(self.run.metrics_file, row | symptoms)
        self.loggers.log(row["step"], row)
        if time.perf_counter() - self._page_written > PAGE_SECONDS:
            self.write_page()

    def sample(self, step: int) -> None:
        """Writes a sample sheet, and checks its images for symptoms."""
        if not self.enabled:
            return
        method, generators = self.trainer.method, self.models.for_inference(self.trainer)
        shown, trained_on = (
            make_previews(method, generators, batches) for batches in (self.shown, self.trained_on)
        )
        rows = [sample_row(previews) for previews in shown]
        width = max(image.width for image in rows[0].values())
        table = sheet(rows, scale=max(1, 96 // width))  # so that titles fit above small images
        self.run.require_folder()
        save_image(table, self.run.sample_file(step))
        self.loggers.log(step, {}, table)
        if self.notebook:
            self.notebook.show(self._line, self.run.sample_file(step))
        if step:
            paired = self.recipe.method.paired
            found = image_symptoms(method, shown, trained_on, paired=paired)
            self._warn("images", found, step)
        self.write_page()

    def require_finite(self, step: int, means: dict[str, float]) -> None:
        """Stops a training run that has diverged.

        Raises:
            UserError: If a loss is not finite. The run's page shows the error too.
        """
        if (symptom := not_finite(means)) is not None:
            if self.enabled:
                self.run.append(
                    self.run.metrics_file, {"step": step, "symptoms": [asdict(symptom)]}
                )
                self.write_page(running=False)
            raise UserError(
                f"{symptom.sentence} by step {step}. Earlier checkpoints are kept. To fix it, "
                f"{symptom.change}"
            )

    def write_page(self, *, running: bool = True) -> None:
        """Writes report.html."""
        if self.enabled:
            self._page_written = time.perf_counter()
            self.run.require_folder()
            with contextlib.suppress(FileError):  # Windows locks a file that a browser reads
                write_text(self.run.report_file, render_page([self.run], running=running))

    def _warn(self, kind: str, found: Sequence[Symptom], step: int) -> None:
        for symptom in self.diagnosis.update(kind, found, step):
            self.say(
                f"warning at step {step}: {symptom.sentence}. To fix it, {symptom.change} "
                f"(docs/reading-a-run.md, {symptom.name})"
            )
