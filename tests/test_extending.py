"""The code and the commands of docs/extending.md run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transmute
from tests.test_cli import TINY
from transmute import plugins
from transmute.cli import run_command
from transmute.errors import UserError
from transmute.run import Run
from transmute.weights import load_tensors

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
METHOD, PYTHON, GENERATOR, READER, METRIC = (code for kind, code in BLOCKS if kind == "python")
COMMANDS = [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()]


@pytest.fixture
def folder(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files of the page, and with data."""
    files = {"distancegan": METHOD, "convnet": GENERATOR, "reader": READER, "metric": METRIC}
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    shutil.copytree(animals, tmp_path / "horse2zebra")
    for path in (tmp_path / "horse2zebra").rglob("*.png"):  # KID needs four held-out images
        if path.parent.name.startswith("test"):
            for copy in "ab":
                shutil.copy(path, path.with_name(f"{path.stem}{copy}.png"))
    for path in animals.glob("train*/*.png"):
        target = tmp_path / "arrays" / path.parent.name / f"{path.stem}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.asarray(Image.open(path)))
    shutil.copy(animals / "testA" / "0000.png", tmp_path / "horse.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(words: list[str], steps: int = 2) -> list[str]:
    """A training command for a tiny training."""
    flags = dict(zip(TINY[::2], TINY[1::2], strict=True)) | {"--steps": str(steps)}
    if any("convnet" in word for word in words):
        del flags["--method.generator.blocks"]
    given = {word for word in words if word.startswith("--")}
    return words + [
        word for flag, value in flags.items() if flag not in given for word in (flag, value)
    ]


def test_the_method_has_fewer_than_60_lines() -> None:
    assert len(METHOD.splitlines()) < 60


def test_every_command_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[-1] == "--help-all":
            with pytest.raises(SystemExit) as left:
                run_command(words)
            assert left.value.code == 0
            assert "--method.distance" in capsys.readouterr().out
        else:
            assert run_command(small(words) if words[0] == "train" else words) == 0, command
    recipe = Run(Path("runs/distance")).recipe()
    assert (recipe["method"]["name"], recipe["method"]["distance"]) == ("distancegan", 5.0)
    assert "distance" in Run(Path("runs/distance")).metrics()[-1]
    assert "brightness_gap" in capsys.readouterr().out


def test_an_outside_method_resumes_to_the_weights_of_an_uninterrupted_run(folder: Path) -> None:
    def train(run: str, steps: int, *extra: str) -> None:
        words = ["train", "horse2zebra", "--method", "distancegan.py:DistanceGANConfig"]
        words += ["--run", run, "--schedule", "constant", "--save-every", "2", *extra]
        assert run_command(small(words, steps)) == 0

    train("whole", 4)
    train("parts", 2)
    train("parts", 4, "--extend")
    whole, parts = (
        load_tensors(Run(Path(run)).checkpoint_file(4))[0] for run in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all((value == parts[key]).all() for key, value in whole.items())


@pytest.mark.slow
def test_an_outside_method_trains_in_two_processes(folder: Path) -> None:
    words = ["train", "horse2zebra", "--method", "distancegan.py:DistanceGANConfig"]
    words = small([*words, "--run", "two", "--devices", "2"])
    subprocess.run([sys.executable, "-m", "transmute", *words], check=True)
    assert Run(Path("two")).checkpoints() == [2]


def test_an_outside_method_trains_from_yaml_and_from_python(folder: Path) -> None:
    method = "{name: distancegan.py:DistanceGANConfig, distance: 5}"
    (folder / "mine.yaml").write_text(f"method: {method}\n", encoding="utf-8")
    assert run_command(small(["train", "horse2zebra", "--config", "mine.yaml", "--run", "y"])) == 0
    config = plugins.load("distancegan.py:DistanceGANConfig")
    tiny = {
        "generator": {"name": "resnet", "width": 2, "blocks": 1},
        "discriminator": {"name": "patchgan", "width": 2, "layers": 1},
    }
    settings = {"size": 16, "steps": 2, "batch": 2, "device": "cpu", "precision": "float32"}
    run = transmute.train("horse2zebra", method=config(distance=5, **tiny), run="p", **settings)
    assert run.checkpoints() == [2]
    weights = [load_tensors(Run(Path(name)).models_at() / "a_to_b.safetensors")[0] for name in "yp"]
    assert all((value == weights[1][key]).all() for key, value in weights[0].items())
    (folder / "code.py").write_text(
        PYTHON.replace('run="runs/python")', 'run="q", size="no")'), encoding="utf-8"
    )
    result = subprocess.run(
        [sys.executable, "code.py"], capture_output=True, encoding="utf-8", check=False
    )
    assert "a size is N or WIDTHxHEIGHT" in result.stderr


def test_a_model_of_an_outside_generator_is_evaluated_but_not_exported(folder: Path) -> None:
    words = ["train", "horse2zebra", "--method.generator", "convnet.py:ConvNetConfig"]
    assert run_command(small([*words, "--run", "run"])) == 0
    words = ["evaluate", "--model", "run", "--data", "horse2zebra", "--features", "texture"]
    assert run_command([*words, "--generator", "convnet.py:ConvNetConfig"]) == 0
    for path in ("run", "run/models"):
        with pytest.raises(UserError, match=r"'convnet', .* it cannot be exported"):
            transmute.export(path, "theirs", format="safetensors")
    assert not (folder / "theirs").exists()


def test_neither_a_model_file_nor_a_run_imports_code(folder: Path) -> None:
    words = ["train", "horse2zebra", "--method.generator", "convnet.py:ConvNetConfig"]
    assert run_command(small([*words, "--run", "run"])) == 0
    marker = folder / "imported"
    (folder / "convnet.py").write_text(f"open({str(marker)!r}, 'w')\n{GENERATOR}", encoding="utf-8")
    with pytest.raises(UserError, match=r"convnet.*generator=FILE\.py:NAME"):
        run_command(["translate", "horse.jpg", "--model", "run"])
    recipe = folder / "run" / "recipe.json"
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace('"cyclegan"', '"convnet.py:ConvNetConfig"'),
        encoding="utf-8",
    )
    with pytest.raises(UserError, match="cannot load code"):
        run_command(["train", "horse2zebra", "--config", str(recipe), "--run", "other"])
    assert not marker.exists()


def test_an_outside_generator_is_evaluated_only_if_its_file_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "horse2zebra", "--method.generator", "convnet.py:ConvNetConfig"]
    assert run_command(small([*words, "--run", "run"])) == 0
    words = shlex.split("evaluate --model run --data horse2zebra --features texture --json")
    with pytest.raises(UserError, match=r"convnet.*generator=FILE\.py:NAME"):
        run_command(words)
    with pytest.raises(UserError, match="`generator` need a `model`"):
        run_command(shlex.split("evaluate --real a --fake b --generator convnet.py:ConvNetConfig"))
    capsys.readouterr()
    assert run_command([*words, "--generator", "convnet.py:ConvNetConfig"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    names = {way: {row["name"] for row in rows} for way, rows in metrics.items()}
    assert names == {way: {"fid", "kid", "cycle"} for way in ("a_to_b", "b_to_a")}
