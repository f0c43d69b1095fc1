"""Every command and the Python code in the README runs, with a smaller size of the job."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.test_cli import TINY
from transmute.cli import run_command
from transmute.cli.junyanz import run_test_py, run_train_py

SMALL = shlex.split(
    "--ngf 2 --ndf 2 --netG resnet_6blocks --netD pixel --crop_size 16 --n_epochs 1 "
    "--n_epochs_decay 0 --gpu_ids -1"
)
ROOT = Path(__file__).parents[1]
BENCH = ["--repeats", "1"]
BLOCKS = re.findall(
    r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.strip()
]
PYTHON = "\n".join(block for language, block in BLOCKS if language == "python")


def test_the_setup_commands_are_targets_of_the_makefile() -> None:
    setup = [command for command in COMMANDS if not command.startswith("transmute")]
    assert setup == ["make demo", "make test"]
    if shutil.which("make"):
        for command in setup:
            words = [*command.split(), "--dry-run"]
            subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


def prepare(folder: Path, animals: Path) -> None:
    """Writes what a reader of the README would have: data sets, folders, pairs and an image."""
    for name in ("horse2zebra", "photos"):
        shutil.copytree(animals, folder / name)
    for domain in "AB":  # a kernel distance takes four held-out images
        for image in (folder / "horse2zebra" / f"train{domain}").glob("*.png"):
            shutil.copy(image, folder / "horse2zebra" / f"test{domain}" / f"more-{image.name}")
    shutil.copytree(animals / "trainA", folder / "summer")
    shutil.copytree(animals / "trainB", folder / "winter")
    for phase in ("train", "test"):
        (folder / "facades" / phase).mkdir(parents=True)
        for index in range(2):
            image = Image.effect_noise((40, 20), 50 + index)
            image.save(folder / "facades" / phase / f"{index}.jpg")
    shutil.copy(animals / "testA" / "0000.png", folder / "horse.jpg")


def smaller(words: list[str]) -> list[str]:
    """A command with flags that make it fast."""
    flags = dict(zip(TINY[::2], TINY[1::2], strict=True))
    if words[0] == "bench":
        return [*words, *TINY, *BENCH]
    if words[0] == "demo":
        return [*words, "--quick"]
    if words[0] != "train":
        return words
    if "pix2pix" in words:
        del flags["--method.generator.blocks"]
        flags["--method.generator.depth"] = "3"
    if "--from" in words:  # the networks are given
        flags = {flag: value for flag, value in flags.items() if not flag.startswith("--method")}
    own = {word for word in words if word.startswith("--")} - {"--steps"}
    added = [(flag, value) for flag, value in flags.items() if flag not in own]
    return [*words, *(word for pair in added for word in pair)]


def test_every_transmute_command_of_the_readme_runs(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, animals)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSMUTE_HOME", str(tmp_path / "home"))
    commands = [command for command in COMMANDS if command.startswith("transmute")]
    assert len(commands) >= 12
    for command in commands:
        program, *words = shlex.split(command)
        if program == "transmute-train":
            status = run_train_py([*words, *SMALL])
        elif program == "transmute-test":
            status = run_test_py([*words, "--crop_size", "16"])
        else:
            status = run_command(smaller(words))
        assert status == 0, command


def test_the_python_code_of_the_readme_runs(animals: Path, tmp_path: Path) -> None:
    prepare(tmp_path, animals)
    code = PYTHON.replace("size=128, steps=20000", "size=32, steps=2")
    assert code != PYTHON
    generator = "from transmute.config.networks import ResNetConfig\n"
    method = "from transmute.config.methods import CycleGANConfig\n"
    tiny = "method=CycleGANConfig(generator=ResNetConfig(width=2, blocks=1))"
    code = generator + method + code.replace("size=32", f"{tiny}, size=32")
    (tmp_path / "code.py").write_text(code, encoding="utf-8")
    subprocess.run([sys.executable, "code.py"], check=True, cwd=tmp_path)
    assert (tmp_path / "zebra.png").is_file()
