"""docs/moving.md lists all options of the other tools, and names no unknown flag or recipe."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from transmute.cli import run_command
from transmute.cli.data import CheckCommand
from transmute.cli.models import ExportCommand, ImportCommand, PullCommand
from transmute.cli.runs import TrainCommand
from transmute.cli.translate import TranslateCommand
from transmute.config.base import Kind
from transmute.config.methods import CycleGANConfig
from transmute.config.networks import ResNetConfig
from transmute.config.training import TrainConfig
from transmute.interop.options import OLD_FLAGS, OPTIONS, parse
from transmute.recipes import RECIPES
from transmute.run import Run
from transmute.training.schedule import learning_rate_factor

PAGE = (Path(__file__).parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", PAGE))
LINES = [
    line.strip()
    for block in re.findall(r"(?ms)^ *```bash\n(.*?)^ *```", PAGE)
    for line in block.splitlines()
]
COMMANDS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "translate": TranslateCommand,
    "import": ImportCommand,
    "export": ExportCommand,
}
COMMANDS |= {"pull": PullCommand, "data pull": PullCommand, "data check": CheckCommand}


def with_subclasses(settings: type[BaseModel]) -> list[type[BaseModel]]:
    return [settings, *(c for sub in settings.__subclasses__() for c in with_subclasses(sub))]


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    """All classes of settings that a field may hold, including every kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return with_subclasses(annotation) if issubclass(annotation, Kind) else [annotation]
    return [found for part in get_args(annotation) for found in settings_in(part)]


def flags(settings: type[BaseModel], prefix: str = "--") -> Iterator[str]:
    """All flags of a command, including those of every kind."""
    for name, field in settings.model_fields.items():
        below = settings_in(field.annotation)
        flag = f"{prefix}{'from' if name == 'start' else name}".replace("_", "-")
        if not below or any(issubclass(kind, Kind) for kind in below):
            yield flag
        if field.annotation is bool:
            yield f"{prefix}no-{name}".replace("_", "-")
        for kind in below:
            yield from flags(kind, "--" if name == "recipe" else f"{flag}.")


LEGAL = {name: set(flags(settings)) for name, settings in COMMANDS.items()}
LEGAL["train"] |= {"--recipe", "--config"}
ROWS = [row.split("|") for row in PAGE.splitlines() if row.startswith("|")]
IN_TRANSMUTE = [span for row in ROWS if len(row) == 6 for span in re.findall("`([^`]+)`", row[3])]


def unknown(text: str, command: str | None = None) -> list[str]:
    """The flags in a text that its command does not have, or no command if it names none."""
    command = next((name for name in COMMANDS if text.startswith(f"transmute {name}")), command)
    return sorted(
        set(re.findall(r"(?<!\S)--[\w.-]+", text))
        - (LEGAL[command] if command else set[str]().union(*LEGAL.values()))
    )


@pytest.mark.parametrize(
    "name",
    sorted(
        {*OPTIONS, *OLD_FLAGS, *(option.old_name for option in OPTIONS.values() if option.old_name)}
    ),
)
def test_every_option_of_the_other_tools_is_named(name: str) -> None:
    assert {name, f"--{name}"} & set(SPANS)


@pytest.mark.parametrize(
    "name", sorted(name for name, option in OPTIONS.items() if option.settings)
)
def test_every_option_is_listed_with_the_settings_that_it_changes(name: str) -> None:
    listed = {
        flag for row in ROWS if f"`--{name}`" in row[1] for flag in re.findall("`([^`]+)`", row[3])
    }
    settings = OPTIONS[name].settings.replace("_", "-").split()
    assert {f"--{setting.removesuffix('.name')}" for setting in settings} <= {
        flag.replace("--method.no-identity", "--method.identity") for flag in listed
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_the_page_and_the_help_name_the_same_equivalent(name: str) -> None:
    cell = next(row[3].strip() for row in ROWS if f"`--{name}`" in row[1])
    assert cell.replace("`", "") == (OPTIONS[name].transmute or "–")


def test_every_flag_of_transmute_that_is_named_exists() -> None:
    assert len(set(IN_TRANSMUTE)) > 60
    assert [span for span in IN_TRANSMUTE if unknown(span, "train")] == []
    assert [
        text
        for text in LINES + SPANS
        if re.match(r"--[a-z]+[.-]|transmute ", text) and unknown(text)
    ] == []


def test_every_command_line_of_that_tool_is_understood() -> None:
    module = "python -m transmute.cli.junyanz "
    assert any(line.startswith(module) for line in LINES)
    lines = [line.replace(module, "transmute-") for line in LINES]
    commands = [shlex.split(line) for line in lines if line.startswith("transmute-")]
    assert len(commands) >= 3
    assert all(
        parse(words[1:], test=words[0] == "transmute-test").given for words in commands
    )  # an unknown flag raises


def test_every_recipe_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:--recipe|transmute recipes) ([\w-]+)", PAGE))
    named |= set(
        re.findall("`([^`]+)`", " ".join(re.findall(r"(?s)The recipes are (.*?)\.\s", PAGE)))
    )
    assert named - RECIPES.keys() == set()
    assert {
        "cut",
        "fastcut",
        "pytorch-gan",
        "pytorch-gan-pix2pix",
        "mmgeneration",
        "mmgeneration-pix2pix",
    } <= named


TRAINING = {
    (row[1].strip(" `").split("`")[0].split("/")[-1].split()[-1]): row[2].strip(" `")
    for row in ROWS
    if re.search("cyclegan.py --dataset_name|configs/", row[1])
}
"""The commands for other tools' training, by their data set or config."""
SCHEDULES = {
    "cyclegan_lsgan_resnet_in_facades_b1x1_80k.py": (80_000, 40_000, 400),
    "cyclegan_lsgan_resnet_in_horse2zebra_b1x1_270k.py": (270_000, 135_000, 1350),
    "cyclegan_lsgan_resnet_in_summer2winter_b1x1_250k.py": (250_000, 125_000, 1250),
    "cyclegan_lsgan_resnet_in_facades_b1x1_80k_vangogh2photo.py": (80_000, 40_000, 400),
}
"""Steps, and the first step and the interval of the decay, in mmgeneration's configs."""
DATA_NAMES = ("facades", "horse2zebra", "summer2winter_yosemite", "vangogh2photo")


def trained_by(command: str) -> TrainCommand:
    program, name, *words = shlex.split(command)
    assert (program, name) == ("transmute", "train")
    return TrainCommand.parsed(words, name)


def test_every_training_of_the_other_tools_has_a_command() -> None:
    assert TRAINING.keys() == {*DATA_NAMES, *SCHEDULES}


@pytest.mark.parametrize("name", DATA_NAMES)
def test_the_command_for_cyclegan_py_trains_like_it(name: str) -> None:
    config = trained_by(TRAINING[name])
    recipe = config.recipe
    method, adam = recipe.method, recipe.optimizer
    assert config.folder == Path("data", name)
    assert (recipe.epochs, recipe.steps, recipe.batch, recipe.size) == (200, None, 1, "256x256")
    assert (adam.lr, adam.beta1, adam.beta2) == (0.0002, 0.5, 0.999)
    assert isinstance(method, CycleGANConfig)
    assert (method.gan, method.cycle_a, method.cycle_b) == (1 / 2, 10 / 2, 10 / 2)
    assert method.identity * method.cycle_a == 5 / 2
    assert (method.history, method.first, method.adversarial.name) == (
        50,
        "generators",
        "least-squares",
    )
    assert isinstance(method.generator, ResNetConfig)
    assert (method.generator.blocks, method.generator.upsampling) == (9, "nearest")
    assert [learning_rate_factor(recipe.schedule, epoch, 200) for epoch in range(200)] == [
        1 - max(0, epoch - 100) / (200 - 100) for epoch in range(200)
    ]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_command_for_a_config_of_mmgeneration_trains_like_it(name: str) -> None:
    steps, start, interval = SCHEDULES[name]
    recipe = trained_by(TRAINING[name]).recipe
    method, adam = recipe.method, recipe.optimizer
    assert (recipe.steps, recipe.batch, recipe.size) == (steps, 1, "256x256")
    assert recipe.preprocess.load_size in (None, "286x286")
    assert (adam.lr, adam.beta1, adam.beta2) == (0.0002, 0.5, 0.999)
    assert isinstance(method, CycleGANConfig)
    assert (method.gan, method.cycle_a, method.cycle_b) == (1, 10, 10)
    assert method.identity * method.cycle_a == 0.5
    assert (method.history, method.first, method.adversarial.name) == (
        50,
        "discriminators",
        "least-squares",
    )
    moments = [*range(0, steps, 50), *range(start, steps, interval), steps - 1]
    for step in moments:
        intervals = max(0, step - start) // interval
        assert learning_rate_factor(recipe.schedule, step, steps) == 1 - intervals / (
            (steps - start) // interval
        )
    without_identity = trained_by(f"{TRAINING[name]} --method.identity 0").recipe.method
    assert isinstance(without_identity, CycleGANConfig)
    assert without_identity.identity == 0


@pytest.mark.parametrize("name", [*DATA_NAMES, *SCHEDULES])
def test_the_commands_for_other_tools_training_run(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = trained_by(TRAINING[name])
    assert config.folder is not None
    assert config.run is not None
    if name in DATA_NAMES:  # PyTorch-GAN moves the folders of the data set
        for phase in ("train", "test"):
            for domain in "AB":
                shutil.copytree(animals / f"{phase}{domain}", config.folder / phase / domain)
    else:
        shutil.copytree(animals, config.folder)
    tiny = (
        "--steps 2 --size 32 --method.generator.width 2 --method.generator.blocks 1 "
        "--method.discriminator.width 2 --device cpu --precision float32"
    )
    assert run_command(shlex.split(f"{TRAINING[name]} {tiny}")[1:]) == 0
    assert max(Run(config.run).checkpoints()) == 2
