"""`transmute train` and `transmute recipes`, and the flags that choose a recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from transmute import plugins
from transmute.cli.parsing import (
    Arguments,
    Flag,
    as_flags,
    flags_of,
    known_flags,
    parse,
    split_flags,
)
from transmute.config.base import Argument, Kind, Settings
from transmute.config.networks import HeadsConfig, NetworkConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.recipes import DESCRIPTIONS, RECIPES, recipe_from, with_kinds

if TYPE_CHECKING:
    from transmute.training.train import AfterSave

CHOOSING = (
    Flag(
        setting="method",
        name="--method",
        metavar="NAME",
        value=None,
        help="Recipe or method: a name listed by 'transmute recipes', or FILE.py:NAME (default: "
        "cyclegan).",
    ),
    Flag("recipe", "--recipe", "NAME", None, "Same as --method."),
    Flag("config", "--config", "FILE", None, "YAML file of settings, such as a run's recipe.json."),
)
"""Flags that choose the recipe. Other flags change its settings."""

GROUPS = {
    "data": "DATA --data.a --data.b --data.swap --data.skip-bad",
    "run": "--run --extend --from",
    "recipe": "--method --config --size --batch --epochs --steps --optimizer.lr",
    "output and evaluation": "--save-every --sample-every --evaluate-every --best --patience --log "
    "--images --pairs --repeats --json",
    "hardware": "--device --devices --precision --compile",
}
"""The flags that `--help` lists by title, if the command has them."""


def train(argv: list[str], after_save: AfterSave | None = None) -> int:
    """Trains or resumes a run with the recipe that the flags choose and change.

    Args:
        argv: The arguments after the command.
        after_save: See `transmute.training.train.train`.
    """
    summary = "Trains a translator between two domains of images, or resumes training."
    config = parse_with_recipe(TrainConfig, argv, "train", summary)

    from transmute.api import with_run_folder
    from transmute.evaluation import Evaluator
    from transmute.training.train import train as train_with

    show = partial(as_flags, known=known_flags.get())
    config = with_run_folder(config)
    if stopped_by := train_with(config, after_save, Evaluator, show):
        return 128 + stopped_by
    if os.environ.get("RANK", "0") == "0":
        best = " (add --step best for the best models)" if config.evaluate_every else ""
        print(f"use it: transmute translate IMAGES --model {config.run}{best}")
    return 0


def parse_with_recipe(
    settings: type[Arguments], argv: Sequence[str], command: str, summary: str | None = None
) -> Arguments:
    """Parses a command line whose flags choose a recipe and change its settings.

    Args:
        settings: Class of the command's settings, with a field `recipe`.
        argv: The arguments after the command.
        command: Name of the command.
        summary: First paragraph of the help. By default, the docstring of the settings.
    """
    flags = [*flags_of(settings()), *CHOOSING]
    known_flags.set({flag.setting: flag.name for flag in flags})
    chosen, rest = split_flags(argv, CHOOSING)
    if {"method", "recipe"} <= chosen.keys():
        raise UserError("`method` and `recipe` both choose a recipe. Use only one of them")
    method = chosen.get("method", chosen.get("recipe"))
    config = Path(chosen["config"]) if chosen.get("config") else None
    early, _ = split_flags(rest, [flag for flag in flags if flag.setting == "start"])
    if early.get("start"):
        recipe = _recipe_like(Path(early["start"]), method, config, rest)
    else:
        recipe = recipe_from(method, config)
    # A new kind may have settings that are kinds, too.
    while (kinds := split_flags(rest, _kind_flags(recipe)))[0]:
        recipe, rest = with_kinds(recipe, kinds[0]), kinds[1]
    # The first one is --method, which the help lists on its own.
    kinds = [flag.name for flag in _kind_flags(recipe) if not flag.name.endswith(".init")]
    return parse(
        settings,
        rest,
        command,
        default=settings.model_construct(recipe=recipe),
        description=summary,
        epilog=f"Networks, losses and schedules: {', '.join(kinds[1:])}, each with a name or "
        "FILE.py:NAME. --help-all lists all flags.",
        groups=GROUPS,
        extra_flags=CHOOSING,
    )


def _kind_flags(recipe: Recipe) -> list[Flag]:
    return [flag for flag in flags_of(recipe) if isinstance(flag.value, Kind)]


def _recipe_like(
    start: Path, method: str | None, config: Path | None, argv: Sequence[str]
) -> Recipe:
    """Returns a recipe with the networks of a run, model file or folder.

    Args:
        start: The run, file or folder.
        method, config: As for `recipe_from`. By default, the method of the networks.
        argv: Arguments, including the flags of user-defined config classes.
    """
    from transmute.translation.model import ModelCard, read_networks

    kinds, _ = split_flags(argv, _kind_flags(recipe_from()))
    custom = [
        type(plugins.load_class(name, NetworkConfig)())
        for name in kinds.values()
        if plugins.is_reference(name)
    ]
    cards = [saved.card for saved in read_networks(start, custom).values()]
    model = next((card for card in cards if isinstance(card, ModelCard)), None)
    if model is None:
        raise UserError(
            f"`start={start}` has no generator. Choose a run, model file or folder of them"
        )
    networks: dict[str, Any] = {"generator": model.generator, "direction": model.direction}
    for part in [card.network for card in cards if not isinstance(card, ModelCard)]:
        is_heads = isinstance(part, HeadsConfig)
        networks |= {"width": part.width} if is_heads else {"discriminator": part}
    recipe = recipe_from(method or (None if config else model.method), config)
    fields = type(recipe.method).model_fields
    changes = {"method": {name: value for name, value in networks.items() if name in fields}}
    if model.colors == "rgb":
        source, target = (f"channels_{domain}" for domain in model.direction.split("_to_"))
        changes["preprocess"] = {source: model.in_channels, target: model.out_channels}
    return recipe.updated(changes)


class RecipesArguments(Settings):
    """Lists the recipes, or prints one as YAML for transmute train --config."""

    name: Annotated[str | None, Argument("NAME", positional=True)] = None
    """Recipe to print. If omitted, all recipes are listed."""


def recipes(argv: list[str]) -> int:
    """Lists the recipes, or prints one."""
    import yaml

    name = parse(RecipesArguments, argv, "recipes").name
    if name is None:
        print("\n".join(f"{name:22} {text}" for name, text in DESCRIPTIONS.items()))
        print(
            "\ntransmute train DATA --recipe NAME trains with one of them.\n"
            "transmute recipes NAME prints its settings."
        )
    elif name in RECIPES:
        print(yaml.safe_dump(RECIPES[name].model_dump(mode="json"), sort_keys=False), end="")
    else:
        raise UserError(f"unknown recipe {name!r}. Choose one of: {', '.join(RECIPES)}")
    return 0
