"""Runs that are killed, stopped or damaged, and then resumed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.runs import RECIPE, assert_same, command, config, rows
from transmute.errors import UserError
from transmute.run import Run
from transmute.training.train import train
from transmute.weights import load_tensors, save_tensors

ZERO = torch.zeros(())


def test_training_a_finished_run_only_adds_a_session_and_updates_the_page(
    finished: Path, animals: Path
) -> None:
    def contents() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for path in finished.rglob("*")
            if path.is_file() and path.name not in ("environment.json", "report.html")
        }

    before = contents()
    Run(finished).report_file.write_text('http-equiv="refresh"', encoding="utf-8")
    assert train(config(animals, finished)) is None
    assert contents() == before
    assert "refresh" not in Run(finished).report_file.read_text(encoding="utf-8")
    assert len(Run(finished).sessions()) == 2


class Killed(BaseException):
    """Ends a training run as abruptly as a signal, at a chosen moment."""


@pytest.mark.parametrize(
    "moment",
    [
        "step 1",
        "step 5",
        "save_tensors 1",
        "save_tensors 4",
        "save_tensors 6",
        "checkpoint 1",
        "checkpoint 3",
        "append 1",
        "save_image 2",
        "keep_newest 2",
    ],
)
def test_a_run_that_dies_at_any_moment_and_resumes_equals_an_uninterrupted_one(
    finished: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    what, number = moment.split()
    target = {
        "step": "transmute.training.trainer.Trainer.step",
        "save_tensors": "transmute.translation.model.save_tensors",
        "checkpoint": "transmute.training.checkpoint.save_tensors",
        "append": "transmute.run.Run.append",
        "save_image": "transmute.training.reporting.save_image",
        "keep_newest": "transmute.run.Run.keep_newest",
    }[what]
    calls = 0
    module, _, name = target.rpartition(".")
    owner = __import__("pkgutil").resolve_name(module)
    original = vars(owner)[name]

    def dying(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == int(number):
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            train(config(animals, tmp_path / "run"))
    train(config(animals, tmp_path / "run"))
    assert_same(finished, tmp_path / "run")


LONGER = RECIPE.replace(steps=60)


@pytest.fixture(scope="module")
def longer(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of sixty steps."""
    run = tmp_path_factory.mktemp("runs") / "longer"
    train(config(animals, run, LONGER))
    return run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.07, 0.2])
def test_a_run_killed_by_sigkill_and_resumed_equals_an_uninterrupted_one(
    longer: Path, animals: Path, tmp_path: Path, delay: float
) -> None:
    settings = config(animals, tmp_path / "run", LONGER)
    process = subprocess.Popen(command(settings), stdout=subprocess.DEVNULL)
    while not Run(tmp_path / "run").checkpoints() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    train(settings)
    assert_same(longer, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_exits_cleanly_and_resumes(
    animals: Path, tmp_path: Path, number: signal.Signals
) -> None:
    recipe = RECIPE.replace(steps=40)
    settings = config(animals, tmp_path / "run", recipe, save_every=1000)
    process = subprocess.Popen(
        command(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    while not Run(tmp_path / "run").metrics() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    out, error = process.communicate()
    assert process.returncode == 128 + number
    assert re.search(r"stopped at step \d+ of 40 and saved", out)
    assert error == ""
    train(settings)
    train(config(animals, tmp_path / "whole", recipe, save_every=1000))
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    (expected, _), (found, _) = (load_tensors(one.checkpoint_file(40)) for one in (whole, run))
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert rows(run.folder) == rows(whole.folder)


def test_a_damaged_checkpoint_is_reported_and_an_older_one_used(
    finished: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(animals, tmp_path / "run")
    train(settings)
    newest = Run(tmp_path / "run").checkpoint_file(8)
    newest.write_bytes(newest.read_bytes()[:-100])
    train(settings)
    said = capsys.readouterr().out
    assert re.search(
        r"checkpoint 8 is unusable \(.*8\.safetensors .*damaged.*; trying an older one", said
    )
    assert "resumed at step 6 of 8" in said
    assert_same(finished, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (".layers.1.weight", lambda tensors, name: tensors.pop(name), "lacks 1 of"),
        (".layers.1.weight", lambda tensors, name: tensors.update({name: ZERO}), r"shape \[\] of"),
        (".layers.1.weight", lambda tensors, name: tensors[name].fill_(torch.nan), "not finite"),
        (".exp_avg", lambda tensors, name: tensors.update({name: ZERO}), r"optimizer of .* shape"),
        (".exp_avg", lambda tensors, name: tensors.update({f"{name}_2": ZERO}), "optimizer of"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_networks_is_refused(
    name: str,
    change: Callable[[dict[str, torch.Tensor], str], object],
    message: str,
    finished: Path,
    animals: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = Run(tmp_path / "run").checkpoint_file(8)
    tensors, header = load_tensors(path)
    change(tensors, next(key for key in sorted(tensors) if key.endswith(name)))
    save_tensors(path, tensors, header)
    with pytest.raises(UserError, match=f"8.safetensors does not fit .*{message}.* Delete this"):
        train(config(animals, tmp_path / "run"))


@pytest.mark.parametrize("processes", [None, "two", 1])
def test_a_checkpoint_without_its_parts_is_unusable_and_an_older_one_is_used(
    processes: object,
    finished: Path,
    animals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = Run(tmp_path / "run").checkpoint_file(8)
    tensors, header = load_tensors(path)
    if processes == 1:
        del tensors["loss_count"]
    save_tensors(path, tensors, header | {"processes": processes})
    train(config(animals, tmp_path / "run"))
    assert "8.safetensors is not a checkpoint); trying an older" in capsys.readouterr().out
    assert_same(finished, tmp_path / "run")


def test_another_recipe_on_an_existing_run_is_an_error_that_lists_the_differences(
    finished: Path, animals: Path
) -> None:
    other = RECIPE.replace(batch=4, optimizer=RECIPE.optimizer.replace(lr=1e-3))
    with pytest.raises(UserError, match=r"batch: 2 -> 4; optimizer.lr: 0.0002 -> 0.001"):
        train(config(animals, finished, other))


def test_a_run_that_cannot_be_resumed_is_left_unchanged(
    animals: Path, tmp_path: Path, finished: Path
) -> None:
    def refused(name: str, message: str) -> None:
        before = sorted(path for path in (tmp_path / name).rglob("*"))
        with pytest.raises(UserError, match=message):
            train(config(animals, tmp_path / name))
        assert [
            path
            for path in before
            if path.exists() or path.with_name(f"{path.name}.damaged").exists()
        ] == before

    for name in ("damaged", "models", "recipe"):
        shutil.copytree(finished, tmp_path / name)
    for step in (6, 8):
        Run(tmp_path / "damaged").checkpoint_file(step).write_bytes(b"")
    shutil.rmtree(tmp_path / "models" / "checkpoints")
    (tmp_path / "recipe" / "recipe.json").unlink()
    refused("damaged", "its checkpoints are all damaged")
    refused("models", "it has models but no checkpoint")
    refused("recipe", "contains training files but no recipe.json, so it cannot be resumed")


def test_a_lost_environment_file_loses_nothing_else(
    finished: Path, animals: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "environment.json").unlink()
    train(config(animals, tmp_path / "run"))
    assert_same(finished, tmp_path / "run")


def test_a_truncated_last_row_of_metrics_is_ignored(
    finished: Path, animals: Path, tmp_path: Path
) -> None:
    settings = config(animals, tmp_path / "run")
    train(settings)
    for name in ("checkpoints", "models"):
        for path in (tmp_path / "run" / name).glob("8*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with (tmp_path / "run" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "pict')
    train(settings)
    assert_same(finished, tmp_path / "run")
