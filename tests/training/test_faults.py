"""Faults of disks, workers and images during training, after which runs resume exactly."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import RECIPE, config, rows
from transmute.config.data import SourceConfig
from transmute.config.metrics import MetricsConfig
from transmute.errors import UserError
from transmute.files import FileError, write_text
from transmute.run import Run
from transmute.training.train import train
from transmute.weights import load_tensors

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="uses signals and limits of Linux")


class At:
    """Does something once, after a step."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.step, self.action = step, action

    def after_step(self, run: Run, step: int) -> None:
        if step == self.step:
            self.action()

    def after_report(self, run: Run, row: dict[str, Any]) -> None:
        pass

    def after_save(self, run: Run, step: int) -> None:
        pass


@pytest.fixture
def data(animals: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to be damaged."""
    return shutil.copytree(animals, tmp_path / "animals")


def images(data: Path) -> list[Path]:
    return sorted(data.glob("train*/*.png"))


def assert_same_end(data: Path, run: Path) -> None:
    """Checks that a run of 30 steps ends with the checkpoint of an uninterrupted one."""
    whole = run.with_name("whole")
    train(config(data, whole, RECIPE.replace(steps=30), save_every=1000))
    (expected, _), (found, _) = (load_tensors(Run(one).checkpoint_file(30)) for one in (whole, run))
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert rows(whole) == rows(run)


def replace_all(data: Path, change: Callable[[Path], object]) -> None:
    for path in images(data):
        path.unlink()
        change(path)


@LINUX
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_ends_or_stops_is_one_sentence_and_the_run_resumes_exactly(
    stop: int, data: Path, tmp_path: Path
) -> None:
    def signal_workers() -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, stop)

    # Workers load up to four batches ahead, so that only a longer run notices.
    recipe = RECIPE.replace(steps=30)
    settings = config(data, tmp_path / "run", recipe, data=SourceConfig(workers=1, timeout=3))
    with pytest.raises(UserError, match="a process that loads images was killed, or loaded no"):
        train(settings, At(3, signal_workers))
    assert not multiprocessing.active_children()
    train(config(data, tmp_path / "run", recipe))
    assert_same_end(data, tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.write_bytes(b"\x89PNG"), "is not an image"),
        (lambda path: path.symlink_to(path.name), "cannot be read"),
        (lambda path: os.mkfifo(path), "is not a regular file"),
    ],
    ids=["deleted", "folder", "truncated", "loop", "pipe"],
)
def test_an_image_that_changes_ends_training_after_the_last_step_is_saved(
    change: Callable[[Path], object],
    message: str,
    workers: int,
    data: Path,
    animals: Path,
    tmp_path: Path,
) -> None:
    if sys.platform == "win32" and message in ("is not a regular file", "cannot be read"):
        pytest.skip("Windows has no such files")
    recipe = RECIPE.replace(steps=30)
    source = SourceConfig(workers=workers)
    settings = config(data, tmp_path / "run", recipe, save_every=1000, data=source)
    with pytest.raises(UserError, match=rf"train[AB].\d+\.png {message}"):
        train(settings, At(3, lambda: replace_all(data, change)))
    assert Run(tmp_path / "run").checkpoints()[-1] >= 3
    shutil.rmtree(data)
    shutil.copytree(animals, data)
    train(config(data, tmp_path / "run", recipe, save_every=1000))
    assert_same_end(data, tmp_path / "run")


@LINUX
def test_a_run_folder_that_is_removed_is_an_error_and_is_not_created_again(
    animals: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileError, match=r"run.* was removed or renamed"):
        train(config(animals, run), At(5, lambda: subprocess.run(["rm", "-r", run], check=True)))
    assert not run.exists()


@LINUX
def test_a_file_that_cannot_grow_is_named_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    import resource

    path, before = tmp_path / "it.txt", resource.getrlimit(resource.RLIMIT_FSIZE)
    write_text(path, "old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(FileError, match=r"it\.txt cannot be written: it would exceed"):
            write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.read_text(encoding="utf-8") for one in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"the disk is full: [\d.]+ MiB of .* are free\. Free space, then run the"),
        (errno.EROFS, "its file system is read-only. Choose another folder"),
        (errno.EACCES, "permission is denied. Change the permissions"),
        (errno.ENOENT, "was removed or renamed"),
    ],
)
def test_errors_of_the_file_system_name_the_file_and_what_to_do(
    number: int, message: str, tmp_path: Path
) -> None:
    from transmute.files import writing

    with (
        pytest.raises(FileError, match=f"it.txt cannot be written: .*{message}"),
        writing(tmp_path / "it.txt"),
    ):
        raise OSError(number, "reason")
    with pytest.raises(OSError, match="other"), writing(tmp_path / "it.txt"):
        raise OSError(number, "reason", "/other/file")
    with pytest.raises(ConnectionError), writing(tmp_path / "it.txt"):
        raise ConnectionResetError


def test_files_that_a_killed_process_left_are_removed(
    finished: Path, animals: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    left = [run / ".0123abcd.part.html", run / "samples" / ".0123abcd.part.png"]
    left += [run / "checkpoints" / ".0123abcd.part.safetensors", run / ".0123abcd.part.json"]
    for path in left:
        path.write_bytes(b"half")
    (run / "models" / ".part").mkdir()
    kept = run / ".notes.part.txt"
    kept.write_bytes(b"of a user")
    train(config(animals, run))
    assert not any(path.exists() for path in (*left, run / "models" / ".part"))
    assert kept.exists()


class Killed(BaseException):
    """Ends a training run as abruptly as a signal."""


@pytest.mark.parametrize("target", ["checkpoint.save_tensors", "checkpoint.ModelWriter.write"])
def test_a_run_that_dies_around_its_first_evaluation_repeats_nothing(
    target: str, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(
        animals,
        tmp_path / "run",
        evaluate_every=2,
        metrics=MetricsConfig(features="texture", lpips="none"),
        best="cycle",
    )

    def die(*arguments: object, **named: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"transmute.training.{target}", die)
        with pytest.raises(Killed):
            train(settings)
    train(settings)
    steps = [row["step"] for row in Run(tmp_path / "run").evaluations()]
    assert steps == [0, 2, 4, 6, 8]


def test_a_run_that_died_before_it_removed_old_checkpoints_removes_them(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object, **named: object) -> None:
        raise Killed

    train(config(animals, tmp_path / "run", RECIPE.replace(steps=6), save_every=3))
    with monkeypatch.context() as patch:
        patch.setattr("transmute.run.Run.keep_newest", die)
        with pytest.raises(Killed):
            train(config(animals, tmp_path / "run", save_every=2, extend=True))
    train(config(animals, tmp_path / "run", save_every=2, extend=True))
    assert len(Run(tmp_path / "run").checkpoints()) == 2


def test_a_disk_without_space_for_a_checkpoint_is_refused_before_the_first_step(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"is too full: .* needs up to [\d.]+ MiB, and 0\.0 MiB"):
        train(config(animals, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
