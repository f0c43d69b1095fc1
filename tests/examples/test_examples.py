"""The commands of docs/scientific.md run, and write what the page promises."""

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
import tifffile

from transmute.cli import run_command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scientific.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SMALL = shlex.split(
    "--steps 2 --size 16 --method.generator.width 2 --method.discriminator.width 2 --device cpu "
    "--precision float32"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def output_of(example: str) -> str:
    """Runs the commands of one example on few images with two steps, and returns their output."""
    printed = []
    for command in COMMANDS:
        program, *words = shlex.split(command)
        if f"runs/{example}" not in command and f"examples/{example}.py" not in command:
            continue
        if program == "transmute":
            assert run_command([*words, *SMALL] if words[0] == "train" else words) == 0, command
            continue
        few = ["--train", "3", "--test", "2", "--size", "32"] if "make" in words else []
        words = [sys.executable, *words, *few]
        printed.append(subprocess.check_output(words, encoding="utf-8"))
    return "".join(printed)


def images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


def test_the_spectral_example_writes_and_scores_six_channels_of_16_bits(folder: Path) -> None:
    output = output_of("spectral")
    assert re.findall(r"(?m)^(\w+)\b.* dB$", output) == ["inputs", "inputs", "translations"]
    for name in ("trainA", "trainB", "testA", "testB", "truthB"):
        count = 3 if "train" in name else 2
        assert len(images_in(folder / "spectral" / name)) == count
    results = images_in(folder / "spectral-translated")
    assert [path.name for path in results] == ["0000.tif", "0001.tif"]
    for path in results:
        values = tifffile.imread(path)
        assert (values.shape, values.dtype) == ((32, 32, 6), np.uint16)
        # The second sensor's levels in blue: the first's are under 1,500.
        assert values[:, :, 0].min() > 1500


def test_the_ct_example_reads_its_own_format_and_writes_float_arrays_in_the_other_range(
    folder: Path,
) -> None:
    output = output_of("ct")
    assert re.findall(r"(?m)^(\w+)\b.* dB$", output) == ["inputs", "inputs", "translations"]
    assert {path.suffix for path in images_in(folder / "ct" / "trainA")} == {".raw"}
    results = images_in(folder / "ct-translated")
    assert [path.name for path in results] == ["0000.npy", "0001.npy"]
    for path in results:
        values = np.load(path)
        assert (values.shape[:2], values.dtype) == ((32, 32), np.float32)
        assert values.min() >= -10  # not Hounsfield units: air is 0
        assert 500 < values.max() < 1000
    stored = json.loads((folder / "runs" / "ct" / "recipe.json").read_text(encoding="utf-8"))
    found = stored["preprocess"]["range_a"]
    assert (found["low"], found["high"], found["origin"]) == ([-1000], [1000], "set")


def test_a_perfect_translation_has_no_error(folder: Path) -> None:
    few = ["--train", "1", "--test", "1", "--size", "16"]
    for example, kind in (("spectral", "*.tif"), ("ct", "*.raw")):
        script = [sys.executable, f"examples/{example}.py"]
        subprocess.run([*script, "make", "data", *few], check=True)
        perfect = folder / f"perfect-{example}"
        perfect.mkdir()
        for path in (folder / "data" / "truthB").glob(kind):
            if example == "spectral":
                shutil.copy(path, perfect)
            else:
                values = np.fromfile(path, "<f4", offset=8).reshape(16, 16)
                np.save(perfect / f"{path.stem}.npy", values)
        output = subprocess.check_output(
            [*script, "score", "data", str(perfect)], encoding="utf-8", stderr=subprocess.DEVNULL
        )
        assert output.splitlines()[-1].split()[-2:] == ["inf", "dB"]
