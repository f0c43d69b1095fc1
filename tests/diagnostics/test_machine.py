from __future__ import annotations

import json
from collections import namedtuple

import pytest
import torch

from transmute.cli import run_command
from transmute.cli.checks import check_resources, check_software, check_step
from transmute.gpu import GPU, Build

Usage = namedtuple("Usage", "total used free")


def test_this_machine_is_healthy(capsys: pytest.CaptureFixture) -> None:
    assert run_command(["doctor"]) == 0
    output = capsys.readouterr().out
    for part in ("torch", "training step", "disk", "open files", "tensorboard", "feature networks"):
        assert part in output
    assert output.endswith("healthy\n")
    assert "BAD" not in output


def test_a_full_disk_gives_exit_status_1_and_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(100, 99, 1))
    assert run_command(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "Free some space" in output
    assert "not healthy: disk" in output
    assert run_command(["doctor", "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["healthy"] is False
    assert {check["name"] for check in values["checks"] if check["ok"] is False} >= {"disk"}


def test_a_gpu_that_is_not_used_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    gpu = GPU("NVIDIA GeForce RTX 3060", driver="535.183.01", capability=(8, 6))
    monkeypatch.setattr("transmute.cli.checks.find_gpu", lambda: gpu)
    monkeypatch.setattr("transmute.cli.checks.Build.installed", lambda: Build("2.13.0+cpu"))
    assert run_command(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "GPU: NVIDIA GeForce RTX 3060 is not used, because torch 2.13.0+cpu is built" in output
    assert "--index-url https://download.pytorch.org/whl/cu126\n" in output
    assert output.endswith("not healthy: GPU\n")


def test_a_wrong_training_step_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_step(torch.device("cpu")).ok
    correct = torch.nn.functional.instance_norm
    monkeypatch.setattr(
        "torch.nn.functional.instance_norm",
        lambda x, *rest, **named: (
            correct(x, *rest, **named) * (1 if x.dtype == torch.float64 else 0.5)
        ),
    )
    assert not check_step(torch.device("cpu")).ok


def test_the_training_check_does_not_change_the_random_state() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_step(torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("version", "ok"),
    [
        ("2.7.1+cu118", False),
        ("2.8.0", True),
        ("2.13.0+cpu", True),
        ("2.14.0", False),
        ("3.0.0", False),
    ],
)
def test_only_tested_versions_of_torch_are_ok(
    monkeypatch: pytest.MonkeyPatch, version: str, ok: bool
) -> None:
    monkeypatch.setattr("torch.__version__", version)
    assert check_software()[-1].ok is ok


def test_the_disk_of_a_folder_that_does_not_exist_yet_is_found(tmp_path) -> None:
    assert str(tmp_path) in next(check_resources(tmp_path / "new" / "runs")).result
