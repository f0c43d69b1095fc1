"""The run folder: the names of its files, and the steps it contains."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from transmute.errors import UserError
from transmute.files import write_text
from transmute.notebook import card


class Run:
    """The folder of one training run. Training writes it; translation and reports read it.

    Args:
        folder: Path of the folder. It is created when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe_file = folder / "recipe.json"
        self.environment_file = folder / "environment.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.evaluations_file = folder / "evaluations.jsonl"
        self.report_file = folder / "report.html"

    def sample_file(self, step: int) -> Path:
        """Path of the sample sheet of a step."""
        return self.folder / "samples" / f"{step}.png"

    def checkpoint_file(self, step: int, rank: int = 0) -> Path:
        """Path of a rank's checkpoint. Only rank 0's contains the shared state."""
        return self.folder / "checkpoints" / f"{step}{f'.rank{rank}' if rank else ''}.safetensors"

    def model_folder(self, step: int) -> Path:
        """Path of the folder with the models of a step."""
        return self.folder / "models" / str(step)

    @property
    def url_id(self) -> str:
        """A short identifier for URLs that depends only on the path of the folder."""
        return hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:12]

    def was_started(self) -> bool:
        """Whether a training run was started in this folder."""
        return self.recipe_file.is_file()

    def checkpoints(self) -> list[int]:
        """Steps that have a checkpoint, in ascending order."""
        return _steps(self.folder / "checkpoints", ".safetensors")

    def samples(self) -> list[int]:
        """Steps that have a sample sheet, in ascending order."""
        return _steps(self.folder / "samples", ".png")

    def models(self) -> list[int]:
        """Steps that have models, in ascending order."""
        return _steps(self.folder / "models", "")

    def best(self) -> dict[str, Any] | None:
        """The best evaluation whose models still exist, or None."""
        models, rows = self.models(), comparable_evaluations(self.evaluations())
        return best_evaluation([row for row in rows if row["step"] in models])

    def models_at(self, step: int | str = "newest") -> Path:
        """Returns the folder with the models of a step.

        Args:
            step: A step, "newest", or "best" (by the deciding metric of its evaluations).

        Raises:
            UserError: If the run has no such models.
        """
        steps, best = self.models(), self.best()
        if not steps:
            raise UserError(
                f"{self.folder} contains no model yet. Train it until its first checkpoint, or "
                "pass a model file"
            )
        if step == "best" and best is None:
            raise UserError(
                f"{self.folder} was not evaluated during training, so its best model is unknown. "
                "Choose another step, or train with `evaluate_every`"
            )
        chosen = {"newest": steps[-1], "best": best and best["step"]}.get(str(step), step)
        if str(chosen) not in map(str, steps):
            raise UserError(
                f"{self.folder} has no models of step {step}. Choose one of: newest, best, "
                f"{', '.join(map(str, steps))}"
            )
        return self.folder / "models" / str(chosen)

    def read_json(self, path: Path) -> dict[str, Any]:
        """Reads a JSON object.

        Raises:
            UserError: If the file is missing or damaged.
        """
        try:
            return {**json.loads(path.read_text(encoding="utf-8"))}
        except (OSError, TypeError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from None

    def sessions(self) -> list[dict[str, Any]]:
        """The facts of each session, from environment.json. Empty if it is missing or damaged."""
        with contextlib.suppress(UserError, KeyError, TypeError):
            sessions = self.read_json(self.environment_file)["sessions"]
            return [session for session in sessions if isinstance(session, dict)]
        return []

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per report."""
        return list(_rows(self.metrics_file))

    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of evaluations.jsonl.

        A row is `{"step", "best": {"name", "features", "value", "better"},
        "metrics": {direction: [metric, ...]}}`; `better` is "lower" or "higher".
        """
        return [row for row in _rows(self.evaluations_file) if _is_evaluation(row)]

    def _repr_html_(self) -> str:
        """A card for notebooks: the newest step, its losses, the best step and the samples."""
        rows, best, samples = self.metrics(), self.best(), self.samples()
        newest = rows[-1] if rows else {}
        facts: dict[str, object] = {"step": max([0, *self.checkpoints(), *samples, *self.models()])}
        facts |= {
            name: f"{value:.4g}" for name, value in newest.items() if isinstance(value, float)
        }
        if best is not None:
            measure = best["best"]
            facts["best"] = f"step {best['step']}, {measure['name']} {measure['value']:.4g}"
        return card(f"run {self.folder}", facts, self.sample_file(samples[-1]) if samples else None)

    def append(self, file: Path, row: dict[str, Any]) -> None:
        """Appends a row to metrics.jsonl or evaluations.jsonl."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Removes rows, samples, checkpoints and models of later steps, before training resumes.

        Unfinished checkpoints are removed, too.
        """
        for file in (self.metrics_file, self.evaluations_file):
            if file.is_file():
                rows = [row for row in _rows(file) if row["step"] <= step]
                write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
        for later in [later for later in self.samples() if later > step]:
            self.sample_file(later).unlink()
        for unfinished in (self.folder / "checkpoints").glob(".*.part.*"):  # of a killed process
            unfinished.unlink()
        self._keep(range(step + 1), range(step + 1))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Prevents other processes from training in this folder while the block runs.

        The operating system releases the lock of a process that dies. The lock file stays, because
        another process may have opened it, and Windows cannot remove an open file.

        Raises:
            UserError: If another process holds the lock.
        """
        lock = FileLock(self.folder / ".lock", thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(
                f"another process is training into {self.folder}. Wait for it, or choose another "
                "`run`"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def set_aside(self, step: int) -> None:
        """Renames a damaged checkpoint, so that it is ignored but not lost."""
        path = self.checkpoint_file(step)
        path.replace(path.with_name(f"{path.name}.damaged"))

    def keep_newest(self, count: int, every: int | None = None) -> None:
        """Removes all but the newest checkpoints, and the models of steps without one.

        Args:
            count: Number of checkpoints to keep.
            every: Models of steps that are a multiple of it are kept, as are the best models.
        """
        best, checkpoints = self.best(), self.checkpoints()[-count:]
        models = {step for step in self.models() if every and step % every == 0}
        self._keep(checkpoints, {*models, *checkpoints, best["step"] if best else None})

    def _keep(self, checkpoints: Container[int], models: Container[int]) -> None:
        """Removes the checkpoints and the models of all other steps."""
        for step in self.checkpoints():
            if step not in checkpoints:
                for path in (self.folder / "checkpoints").glob(f"{step}.*safetensors"):
                    path.unlink()  # of any rank
        for step in self.models():
            if step not in models:
                shutil.rmtree(self.model_folder(step))


def comparable_evaluations(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations of trained networks by the same metric and features as the latest one."""
    measures = [(row["best"]["name"], row["best"].get("features", "")) for row in rows]
    return [
        row
        for row, measure in zip(rows, measures, strict=True)
        if row["step"] and measure == measures[-1]
    ]


def best_evaluation(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first evaluation with the best value, among those comparable with the latest."""
    signs = {"lower": 1, "higher": -1}
    return min(
        comparable_evaluations(rows),
        key=lambda row: signs[row["best"]["better"]] * row["best"]["value"],
        default=None,
    )


def _steps(folder: Path, suffix: str) -> list[int]:
    """The steps for which a folder has an entry named by the step. Ignores other names."""
    names = [path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}")]
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that have a step.

    Skips damaged lines, such as a half-written one at the end, which a killed process leaves.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            row = json.loads(line)
            if isinstance(row["step"], int):
                yield row


def _is_evaluation(row: dict[str, Any]) -> bool:
    """Whether a row has all fields of an evaluation. Users edit these files by hand."""
    try:
        return (
            isinstance(row["best"]["name"], str)
            and row["best"]["better"] in ("lower", "higher")
            and math.isfinite(row["best"]["value"])
            and all(
                {"name", "value"} <= metric.keys() for metric in chain(*row["metrics"].values())
            )
        )
    except (AttributeError, KeyError, OverflowError, TypeError):
        return False
