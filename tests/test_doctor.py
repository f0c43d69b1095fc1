from __future__ import annotations

import json
from collections import namedtuple

import pytest
import torch

from transmute.cli import run_command
from transmute.doctor import check_disk, check_step, check_torch

Usage = namedtuple("Usage", "total used free")


def test_this_machine_is_healthy(capsys: pytest.CaptureFixture) -> None:
    assert run_command(["doctor"]) == 0
    said = capsys.readouterr().out
    for part in ("torch", "training step", "disk", "open files", "tensorboard", "feature networks"):
        assert part in said
    assert said.endswith("healthy\n")
    assert "BAD" not in said


def test_an_ill_machine_has_another_exit_status_and_hears_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(100, 99, 1))
    assert run_command(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "free some space" in said
    assert "not healthy: disk" in said
    assert run_command(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is False
    assert {check["name"] for check in told["checks"] if check["well"] is False} >= {"disk"}


def test_a_training_step_that_goes_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_step(torch.device("cpu")).well
    right = torch.nn.functional.instance_norm
    monkeypatch.setattr(
        "torch.nn.functional.instance_norm", lambda x, *rest, **named: right(x, *rest, **named) * (1 if x.dtype == torch.float64 else 0.5)
    )
    assert not check_step(torch.device("cpu")).well


def test_it_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_step(torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("version", "well"), [("2.7.1+cu118", False), ("2.8.0", True), ("2.13.0+cpu", True), ("2.14.0", False), ("3.0.0", False)])
def test_versions_of_torch(monkeypatch: pytest.MonkeyPatch, version: str, well: bool) -> None:
    monkeypatch.setattr("torch.__version__", version)
    assert check_torch().well is well


def test_a_folder_that_is_not_there_yet_lies_on_a_disk(tmp_path) -> None:
    assert str(tmp_path) in check_disk(tmp_path / "new" / "runs").found
