from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_CYCLEGAN
from transmute.config.training import TrainConfig
from transmute.run import Run
from transmute.training.train import train


def config(animals: Path, folder: Path, *log: Any) -> TrainConfig:
    recipe = TINY_CYCLEGAN.replace(steps=4)
    return TrainConfig(
        folder=animals,
        run=folder,
        recipe=recipe,
        device="cpu",
        report_every=2,
        sample_every=4,
        log=log,
    )


def test_tensorboard_receives_metrics_and_samples(animals: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config(animals, tmp_path / "run", "tensorboard"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rows = Run(tmp_path / "run").metrics()
    assert [(event.step, event.value) for event in events.Scalars("cycle_a")] == [
        (row["step"], pytest.approx(row["cycle_a"], rel=1e-6)) for row in rows
    ]
    assert [event.step for event in events.Images("samples")] == [0, 4]


def test_wandb_receives_metrics_and_samples(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(config(animals, tmp_path / "run", "wandb"))
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert "not used" not in capsys.readouterr().out


def test_a_failing_logger_is_reported_once_and_changes_nothing(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("tensorboard")

    def full(*_: object) -> None:
        raise OSError("no space left")

    train(config(animals, tmp_path / "without"))
    capsys.readouterr()
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    train(config(animals, tmp_path / "with", "tensorboard"))
    assert capsys.readouterr().out.count("tensorboard is not used from now on (no space left)") == 1
    models = [
        (Run(tmp_path / name).models_at() / "a_to_b.safetensors").read_bytes()
        for name in ("with", "without")
    ]
    assert models[0] == models[1]


def test_a_logger_that_is_not_installed_does_not_stop_training(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    train(config(animals, tmp_path / "run", "wandb"))
    assert (
        "wandb is not used from now on (not installed: pip install wandb)"
        in capsys.readouterr().out
    )
    assert Run(tmp_path / "run").metrics()[-1]["step"] == 4
