from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from transmute.errors import UserError
from transmute.files import write_text
from transmute.images.encode import save_image
from transmute.run import Run

LOCK = """
import os, sys
from pathlib import Path
from transmute.errors import UserError
from transmute.run import Run
try:
    with Run(Path(sys.argv[1])).locked():
        os._exit(9)
except UserError:
    os._exit(3)
"""
"""A script that ends without cleaning up: with 9 if it got the lock, else with 3."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for step in (5, 10, 15):
        run.append(run.metrics_file, {"step": step})
        save_image(Image.new("RGB", (2, 2)), run.sample_file(step))
        for path in (
            run.checkpoint_file(step),
            run.checkpoint_file(step, 1),
            run.model_folder(step) / "a_to_b.safetensors",
        ):
            write_text(path, "x")
    return run


def test_steps_are_sorted_as_numbers_and_other_files_are_ignored(run: Run) -> None:
    write_text(run.folder / "checkpoints" / ".20.safetensors.part", "x")
    write_text(run.folder / "models" / ".part" / "a_to_b.safetensors", "x")
    write_text(run.folder / "samples" / "notes.png", "x")
    assert run.checkpoints() == run.models() == run.samples() == [5, 10, 15]
    assert run.models_at().name == "15"


def test_rewinding_removes_later_rows_and_files(run: Run) -> None:
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write('{"step": 20, "half')
    write_text(run.folder / "checkpoints" / ".0123abcd.part.safetensors", "x")
    run.rewind(10)
    assert run.checkpoints() == run.models() == run.samples() == [5, 10]
    assert len(list((run.folder / "checkpoints").iterdir())) == 4
    assert run.metrics_file.read_text(encoding="utf-8") == '{"step": 5}\n{"step": 10}\n'
    assert not run.checkpoint_file(15, 1).exists()


def test_old_checkpoints_and_their_models_are_removed(run: Run) -> None:
    run.keep_newest(2)
    assert run.checkpoints() == run.models() == [10, 15]
    assert not run.checkpoint_file(5, 1).exists()
    assert run.samples() == [5, 10, 15]


def test_only_one_process_can_lock_a_run(run: Run) -> None:
    with run.locked():
        with (
            pytest.raises(UserError, match="another process is training into"),
            Run(run.folder).locked(),
        ):
            pass
        with ThreadPoolExecutor() as threads:
            error = threads.submit(run.locked().__enter__).exception()
        assert isinstance(error, UserError)
        process = subprocess.run([sys.executable, "-c", LOCK, str(run.folder)], check=False)
        assert process.returncode == 3
    with run.locked():
        pass


def test_the_lock_of_a_killed_process_is_released(run: Run) -> None:
    command = [sys.executable, "-c", LOCK, str(run.folder)]
    assert subprocess.run(command, check=False).returncode == 9
    with run.locked():
        pass


def test_an_error_under_the_lock_is_not_taken_for_a_held_lock(run: Run) -> None:
    with pytest.raises(TimeoutError, match="mine"), run.locked():
        raise TimeoutError("mine")
    with run.locked():
        pass


@pytest.mark.parametrize(
    "row",
    [
        '{"step": 1}',
        '{"step": 1, "best": {"name": "fid", "better": "lower"}, "metrics": {}}',
        '{"step": 1, "best": {"name": "fid", "value": NaN, "better": "lower"}, "metrics": {}}',
        '{"step": 1, "best": {"name": "fid", "value": 2, "better": "less"}, "metrics": {}}',
        '{"step": 1, "best": {"name": "fid", "value": 2, "better": "lower"}, "metrics": []}',
        '{"step": 1, "best": {"name": "x", "value": 2, "better": "lower"}, "metrics": {"a": [1]}}',
        "[1]",
        '{"step": 1, "best',
    ],
)
def test_damaged_evaluations_are_ignored(run: Run, row: str) -> None:
    best = {"name": "fid", "value": 2.0, "better": "lower"}
    whole = {"step": 5, "best": best, "metrics": {"a_to_b": [{"name": "fid", "value": 2.0}]}}
    write_text(run.evaluations_file, f"{row}\n{json.dumps(whole)}\n")
    assert run.evaluations() == [whole]


def test_a_damaged_file_is_a_user_error(run: Run) -> None:
    write_text(run.recipe_file, "{")
    with pytest.raises(UserError, match=r"recipe\.json is not a valid JSON file: Expecting"):
        run.recipe()


def test_the_best_models_are_kept_until_the_run_is_rewound(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, value in ((1, 5.0), (2, 1.0), (3, 4.0), (4, 3.0)):
        run.model_folder(step).mkdir(parents=True)
        run.append(
            run.evaluations_file,
            {
                "step": step,
                "best": {"name": "kid", "features": "texture", "value": value, "better": "lower"},
                "metrics": {},
            },
        )
        run.keep_newest(1)
        best = run.best()
        assert best is not None
        assert best["step"] == (1 if step == 1 else 2)
    assert run.models() == [2]
    assert run.models_at("best") == run.model_folder(2)
    run.rewind(1)
    assert run.best() is None
