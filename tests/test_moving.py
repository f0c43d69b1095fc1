"""docs/moving.md lists all options of the other tools, and names no unknown flag or recipe."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from transmute.cli.data import CheckCommand
from transmute.cli.models import ExportCommand, ImportCommand, PullCommand
from transmute.cli.translate import TranslateCommand
from transmute.config.base import Kind
from transmute.config.training import TrainConfig
from transmute.interop.options import OLD_FLAGS, OPTIONS, parse
from transmute.recipes import RECIPES

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
