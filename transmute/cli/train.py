"""`transmute train`, whose flags are the settings of a recipe that other flags choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from transmute.cli.parsing import parsed, taken
from transmute.settings import Settings, UserError, merged

if TYPE_CHECKING:
    from transmute.training.config import Recipe
    from transmute.training.train import AfterSave


def train(arguments: list[str], after_save: AfterSave | None = None) -> int:
    """Reads the flags of `transmute train` over the recipe that they choose, and trains.

    Args:
        after_save: See `transmute.training.train.train`.
    """
    from transmute.training.config import TrainConfig

    rest, recipe, choices = chosen_recipe(arguments)
    config = parsed(
        TrainConfig, rest, "train", description=f"Trains a translator between two domains of pictures. {choices}", default=TrainConfig(recipe=recipe)
    )

    from transmute.evaluation import Evaluator
    from transmute.training.train import train as train_with

    stopped_by = train_with(config.with_run(), after_save, Evaluator)
    return 128 + stopped_by if stopped_by else 0


def chosen_recipe(arguments: list[str]) -> tuple[list[str], Recipe, str]:
    """The recipe that the arguments choose, the arguments that are left to be laid over it, and a text on what can be chosen."""
    from transmute.recipes import RECIPES, recipe_from

    rest, file, _ = taken(arguments, "--config")
    rest, method, _ = taken(rest, "--method")
    rest, named, _ = taken(rest, "--recipe")
    if method and named:
        raise UserError(f"--method {method} and --recipe {named} both choose a recipe: give one of them")
    method = method or named
    _, start, _ = taken(rest, "--from")
    recipe = _as_in(Path(start), method, Path(file) if file else None) if start else recipe_from(method, Path(file) if file else None)
    changed = True
    while changed:  # choosing one kind may bring settings that have kinds of their own
        changed = False
        for place in kinds(recipe.model_dump()):
            rest, kind, given = taken(rest, f"--{place}")
            if given:
                recipe, changed = recipe_from(recipe.method.name, None, nested(recipe.model_dump(), place, kind)), True
    if any(word.split("=")[0] == "--steps" for word in rest) and any(word.split("=")[0] == "--epochs" for word in rest):
        raise UserError("give the length either in --steps or in --epochs, not in both")
    if any(word.split("=")[0] == "--epochs" for word in rest):
        recipe = recipe.replace(steps=None)
    places = "; ".join(f"--{place} KIND" for place in kinds(recipe.model_dump()))
    return (
        rest,
        recipe,
        (
            f"--method NAME (or --recipe NAME) chooses {' or '.join(RECIPES)}; --config FILE lays a YAML file (or a run's recipe.json) over it; "
            f"these choose another kind, whose settings --help then shows: {places}."
        ),
    )


def _as_in(start: Path, method: str | None, file: Path | None) -> Recipe:
    """The recipe whose networks are those of a run, a model file or a folder of them."""
    from transmute.recipes import RECIPES, recipe_from
    from transmute.translation.model import ModelCard, read_networks

    cards = [saved.card for saved in read_networks(start).values()]
    model = next((card for card in cards if isinstance(card, ModelCard)), None)
    if model is None:
        raise UserError(f"{start} holds no generator to start from: name a run, a model file, or a folder of them")
    networks: dict[str, Any] = {"generator": model.generator.model_dump()}
    for card in cards:
        if not isinstance(card, ModelCard):
            networks |= {"width": card.network.width} if card.part == "heads" else {"discriminator": card.network.model_dump()}
    recipe = recipe_from(method or (None if file else model.method), file)
    if "direction" in type(recipe.method).model_fields:
        networks["direction"] = model.direction
    known = {key: value for key, value in networks.items() if key in type(recipe.method).model_fields}
    source, target = model.direction.split("_to_")
    channels = {} if model.colors == "lab" else {f"channels_{source}": model.in_channels, f"channels_{target}": model.out_channels}
    name = next(name for name, one in RECIPES.items() if one.method.name == recipe.method.name)
    return recipe_from(name, None, merged(recipe.model_dump(), {"method": known, "preprocess": channels}))


class RecipesArguments(Settings):
    """Lists the named recipes, or prints one as YAML, for --config."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Recipe to print; None lists all."""


def recipes(arguments: list[str]) -> int:
    """Lists the recipes or prints one."""
    name = parsed(RecipesArguments, arguments, "recipes").name

    import yaml
    from rich.console import Console
    from rich.table import Table

    from transmute.recipes import ABOUT, RECIPES

    if name is not None:
        if name not in RECIPES:
            raise UserError(f"there is no recipe {name!r}: choose {' or '.join(RECIPES)}")
        print(yaml.safe_dump(RECIPES[name].model_dump(mode="json"), sort_keys=False), end="")
        return 0
    table = Table("recipe", "what it is", box=None, pad_edge=False)
    for known in RECIPES:
        table.add_row(known, ABOUT[known])
    Console(highlight=False).print(table)
    print("\ntransmute train DATA --recipe NAME trains by one; transmute recipes NAME prints it")
    return 0


def kinds(values: dict[str, Any], place: str = "") -> list[str]:
    """The places in nested settings where another kind can be chosen by name, outermost first."""
    found = [place] if place not in ("", "method") and "name" in values else []
    return found + [one for key, value in values.items() if isinstance(value, dict) for one in kinds(value, f"{place}.{key}" if place else key)]


def nested(values: dict[str, Any], place: str, kind: str) -> dict[str, Any]:
    """The values with only the kind's name at a place: its settings are that kind's defaults."""
    key, _, below = place.partition(".")
    return values | {key: nested(values[key], below, kind) if below else {"name": kind}}
