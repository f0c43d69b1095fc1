"""Training from Python."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transmute.config.data import SourceConfig
from transmute.config.methods import MethodConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.recipes import recipe_from
from transmute.run import Run
from transmute.startup import exit_if_reimported


def train(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    method: str | Mapping[str, Any] | MethodConfig | None = None,
    recipe: Recipe | str | Path | None = None,
    start: str | Path | None = None,
    source: Mapping[str, Any] | SourceConfig | None = None,
    **settings: Any,
) -> Run:
    """Trains or resumes a run, like `transmute train`.

    Args:
        data: Folder of a data set. Alternatively, pass two folders as
            `source={"a": "summer", "b": "winter"}`.
        run: Run folder. An existing run is resumed. By default, a dated folder in runs/.
        method: A name in `transmute.recipes.RECIPES`, FILE.py:NAME of a method config, a mapping
            of a name and settings as in YAML (`{"name": "cut", "nce": 5}`), or a method config. A
            method config replaces the method of `recipe`.
        recipe: A recipe, or the path of a YAML or JSON file. A name as `method` cannot be combined
            with a recipe, and can only be combined with a file for the same method.
        start: Initialize weights from a run, model file or folder of model files.
        source: Settings of the data, see `transmute.config.data.SourceConfig`.
        settings: Any setting of `transmute.config.training.Recipe` or
            `transmute.config.training.TrainConfig` by name, such as `size=128`, `steps=1000`,
            `optimizer={"lr": 1e-4}`, `evaluate_every=500` or `device="cpu"`.

    Returns:
        The run.

    Raises:
        UserError: If any input is invalid, or training diverges.
        KeyboardInterrupt, SystemExit: If Ctrl-C or SIGTERM stopped training, after saving a
            checkpoint.

    A quick example, whose tiny generators learn nothing in two steps:

    >>> from transmute.config.methods import CycleGANConfig
    >>> from transmute.config.networks import ResNetConfig
    >>> tiny = CycleGANConfig(generator=ResNetConfig(width=4, blocks=1))
    >>> run = transmute.train("horse2zebra", method=tiny, run="runs/tiny", size=32, steps=2)
    data: horse2zebra/trainA and horse2zebra/trainB (unpaired): ...
    ...
    finished: open runs/tiny/report.html
    >>> transmute.Translator(run.folder)("horse.jpg").save("zebra.png")
    """
    exit_if_reimported()
    from transmute.training.train import train as train_with

    changes = {name: settings.pop(name) for name in Recipe.model_fields if name in settings}
    recipe = _base_recipe(method, recipe).updated(changes)
    values = {"folder": data, "run": run, "start": start, "data": source or {}, **settings}
    config = with_run_folder(TrainConfig(recipe=recipe, **values))
    stopped_by = train_with(config)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by:
        raise SystemExit(128 + stopped_by)  # the status of a process that the signal ended
    assert config.run is not None
    return Run(config.run)


def with_run_folder(config: TrainConfig) -> TrainConfig:
    """Returns the config with a run folder, by default a dated one in runs/.

    Raises:
        UserError: If `run` is not set under torchrun, where every process would choose another.
    """
    if config.run is None and "RANK" in os.environ:
        raise UserError("`run` is required under torchrun. Set it to the run folder")
    dated = Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
    return config if config.run else config.replace(run=dated)


def _base_recipe(
    method: str | Mapping[str, Any] | MethodConfig | None, recipe: Recipe | str | Path | None
) -> Recipe:
    for name, value, types in (
        ("method", method, (str, Mapping, MethodConfig)),
        ("recipe", recipe, (str, Path, Recipe)),
    ):
        if value is not None and not isinstance(value, types):
            expected = " or ".join(one.__name__ for one in types)
            raise UserError(f"`{name}` should be a {expected}, but is {value!r:.100}")
    if isinstance(method, Mapping):
        settings = dict(method)
        base = _base_recipe(settings.pop("name", None), recipe)
        return base.updated({"method": settings})
    if isinstance(recipe, Recipe) and isinstance(method, str):
        raise UserError(
            f"`method={method}` cannot be combined with a recipe. Pass only one of them"
        )
    if not isinstance(recipe, Recipe):
        name = method if isinstance(method, str) else None
        recipe = recipe_from(name, Path(recipe) if recipe is not None else None)
    return recipe.replace(method=method) if isinstance(method, MethodConfig) else recipe
