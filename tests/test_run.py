from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from transmute.images import save_picture
from transmute.run import Run, write_atomically
from transmute.settings import UserError


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    for step in (5, 10, 15):
        run.append_metrics({"step": step})
        save_picture(Image.new("RGB", (2, 2)), run.sample_file(step))
        for path in (run.checkpoint_file(step), run.checkpoint_file(step, 1), run.model_folder(step) / "a_to_b.safetensors"):
            write_atomically(path, "x")
    return run


def test_steps_are_sorted_as_numbers_and_other_files_do_not_count(run: Run) -> None:
    write_atomically(run.folder / "checkpoints" / ".20.safetensors.part", "x")
    write_atomically(run.folder / "models" / ".part" / "a_to_b.safetensors", "x")
    write_atomically(run.folder / "samples" / "notes.png", "x")
    assert run.checkpoints() == run.models() == run.samples() == [5, 10, 15]
    assert run.model_file().parent.name == "15"


def test_rewinding_forgets_what_came_after(run: Run) -> None:
    with run.metrics_file.open("a") as file:
        file.write('{"step": 20, "half')
    run.rewind(10)
    assert run.checkpoints() == run.models() == run.samples() == [5, 10]
    assert run.metrics_file.read_text() == '{"step": 5}\n{"step": 10}\n'
    assert not run.checkpoint_file(15, 1).exists()


def test_only_the_newest_are_kept(run: Run) -> None:
    run.keep_newest(2)
    assert run.checkpoints() == run.models() == [10, 15]
    assert not run.checkpoint_file(5, 1).exists()
    assert run.samples() == [5, 10, 15]


def test_a_run_is_locked_while_a_process_trains_into_it(run: Run) -> None:
    pytest.importorskip("fcntl")
    with run.locked(), pytest.raises(UserError, match="another process is training into"), Run(run.folder).locked():
        pass
    with run.locked():
        pass
    assert not (run.folder / ".lock").exists()


def test_a_file_that_cannot_be_read_is_one_sentence(run: Run) -> None:
    write_atomically(run.recipe_file, "{")
    with pytest.raises(UserError, match=r"cannot read .*recipe\.json"):
        run.read_json(run.recipe_file)


def test_the_best_models_stay_whatever_comes_after(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, value in ((1, 5.0), (2, 1.0), (3, 4.0), (4, 3.0)):
        run.model_folder(step).mkdir(parents=True)
        run.append_evaluation({"step": step, "best": {"name": "kid", "features": "texture", "value": value, "better": "lower"}, "figures": {}})
        run.keep_newest(1)
        best = run.best()
        assert best is not None
        assert best["step"] == (1 if step == 1 else 2)
    assert run.models() == [2]
    assert run.models_at("best") == run.model_folder(2)
    run.rewind(1)
    assert run.best() is None
