"""docs/moving.md leaves out no option of the other tools, and names no flag or recipe that is not here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from transmute.cli.data import CheckArguments
from transmute.cli.models import ExportArguments, ImportArguments
from transmute.cli.pull import PullArguments, PullDataArguments
from transmute.cli.translate import TranslateArguments
from transmute.interop.options import OLD_FLAGS, OPTIONS, parse
from transmute.recipes import RECIPES
from transmute.training.config import TrainConfig

PAGE = (Path(__file__).parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", PAGE))
LINES = [line.strip() for block in re.findall(r"(?ms)^ *```bash\n(.*?)^ *```", PAGE) for line in block.splitlines()]
COMMANDS: dict[str, type[BaseModel]] = {"train": TrainConfig, "translate": TranslateArguments, "import": ImportArguments, "export": ExportArguments}
COMMANDS |= {"pull": PullArguments, "data pull": PullDataArguments, "data check": CheckArguments}


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    own = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return own + [found for part in get_args(annotation) for found in settings_in(part)]


def flags(settings: type[BaseModel], place: str = "--") -> Iterator[str]:
    """All that a command may take, of all kinds."""
    for name, field in settings.model_fields.items():
        below = settings_in(field.annotation)
        here = f"{place}{'from' if name == 'start' else name}".replace("_", "-")
        if not below or any("name" in one.model_fields for one in below):
            yield here
        if field.annotation is bool:
            yield f"{place}no-{name}".replace("_", "-")
        for one in below:
            yield from flags(one, "--" if name == "recipe" else f"{here}.")


LEGAL = {name: set(flags(settings)) for name, settings in COMMANDS.items()}
LEGAL["train"] |= {"--recipe", "--config"}
ROWS = [row.split("|") for row in PAGE.splitlines() if row.startswith("|")]
IN_TRANSMUTE = [span for row in ROWS if len(row) == 6 for span in re.findall("`([^`]+)`", row[3])]


def unknown(text: str, command: str | None = None) -> list[str]:
    """The flags in a text that are none of its command's, or of any command where it has none."""
    command = next((name for name in COMMANDS if text.startswith(f"transmute {name}")), command)
    return sorted(set(re.findall(r"(?<!\S)--[\w.-]+", text)) - (LEGAL[command] if command else set[str]().union(*LEGAL.values())))


@pytest.mark.parametrize("name", sorted({*OPTIONS, *OLD_FLAGS, *(option.old_name for option in OPTIONS.values() if option.old_name)}))
def test_every_option_of_the_other_tools_is_named(name: str) -> None:
    assert {name, f"--{name}"} & set(SPANS)


def test_every_flag_of_transmute_that_is_named_exists() -> None:
    assert len(set(IN_TRANSMUTE)) > 60
    assert [span for span in IN_TRANSMUTE if unknown(span, "train")] == []
    assert [text for text in LINES + SPANS if re.match(r"--[a-z]+[.-]|transmute ", text) and unknown(text)] == []


def test_every_command_line_of_that_tool_is_understood() -> None:
    commands = [shlex.split(line) for line in LINES if line.startswith("transmute-")]
    assert len(commands) >= 3
    assert all(parse(words[1:], test=words[0] == "transmute-test").given for words in commands)  # what is unknown raises


def test_every_recipe_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:--recipe|transmute recipes) ([\w-]+)", PAGE))
    named |= set(re.findall("`([^`]+)`", " ".join(re.findall(r"(?s)The recipes are (.*?)\.\s", PAGE))))
    assert named - RECIPES.keys() == set()
    assert {"cut", "fastcut", "pytorch-gan", "pytorch-gan-pix2pix", "mmgeneration", "mmgeneration-pix2pix"} <= named
