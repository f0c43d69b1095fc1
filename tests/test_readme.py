"""Every command in the README is run, as it stands there but for the size of the job."""

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
from transmute.cli.junyanz import test_as_they_do as run_their_test
from transmute.cli.junyanz import train_as_they_do

SMALL = [
    "--ngf",
    "2",
    "--ndf",
    "2",
    "--netG",
    "resnet_6blocks",
    "--netD",
    "pixel",
    "--crop_size",
    "16",
    "--n_epochs",
    "1",
    "--n_epochs_decay",
    "0",
    "--gpu_ids",
    "-1",
]
ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for language, block in BLOCKS if language == "bash" for line in block.splitlines() if line.strip()]
PYTHON = "\n".join(block for language, block in BLOCKS if language == "python")


def test_the_set_up_commands_are_two_targets_of_the_makefile() -> None:
    set_up = [command for command in COMMANDS if not command.startswith("transmute")]
    assert set_up == ["make demo", "make test"]
    for command in set_up:
        if shutil.which("make"):
            subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_every_transmute_command_and_the_python_of_the_readme_run(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that holds what a reader would have: horse2zebra, two folders, pairs, and pictures."""
    for name in ("horse2zebra", "photos"):
        shutil.copytree(animals, tmp_path / name)
    for domain in "AB":  # a kernel distance takes four held-out pictures
        for picture in (tmp_path / "horse2zebra" / f"train{domain}").glob("*.png"):
            shutil.copy(picture, tmp_path / "horse2zebra" / f"test{domain}" / f"more-{picture.name}")
    shutil.copytree(animals / "trainA", tmp_path / "summer")
    shutil.copytree(animals / "trainB", tmp_path / "winter")
    for phase in ("train", "test"):
        (tmp_path / "facades" / phase).mkdir(parents=True)
        for index in range(2):
            Image.effect_noise((40, 20), 50 + index).save(tmp_path / "facades" / phase / f"{index}.jpg")
    shutil.copy(animals / "testA" / "0000.png", tmp_path / "horse.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSMUTE_HOME", str(tmp_path / "home"))
    commands = [command for command in COMMANDS if command.startswith("transmute")]
    assert len(commands) >= 12
    for command in commands:
        program, *words = shlex.split(command)
        if program == "transmute-train":
            assert train_as_they_do([*words, *SMALL]) == 0, command
            continue
        if program == "transmute-test":
            assert run_their_test([*words, "--crop_size", "16"]) == 0, command
            continue
        if words[0] == "train":
            small = [*TINY, "--method.generator.depth", "3"] if "pix2pix" in words else TINY
            skipped = {"--method.generator.blocks": 2} if "pix2pix" in words else {}
            small = [word for place, word in enumerate(small) if word not in skipped and (place == 0 or small[place - 1] not in skipped)]
            if "--from" in words:  # whose networks it takes
                small = [*TINY[:4], "--device", "cpu"]
            given = {word for word in words if word.startswith("--")}
            words += [
                word for flag, value in zip(small[::2], small[1::2], strict=True) if flag not in given or flag == "--steps" for word in (flag, value)
            ]
        if words[0] == "bench":
            words += [*TINY, "--pairs", "1"]
        if words[0] == "demo":
            words.append("--quick")
        assert run_command(words) == 0, command
    code = PYTHON.replace("size=128, steps=20000", "size=32, steps=2")
    assert code != PYTHON
    recipe = "RECIPES['cyclegan'].replace(method=RECIPES['cyclegan'].method.replace(generator=ResNetConfig(width=2, blocks=1)))"
    imports = "from transmute.recipes import RECIPES\nfrom transmute.networks.config import ResNetConfig\n"
    (tmp_path / "code.py").write_text(imports + code.replace("size=32", f"recipe={recipe}, size=32"))
    subprocess.run([sys.executable, "code.py"], check=True, cwd=tmp_path)
    assert (tmp_path / "zebra.png").is_file()
