"""Training in two processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD
from tests.training.runs import RECIPE, TRAINING, assert_same, command, config, rows
from transmute.errors import RankError, UserError
from transmute.run import Run
from transmute.training.processes import launch, process_group
from transmute.training.train import train
from transmute.weights import load_tensors


@pytest.mark.slow
def test_two_processes_resume_from_a_checkpoint_that_is_complete_on_both(
    animals: Path, tmp_path: Path
) -> None:
    """Covers rank state: image histories, dropout, batch norm, loss averages, and blur kernels."""
    generator = TINY_CYCLEGAN_METHOD.generator.replace(
        norm="batch", dropout=True, upsampling="antialiased", downsampling="antialiased"
    )
    recipe = TINY_CYCLEGAN.replace(method=RECIPE.method.replace(generator=generator), steps=6)
    settings = config(animals, tmp_path / "whole", recipe, devices=2, report_every=4, save_every=3)
    subprocess.run(command(settings), check=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    damaged = Run(tmp_path / "again").checkpoint_file(6, rank=1)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    result = subprocess.run(
        command(settings.replace(run=tmp_path / "again")),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "checkpoint 6 is unusable (on another rank)" in result.stdout
    assert "resumed at step 3 of 6" in result.stdout
    assert_same(tmp_path / "whole", tmp_path / "again")
    (expected, _), (found, _) = (
        load_tensors(Run(tmp_path / name).checkpoint_file(6, rank=1)) for name in ("whole", "again")
    )
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []


def is_dead_bias(key: str) -> bool:
    """Whether an instance norm follows, which cancels the bias.

    Its gradient is rounding error, which Adam scales up to full steps.
    """
    last = {"a_to_b": 18, "b_to_a": 18, "score_a": 5, "score_b": 5}
    _, network, _, *place, kind = key.split(".")
    first_of_discriminator = network.startswith("score") and place == ["0"]
    return kind == "bias" and not first_of_discriminator and place != [str(last[network])]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["--devices", "torchrun"])
def test_two_processes_with_half_the_batch_equal_one_with_the_whole(
    animals: Path, tmp_path: Path, launcher: str
) -> None:
    recipe = TINY_CYCLEGAN.replace(method=TINY_CYCLEGAN_METHOD.replace(history=0), steps=4)
    train(config(animals, tmp_path / "one", recipe))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if launcher == "torchrun":
        script = tmp_path / "script.py"
        script.write_text(TRAINING, encoding="utf-8")
        starter = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            str(script),
        ]
        arguments = [*starter, config(animals, tmp_path / "two", recipe).model_dump_json()]
    else:
        arguments = command(config(animals, tmp_path / "two", recipe, devices=2))
    result = subprocess.run(
        arguments, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 0, result.stderr
    (expected, _), (found, header) = (
        load_tensors(Run(tmp_path / name).checkpoint_file(4)) for name in ("one", "two")
    )
    assert header["processes"] == 2
    compared = [
        key
        for key in expected
        if key.startswith("method.") and "past" not in key and not is_dead_bias(key)
    ]
    assert len(compared) > 20
    for key in compared:
        assert (found[key] - expected[key]).abs().max() <= 1e-6, key
    for ours, theirs in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5)


@pytest.mark.slow
def test_two_processes_print_an_error_as_one_sentence(animals: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        str(animals),
        "--run",
        str(tmp_path / "run"),
        "--devices",
        "2",
        "--batch",
        "3",
        "--device",
        "cpu",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "transmute", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 2
    assert re.fullmatch(
        r"transmute: a batch of 3 cannot be divided among 2 processes.*\n", result.stderr
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_a_process_is_raised_by_the_function_that_started_it(
    animals: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="a batch of 3 cannot be divided among 2 processes"):
        train(config(animals, tmp_path, TINY_CYCLEGAN.replace(batch=3), devices=2))


def fail_on_one_rank(failing: int, error: Exception) -> None:
    with process_group("cpu") as processes:
        if processes.rank == failing:
            raise error
        processes.barrier()


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize(
    "error", [RankError("3.png is damaged"), PermissionError(13, "denied", "3.png")]
)
def test_an_error_of_one_process_is_raised_although_the_others_lose_their_connection(
    failing: int, error: Exception
) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))):
        launch(fail_on_one_rank, (failing, error), 2)


def test_several_processes_are_refused_on_windows(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(UserError, match="Set `devices=1`, or use WSL 2"):
        train(config(animals, tmp_path / "run", devices=2))
    assert not (tmp_path / "run").exists()
