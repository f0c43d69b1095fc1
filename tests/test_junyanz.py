"""The commands transmute-train and transmute-test: their help, as modules, and GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from transmute.cli.junyanz import run_test_py, run_train_py
from transmute.cli.junyanz_help import help_text
from transmute.errors import UserError
from transmute.gpu import Build
from transmute.interop.options import MODEL_DEFAULTS, OLD_FLAGS, OPTIONS

RUN = {"train": run_train_py, "test": run_test_py}


def entries(command: str) -> dict[str, str]:
    """The explanations in the help, without line breaks, by flag."""
    found: dict[str, str] = {}
    for line in help_text(command).splitlines():
        if line.startswith("  --"):
            name = line.split()[0].rstrip(",")
            found[name] = line
        elif line.startswith("   "):
            name = list(found)[-1]
            found[name] += line
        else:
            continue
        found[name] = " ".join(found[name].split())
    return found


@pytest.mark.parametrize("command", ["train", "test"])
def test_help_explains_every_flag_with_default_and_equivalent(command: str, capsys) -> None:
    text = help_text(command)
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(SystemExit, match="0"):
        RUN[command](["--dataroot", "d", "--help"])
    assert capsys.readouterr().out == f"{text}\n"
    listed = entries(command)
    for name, option in OPTIONS.items():
        if option.group in ({"base", "train", "model"} if command == "train" else {"base", "test"}):
            entry = listed[f"--{name}"]
            assert option.meaning in entry
            assert "Default: " in entry or name == "dataroot"
            assert not option.old_name or f"--{option.old_name}" in entry
            assert option.transmute in entry or option.is_idle_in(f"{command}ing")
            assert ("No effect here" in entry) == option.is_idle_in(f"{command}ing")
        else:
            assert f"--{name}" in text or command == "train"
    assert all(f"--{flag}" in listed for flag in OLD_FLAGS)
    models = ["flags of cycle_gan", "flags of pix2pix and colorization", "flags of cut"]
    groups = ["train flags", *models] if command == "train" else ["test flags"]
    titles = [line[:-1] for line in text.splitlines() if line[:1] != " " and line[-1:] == ":"]
    assert titles == ["base flags", *groups, "flags of earlier versions"]


def test_every_meaning_is_a_sentence() -> None:
    meanings = [option.meaning for option in OPTIONS.values()]
    assert len(set(meanings)) == len(meanings)
    assert all(text[0].isupper() and len(text) > 8 and text[-1] not in ".," for text in meanings)


def test_help_names_the_defaults_of_models_that_differ() -> None:
    train, test = entries("train"), entries("test")
    for model, defaults in MODEL_DEFAULTS.items():
        for name in defaults:
            assert model in train[f"--{name}"] or model == "test"
    assert "Default: 100 (cut: 200; FastCUT: 150)" in train["--n_epochs"]
    assert "Default: off (cycle_gan, cut: on)" in train["--no_dropout"]
    assert "Default: train." in train["--phase"]
    assert "Default: test." in test["--phase"]
    assert "Default: --crop_size." in test["--load_size"]


@pytest.mark.parametrize("command", ["train", "test"])
def test_without_arguments_usage_is_short(command: str, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        RUN[command]([])
    assert capsys.readouterr().out == (
        f"usage: transmute-{command} --dataroot DIR [flags of {command}.py of "
        f"pytorch-CycleGAN-and-pix2pix]\ntransmute-{command} --help lists them\n"
    )


@pytest.mark.parametrize(
    ("words", "status", "start"),
    [
        ("train --help", 0, "usage: transmute-train --dataroot DIR"),
        ("test --help", 0, "usage: transmute-test --dataroot DIR"),
        (
            "train --dataroot none",
            2,
            "transmute: none is not a folder. Pass the folder of a data set, or two folders with "
            "transmute train --data.a",
        ),
        ("--dataroot none", 2, "transmute: usage: python -m transmute.cli.junyanz train|test"),
    ],
)
def test_both_commands_run_as_a_module(words: str, status: int, start: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "transmute.cli.junyanz", *words.split()],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == status, result.stderr
    assert (result.stderr or result.stdout).startswith(start)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_gpu_that_is_named_but_cannot_be_used_is_an_error(
    command: str, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("transmute.device.find_gpu", lambda: None)
    monkeypatch.setattr(Build, "installed", classmethod(lambda cls: Build("2.8.0+cpu")))
    message = (
        r"^--gpu_ids 0 is not possible \(-1 is the CPU\): `device=cuda` needs a GPU that torch can "
        r"use\. This machine has none"
    )
    with pytest.raises(UserError, match=message):
        RUN[command](["--dataroot", str(animals), "--gpu_ids", "0"])
    assert list(tmp_path.iterdir()) == []


def test_flags_that_only_training_reads_are_without_effect_in_testing(capsys) -> None:
    with pytest.raises(UserError, match="there is no"):
        run_test_py(["--dataroot", "d", "--lr", "1", "--ngf", "2", "--eval", "--lambda_A", "3"])
    assert "without effect here: --lambda_A --lr --ngf\n" in capsys.readouterr().out
