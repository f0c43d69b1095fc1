"""`transmute train`, `demo`, `recipes`, `report` and `watch`: training runs and their pages."""

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field

from transmute import plugins
from transmute.cli.parsing import Command, Flag, as_flags, flags_of, known_flags, say, split_flags
from transmute.config.base import Argument, Kind
from transmute.config.networks import HeadsConfig, NetworkConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.recipes import DESCRIPTIONS, recipe_from, with_kinds
from transmute.run import Run

if TYPE_CHECKING:
    from transmute.training.reporting import Observer

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
    "run": "--run --dry-run --extend --from",
    "recipe": "--method --config --size --batch --epochs --steps --optimizer.lr",
    "output and evaluation": "--save-every --sample-every --evaluate-every --best --patience --log "
    "--images --repeats --json",
    "hardware": "--device --devices --precision --compile",
}
"""The flags that `--help` lists by title, if the command has them."""


class RecipeCommand(Command):
    """Base of the commands with a field `recipe`, which flags choose and change."""

    @classmethod
    def parsed(cls, argv: Sequence[str], name: str) -> Self:
        flags = [*flags_of(cls()), *CHOOSING]
        known_flags.set({flag.setting: flag.name for flag in flags})
        chosen, rest = split_flags(argv, CHOOSING)
        if {"method", "recipe"} <= chosen.keys():
            raise UserError("`method` and `recipe` both choose a recipe. Use only one of them")
        method = chosen.get("method", chosen.get("recipe"))
        config = Path(chosen["config"]) if "config" in chosen else None
        early, _ = split_flags(rest, [flag for flag in flags if flag.setting == "start"])
        if start := early.get("start"):
            recipe = _recipe_like(Path(start), method, config, rest)
        else:
            recipe = recipe_from(method, config)
        # A new kind may have settings that are kinds, too.
        while (kinds := split_flags(rest, _kind_flags(recipe)))[0]:
            recipe, rest = with_kinds(recipe, kinds[0]), kinds[1]
        # The first one is --method, which the help lists on its own.
        kinds = [flag.name for flag in _kind_flags(recipe) if not flag.name.endswith(".init")]
        return cls.model_construct(recipe=recipe).with_flags(
            rest,
            name,
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
        plugins.load(name, NetworkConfig) for name in kinds.values() if plugins.is_reference(name)
    ]
    cards = [saved.card for saved in read_networks(start, custom).values()]
    model = next((card for card in cards if isinstance(card, ModelCard)), None)
    if model is None:
        raise UserError(
            f"`start={start}` has no generator. Choose a run, model file or folder of them"
        )
    networks: dict[str, Any] = {"generator": model.generator, "direction": model.direction}
    for part in [card.network for card in cards if not isinstance(card, ModelCard)]:
        networks |= (
            {"width": part.width} if isinstance(part, HeadsConfig) else {"discriminator": part}
        )
    recipe = recipe_from(method or (None if config else model.method), config)
    fields = type(recipe.method).model_fields
    changes = {"method": {name: value for name, value in networks.items() if name in fields}}
    if model.colors == "rgb":
        source, target = (f"channels_{domain}" for domain in model.direction.split("_to_"))
        changes["preprocess"] = {source: model.in_channels, target: model.out_channels}
    return recipe.updated(changes)


class TrainCommand(RecipeCommand, TrainConfig):
    """Trains a translator between two domains of images, or resumes training."""

    def execute(self, observer: "Observer | None" = None) -> int | None:
        """Trains. An observer follows the training run."""
        from transmute.cli.models import require_data

        if self.folder is not None:
            require_data(self.folder, paired=self.recipe.method.paired)

        from transmute.api import with_run_folder
        from transmute.training.train import train

        show = partial(as_flags, known=known_flags.get())
        config = with_run_folder(self)
        if stopped_by := train(config, observer, show=show):
            return 128 + stopped_by
        if os.environ.get("RANK", "0") == "0" and not self.dry_run:
            best = " (add --step best for the best models)" if config.evaluate_every else ""
            say(f"use it: transmute translate IMAGES --model {config.run}{best}")
        return 0


class RecipesCommand(Command):
    """Lists the recipes, or prints one as YAML for transmute train --config."""

    name: Annotated[str | None, Argument("NAME", positional=True)] = None
    """Recipe to print. If omitted, all recipes are listed."""

    def execute(self) -> None:
        import yaml

        if self.name is not None:
            settings = recipe_from(self.name).model_dump(mode="json")
            print(yaml.safe_dump(settings, sort_keys=False), end="")
        else:
            print(
                *(f"{name:22} {text}" for name, text in DESCRIPTIONS.items()),
                "\ntransmute train DATA --recipe NAME trains with one of them.",
                "transmute recipes NAME prints its settings.",
                sep="\n",
            )


class DemoCommand(Command):
    """Generates images of plain and striped animals, then trains and evaluates a translator."""

    run: Annotated[Path, Argument("DIR")] = Path("runs/demo")
    """Run folder. An interrupted demo is resumed. The generated images are written next to it."""
    quick: bool = False
    """Run all parts of the demo in seconds, which is too short to learn anything."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the training run."""

    def execute(self) -> int:
        from transmute.demo.demo import run_demo

        if stopped_by := run_demo(self.run, quick=self.quick, seed=self.seed):
            return 128 + stopped_by
        say(
            f"Translated images: {self.run / 'demo.png'}\n"
            f"Report: {self.run / 'report.html'}\n"
            "To train on your own images: transmute train FOLDER --run runs/mine\n"
            f"To translate images: transmute translate IMAGES --model {self.run}"
        )
        return 0


class ReportCommand(Command):
    """Rebuilds the report.html of a run, or writes an HTML report that compares several runs."""

    runs: Annotated[tuple[Path, ...], Argument("RUNS", positional=True)] = ()
    """Run folders. Several are compared."""
    out: Annotated[Path | None, Argument("FILE")] = None
    """HTML file to write. If omitted, report.html in the run, or compare.html for several runs."""

    def execute(self) -> None:
        from transmute.files import write_text
        from transmute.report.page import render_page

        runs = [Run(folder) for folder in self.runs]
        if not runs:
            raise UserError("RUNS is required. Pass one run folder, or several to compare them")
        for run in runs:
            if not run.was_started():
                raise UserError(f"{run.folder} is not a run folder: it has no recipe.json")
        out = self.out or (Path("compare.html") if len(runs) > 1 else runs[0].report_file)
        if out.suffix != ".html" or (out.exists() and not out.is_file()):
            raise UserError(
                f"`out={out}` is not an HTML file. Choose a path with the extension .html"
            )
        write_text(out.resolve(), render_page(runs))
        say(out)


class WatchCommand(Command):
    """Shows all runs in a folder on a local web page that updates itself. The page is read-only."""

    runs: Annotated[Path, Argument("RUNS", positional=True)] = Path("runs")
    """Run folder, or a folder that contains run folders."""
    port: int = Field(default=8765, ge=0, le=65535)
    """Port on 127.0.0.1. 0 chooses a free one."""

    def execute(self) -> None:
        from transmute.serve.dashboard import make_server

        with make_server(self.runs, port=self.port) as server:
            url = f"127.0.0.1:{server.server_address[1]}"
            say(
                f"watching {self.runs}: open http://{url} (Ctrl-C stops)\n"
                f"from another machine: ssh -L {server.server_address[1]}:{url} THIS-MACHINE, then "
                "open the same address there",
            )
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
