"""Reports of a training run: metrics, samples, symptoms and a page."""

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transmute.batch import Batch
from transmute.config.training import Recipe
from transmute.diagnostics.symptoms import Symptom, not_finite
from transmute.errors import UserError
from transmute.images import save_image
from transmute.report.page import write_report
from transmute.run import Run
from transmute.training.console import TrainingConsole
from transmute.training.diagnosis import image_symptoms, number_symptoms
from transmute.training.loggers import Loggers
from transmute.training.previews import make_previews, sample_row, sheet
from transmute.training.trainer import Trainer

PAGE_SECONDS = 20.0
"""Least time between two pages written at reports. A page contains images, so it is large."""


class Diagnosis:
    """Reports a symptom once it was found in enough checks in a row, and again if it returns.

    Attributes:
        rows: The latest reports.
        unsaved: Symptoms reported since the last row of metrics.jsonl.
    """

    def __init__(self, steps: int, rows: Iterable[dict[str, Any]] = ()) -> None:
        self.steps = steps
        self.rows = deque(rows, maxlen=10)
        self.unsaved: list[dict[str, Any]] = []
        self._checks: dict[str, dict[tuple[str, str], int]] = {}

    def update(self, kind: str, found: Sequence[Symptom], step: int) -> list[Symptom]:
        """Counts the findings of one check, and returns what to report now.

        Args:
            kind: Kind of check, such as "images": checks of other kinds are counted apart.
            found: The symptoms that were found.
            step: The current step.
        """
        # Untrained generators look faulty: for the first tenth of training (at least 500 steps,
        # at most half), only symptoms that count early are considered.
        learning = step <= max(0.1 * self.steps, min(500, 0.5 * self.steps))
        present = {(one.name, one.where): one for one in found if one.early or not learning}
        before = self._checks.get(kind, {})
        self._checks[kind] = {key: before.get(key, 0) + 1 for key in present}
        reported = [one for key, one in present.items() if self._checks[kind][key] == one.checks]
        self.unsaved += [asdict(symptom) for symptom in reported]
        return reported


@dataclass
class Reporter:
    """Writes the reports of a training run. Does nothing on ranks other than 0.

    Attributes:
        shown: Batches of the sample sheet: held-out images, or training images if none are held
            out.
        trained_on: As many batches of training images; empty if `shown` are training images.
        enabled: Whether this is rank 0.
    """

    run: Run
    recipe: Recipe
    trainer: Trainer
    console: TrainingConsole
    diagnosis: Diagnosis
    loggers: Loggers
    shown: Sequence[Batch]
    trained_on: Sequence[Batch]
    per_image_statistics: bool
    enabled: bool
    page_written: float = 0.0

    def report(self, step: int, means: dict[str, float], lr_factor: float) -> None:
        """Prints losses, appends them to metrics.jsonl, and checks them for symptoms."""
        self.console.report(step, means)
        if not self.enabled:
            return
        row = {"step": step, "images": step * self.recipe.batch, **means, "rate": lr_factor}
        speed = {
            "images_per_second": round(self.console.images_per_second, 3),
            "load_milliseconds": round(self.console.load_milliseconds, 2),
        }
        self.diagnosis.rows.append(row)
        found = number_symptoms(
            self.recipe.method,
            self.diagnosis.rows,
            waiting=self.console.waiting_times(),
            lr_factor=lr_factor,
            step=step,
            steps=self.diagnosis.steps,
            asynchronous=self.trainer.device.type == "cuda",
        )
        self._warn("numbers", found, step)
        unsaved, self.diagnosis.unsaved = self.diagnosis.unsaved, []
        self.run.append(
            self.run.metrics_file, row | speed | ({"symptoms": unsaved} if unsaved else {})
        )
        self.loggers.log(step, row | speed)
        if time.perf_counter() - self.page_written > PAGE_SECONDS:
            self.write_page()

    def sample(self, step: int) -> None:
        """Writes a sample sheet, and checks its images for symptoms."""
        if not self.enabled:
            return
        shown, trained_on = (
            make_previews(self.trainer, batches, per_image_statistics=self.per_image_statistics)
            for batches in (self.shown, self.trained_on)
        )
        table = sheet([sample_row(previews) for previews in shown])
        save_image(table, self.run.sample_file(step))
        self.loggers.log(step, {}, table)
        if step:
            found = image_symptoms(
                self.trainer.method, shown, trained_on, paired=self.recipe.method.paired
            )
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
            self.page_written = time.perf_counter()
            with contextlib.suppress(OSError):  # some systems lock a file that a browser reads
                write_report(self.run, running=running)

    def _warn(self, kind: str, found: Sequence[Symptom], step: int) -> None:
        for symptom in self.diagnosis.update(kind, found, step):
            self.console.say(
                f"warning at step {step}: {symptom.sentence}. To fix it, {symptom.change} "
                f"(docs/reading-a-run.md, {symptom.name})"
            )
