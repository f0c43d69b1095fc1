"""The run folder: the names of its files, and the steps it contains."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from transmute.documents import parse_json, read_json
from transmute.errors import UserError
from transmute.files import FileError, remove_partial, write_text, writing
from transmute.notebook import card
from transmute.rows import EvaluationRow, RecipeRow, ReportRow, Row, SessionRow


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

    def recipe(self) -> dict[str, Any]:
        """The settings in recipe.json.

        Raises:
            UserError: If the file is missing or damaged.
        """
        recipe = read_json(self.recipe_file)
        if not _fits(recipe, RecipeRow):
            raise UserError(f"{self.recipe_file} is damaged: it does not contain settings")
        return recipe

    def sessions(self) -> list[dict[str, Any]]:
        """The facts of each session, from environment.json. Empty if it is missing or damaged."""
        with contextlib.suppress(UserError):
            environment = read_json(self.environment_file)
            sessions = environment.get("sessions") if isinstance(environment, dict) else None
            if isinstance(sessions, list):
                return [session for session in sessions if _fits(session, SessionRow)]
        return []

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per report."""
        return _rows(self.metrics_file, ReportRow)[0]

    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of evaluations.jsonl.

        A row is `{"step", "best": {"name", "features", "value", "better"},
        "metrics": {direction: [metric, ...]}}`; `better` is "lower" or "higher".
        """
        return _rows(self.evaluations_file, EvaluationRow)[0]

    def damaged_lines(self) -> dict[str, int]:
        """The number of lines that cannot be read, by the name of their file, if there are any.

        The end of a file, which a killed process may have left incomplete, is not counted.
        """
        files = {self.metrics_file: ReportRow, self.evaluations_file: EvaluationRow}
        counts = {path.name: _rows(path, shape)[1] for path, shape in files.items()}
        return {name: count for name, count in counts.items() if count}

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
        """Appends a row to metrics.jsonl or evaluations.jsonl, whose folder exists.

        Raises:
            FileError: If the disk is full, the folder was removed, and the like.
        """
        with writing(file), file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def require_folder(self) -> None:
        """Checks that the folder was not removed or renamed during training.

        Raises:
            FileError: If it was.
        """
        if not self.folder.is_dir():
            raise FileError(
                f"the run folder {self.folder} was removed or renamed during training. What it "
                "contained is where it is now. Put it back, then run the same command again"
            )

    def rewind(self, step: int) -> None:
        """Removes rows, samples, checkpoints and models of later steps, before training resumes.

        Unfinished files are removed, too. At step 0, when training starts again, all rows are.
        """
        files = {self.metrics_file: self.metrics(), self.evaluations_file: self.evaluations()}
        for file, rows in files.items():
            if file.is_file():
                rows = [row for row in rows if step and row["step"] <= step]
                write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
        for later in [later for later in self.samples() if later > step]:
            self.sample_file(later).unlink()
        for name in ("", "checkpoints", "samples"):
            remove_partial(self.folder / name)
        shutil.rmtree(self.folder / "models" / ".part", ignore_errors=True)
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
            with writing(self.folder / ".lock"):
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


def _rows(path: Path, shape: type[Row]) -> tuple[list[dict[str, Any]], int]:
    """The rows of a JSONL file that have a shape, and the number of other complete lines."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    rows, damaged = [], 0
    for line in filter(None, text.splitlines(keepends=True)):
        row = None
        with contextlib.suppress(ValueError):
            row = parse_json(line)
        if _fits(row, shape):
            rows.append(row)
        else:
            damaged += line.endswith("\n")
    return rows, damaged


def _fits(value: Any, shape: type[Row]) -> bool:
    try:
        shape.model_validate(value)
    except ValidationError:
        return False
    return True
