"""Differences between systems: encodings, start methods, file names, missing programs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transmute.run import Run
from transmute.weights import load_tensors

TINY = shlex.split(
    "--size 16 --steps 2 --batch 2 --method.generator.width 2 --method.generator.blocks 6 "
    "--method.discriminator.width 2 --method.discriminator.layers 1 --device cpu "
    "--precision float32"
)
TEXTURE = ("--metrics.features", "texture", "--best", "fid")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def transmute(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs the command line in another process, whose output is bytes."""
    command = [sys.executable, "-m", "transmute", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, check=False
    )


@pytest.fixture
def chinese(animals: Path, tmp_path: Path) -> Path:
    """A data set in a folder whose name cp1252 and ASCII cannot encode."""
    folder = tmp_path / "数据集"
    shutil.copytree(animals, folder)
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "cp936", "ascii"])
def test_messages_print_to_streams_of_any_encoding(
    chinese: Path, tmp_path: Path, encoding: str
) -> None:
    finished = transmute(
        "train", chinese.name, "--run", "运行", *TINY, cwd=tmp_path, PYTHONIOENCODING=encoding
    )
    assert finished.returncode == 0, finished.stderr
    assert Run(tmp_path / "运行").models() == [2]
    output = finished.stdout.decode(encoding)
    shown = "数据集".encode(encoding, "backslashreplace").decode(encoding)
    assert shown in output
    for arguments in (("data", "check", chinese.name), ("recipes",), ("--help",)):
        finished = transmute(*arguments, cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert finished.returncode == 0, finished.stderr
    failed = transmute("train", "没有", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert failed.returncode == 2
    assert b"Traceback" not in failed.stderr


SPAWN = """
import multiprocessing
import sys

import torch
from transmute.cli import run_command

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    torch.set_num_threads(1)
    sys.exit(run_command(sys.argv[1:]))
"""


def test_workers_that_are_spawned_load_the_same_images(animals: Path, tmp_path: Path) -> None:
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN, encoding="utf-8")
    weights = {}
    for workers in (0, 2):
        run = tmp_path / f"run{workers}"
        arguments = ["train", animals, "--run", run, *TINY, "--data.workers", str(workers)]
        subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
        weights[workers], _ = load_tensors(Run(run).checkpoint_file(2))
    assert weights[0].keys() == weights[2].keys()
    assert all(weights[0][name].equal(weights[2][name]) for name in weights[0])


def test_training_needs_no_git_home_make_or_compiler(animals: Path, tmp_path: Path) -> None:
    needed = {name: os.environ[name] for name in ("PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    command = [sys.executable, "-m", "transmute", "train", str(animals), "--run", "run", *TINY]
    finished = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "OMP_NUM_THREADS": "1", **needed},
        capture_output=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    run = Run(tmp_path / "run")
    assert run.sessions()[0]["commit"] is None


def test_all_file_names_are_allowed_on_windows(animals: Path, tmp_path: Path) -> None:
    for side in "AB":
        shutil.copytree(animals / f"train{side}", tmp_path / "data" / f"train{side}")
    for arguments in (
        ("train", animals, "--run", "run", *TINY, "--evaluate-every", "2", *TEXTURE),
        ("translate", animals / "testA", "--model", "run", "--out", "out"),
        ("export", "run", "--out", "exported"),
        ("import", "exported", "--out", "imported"),
        ("report", "run", "--out", "report.html"),
        ("data", "split", "data", "--out", "split", "--test", "0.4"),
    ):
        finished = transmute(*arguments, cwd=tmp_path, OMP_NUM_THREADS="1")
        assert finished.returncode == 0, finished.stderr
    paths = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert {path.parts[0] for path in paths} >= {"run", "out", "exported", "imported", "split"}
    for path in paths:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', str(path)), path
        assert not any(part.endswith((" ", ".")) or RESERVED.match(part) for part in path.parts)
        assert len(str(path)) <= 100  # Windows allows 260 in all
    folded = [str(path).casefold() for path in paths]
    assert len(folded) == len(set(folded))  # names differ on a case-insensitive file system too
