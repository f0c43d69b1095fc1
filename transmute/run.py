"""The run folder: file names, atomic writes, and what is newest. Training writes it, translation and reports read it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transmute.settings import UserError


class Run:
    """Everything one training leaves behind.

    Args:
        folder: Where it lies or will lie; nothing is created before something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.json"

    @property
    def environment_file(self) -> Path:
        return self.folder / "environment.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def evaluations_file(self) -> Path:
        return self.folder / "evaluations.jsonl"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.html"

    def sample_file(self, step: int) -> Path:
        return self.folder / "samples" / f"{step}.png"

    def checkpoint_file(self, step: int, rank: int = 0) -> Path:
        """The first process's file holds everything; those of the others what only they have."""
        return self.folder / "checkpoints" / (f"{step}.safetensors" if rank == 0 else f"{step}.rank{rank}.safetensors")

    def model_folder(self, step: int) -> Path:
        return self.folder / "models" / str(step)

    @property
    def address(self) -> str:
        """A short name that stays its own while other runs come and go, for addresses of pages."""
        return hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:12]

    def exists(self) -> bool:
        """Whether a training has begun here."""
        return self.recipe_file.is_file()

    def checkpoints(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        return sorted(int(path.stem) for path in (self.folder / "checkpoints").glob("*.safetensors") if _is_step(path.stem))

    def samples(self) -> list[int]:
        """Steps with a sheet of samples, oldest first."""
        return sorted(int(path.stem) for path in (self.folder / "samples").glob("*.png") if _is_step(path.stem))

    def models(self) -> list[int]:
        """Steps with models, oldest first."""
        return sorted(int(path.name) for path in (self.folder / "models").glob("*") if _is_step(path.name))

    def best(self) -> dict[str, Any] | None:
        """The evaluation that found the best models, of those that are still there; None if there is none."""
        rows, models = self.evaluations(), self.models()
        alike = [row for row in rows if row["step"] in models and _measure(row) == _measure(rows[-1])]
        return min(alike, key=lambda row: row["best"]["value"] * (1 if row["best"]["better"] == "lower" else -1), default=None)

    def models_at(self, step: int | str = "newest") -> Path:
        """The folder of the models of a step, of the newest or of the best.

        Raises:
            UserError: If the run has none.
        """
        steps = self.models()
        if not steps:
            raise UserError(f"{self.folder} holds no model yet: train it until its first checkpoint, or name a model file")
        if step == "best":
            best = self.best()
            if best is None:
                raise UserError(
                    f"{self.folder} was not evaluated in training, so none of its models is known as the best: train with --evaluate-every"
                )
            return self.model_folder(best["step"])
        if step == "newest":
            return self.model_folder(steps[-1])
        if not str(step).isdecimal() or int(step) not in steps:
            raise UserError(f"{self.folder} keeps no models of step {step}: choose newest, best, or one of {', '.join(map(str, steps))}")
        return self.model_folder(int(step))

    def model_file(self, direction: str | None = None, step: int | str = "newest") -> Path:
        """A model for a direction; without one, the first of a_to_b and b_to_a that there is.

        Raises:
            UserError: If the run has no model, or none for that direction.
        """
        folder = self.models_at(step)
        found = sorted(path.stem for path in folder.glob("*_to_*.safetensors"))
        if not found:
            raise UserError(f"{folder} is empty: name a model file, or another run")
        if direction is not None and direction not in found:
            raise UserError(f"{self.folder} has no model for {direction}: it has {' and '.join(found)}")
        return folder / f"{direction or found[0]}.safetensors"

    def read_json(self, path: Path) -> dict[str, Any]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f"{path} is damaged: it holds no settings")
        return values

    def sessions(self) -> list[dict[str, Any]]:
        """The facts of each session so far, from environment.json; empty where it is missing or damaged."""
        with contextlib.suppress(UserError):
            sessions = self.read_json(self.environment_file).get("sessions")
            return [facts for facts in sessions if isinstance(facts, dict)] if isinstance(sessions, list) else []
        return []

    def write_json(self, path: Path, values: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(values, indent=2) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one for each report."""
        return _rows(self.metrics_file)

    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of evaluations.jsonl: `{"step", "best": {"name", "features", "value", "better"}, "figures": {direction: [figure, ...]}}`."""
        return [row for row in _rows(self.evaluations_file) if _is_evaluation(row)]

    def append_metrics(self, row: dict[str, Any]) -> None:
        _append(self.metrics_file, row)

    def append_evaluation(self, row: dict[str, Any]) -> None:
        _append(self.evaluations_file, row)

    def rewind(self, step: int) -> None:
        """Forgets rows, samples, checkpoints and models from after `step`, which a continued training makes again."""
        for file in (self.metrics_file, self.evaluations_file):
            if file.is_file():
                rows = [row for row in _rows(file) if row["step"] <= step]
                write_atomically(file, "".join(json.dumps(row) + "\n" for row in rows))
        for later in self.samples():
            if later > step:
                self.sample_file(later).unlink()
        for later in self.checkpoints():
            if later > step:
                self._remove_checkpoint(later)
        for later in self.models():
            if later > step:
                shutil.rmtree(self.model_folder(later))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training into this run meanwhile; the lock of a process that dies is gone with it.

        Raises:
            UserError: If another one does so now. (Where the system has no such locks, nothing is kept.)
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".lock"
        with path.open("w") as file:
            with contextlib.suppress(ImportError):
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UserError(f"another process is training into {self.folder}: wait for it, or choose another --run") from None
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def set_aside(self, step: int) -> None:
        """Renames a damaged checkpoint, so that it no longer counts but is not lost."""
        path = self.checkpoint_file(step)
        path.replace(path.with_name(f"{path.name}.damaged"))

    def keep_newest(self, count: int, every: int | None = None) -> None:
        """Removes all but the newest checkpoints and models without one; the best models stay, and those of a multiple of `every`."""
        best = self.best()
        for step in self.checkpoints()[:-count]:
            self._remove_checkpoint(step)
        stay = {*self.checkpoints(), best["step"] if best else None}
        for step in self.models():
            if (not every or step % every) and step not in stay:
                shutil.rmtree(self.model_folder(step))

    def _remove_checkpoint(self, step: int) -> None:
        self.checkpoint_file(step).unlink()
        for path in (self.folder / "checkpoints").glob(f"{step}.rank*.safetensors"):
            path.unlink()


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, each with a step; lines that are none, such as one that a killed process left half-written, are passed over."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def _measure(row: dict[str, Any]) -> tuple[str, str]:
    """By what an evaluation says which models are the best: the figure, and the features that it stands on."""
    return row["best"]["name"], row["best"].get("features", "")


def _is_evaluation(row: dict[str, Any]) -> bool:
    """Whether a row is whole: such files are edited by hand too."""
    best, figures = row.get("best"), row.get("figures")
    if not isinstance(best, dict) or not isinstance(best.get("name"), str) or best.get("better") not in ("lower", "higher"):
        return False
    if not isinstance(best.get("value"), (int, float)) or not math.isfinite(best["value"]) or not isinstance(figures, dict):
        return False
    return all(
        isinstance(each, list) and all(isinstance(one, dict) and "name" in one and "value" in one for one in each) for each in figures.values()
    )


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _is_step(name: str) -> bool:
    return name.isdecimal() and name == str(int(name))


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file aside and renames it, so that it is old or new and never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
