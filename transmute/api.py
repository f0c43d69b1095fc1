"""The Python interface: the functions of `import transmute`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transmute.config.data import SourceConfig
from transmute.config.methods import MethodConfig
from transmute.config.metrics import MetricsConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.recipes import recipe_from
from transmute.run import Run

if TYPE_CHECKING:
    from transmute.evaluation import Evaluation


def train(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    method: str | MethodConfig | None = None,
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
        method: A name in `transmute.recipes.RECIPES`, FILE.py:NAME of a method config, or a method
            config. A method config replaces the method of `recipe`.
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

    Example:
        >>> run = transmute.train(  # doctest: +SKIP
        ...     "horse2zebra", run="runs/h2z", size=128, steps=1000
        ... )
        >>> transmute.Translator(run.folder)("horse.jpg").save("zebra.png")  # doctest: +SKIP
    """
    from transmute.evaluation import Evaluator
    from transmute.training.train import train as train_with

    changes = {name: settings.pop(name) for name in Recipe.model_fields if name in settings}
    values = {"folder": data, "run": run, "start": start, "data": source, **settings}
    given = {name: value for name, value in values.items() if value is not None}
    recipe = _base_recipe(method, recipe).updated(changes)
    config = with_run_folder(TrainConfig(recipe=recipe, **given))
    stopped_by = train_with(config, evaluator=Evaluator)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by:
        raise SystemExit(128 + stopped_by)  # the status of a process that the signal ended
    assert config.run is not None
    return Run(config.run)


def evaluate(
    model: str | Path | None = None,
    data: str | Path | None = None,
    *,
    real: str | Path | None = None,
    fake: str | Path | None = None,
    config: MetricsConfig | None = None,
    step: int | str = "newest",
    generator: str | None = None,
    split: Literal["test", "train"] = "test",
    swap: bool = False,
    paired: bool | None = None,
    skip_bad: bool = False,
    size: int | str | None = None,
    device: str = "auto",
) -> Evaluation:
    """Measures the quality of a model, or of finished translations, like `transmute evaluate`.

    Args:
        model: Run folder, folder of model files, or model file.
        data: Folder of the data set whose held-out images are translated.
        real: Folder of real images, instead of `model` and `data`.
        fake: Folder of finished translations, instead of `model` and `data`.
        config: Metrics and their networks. By default, with Inception features.
        step: Which checkpoint of a run to use: newest, best, or a step.
        generator: Config class of a user-defined generator, as FILE.py:NAME.
        split: Images of the data set: test (held out), or train.
        swap: Exchange the domains of the data set.
        paired: Compare images in pairs. By default, True for models of paired methods.
        skip_bad: Skip unpaired images instead of raising an error.
        size: Size in pixels to which images are resized first (N or WIDTHxHEIGHT), or `training`
            for the training size. By default, each image keeps its size.
        device: auto, cpu or cuda.

    Returns:
        The metrics of each direction, with confidence intervals.

    Raises:
        UserError: If any input is invalid.

    Example:
        >>> evaluation = transmute.evaluate("runs/h2z", "horse2zebra")  # doctest: +SKIP
        >>> evaluation = transmute.evaluate(real="zebras", fake="translated")  # doctest: +SKIP
    """
    from transmute.evaluation import evaluate_folders, evaluate_model

    if real is not None and fake is not None and model is None and data is None:
        if (step, split, swap, generator) != ("newest", "test", False, None):
            raise UserError("`step`, `split`, `swap` and `generator` need a `model`")
        measure = partial(evaluate_folders, real, fake, paired=bool(paired))
    elif model is not None and data is not None and real is None and fake is None:
        measure = partial(evaluate_model, model, data, step=step, generator=generator)
        measure = partial(measure, split=split, swap=swap, paired=paired)
    else:
        raise UserError("pass either `model` and `data`, or `real` and `fake`")
    config = config or MetricsConfig(features="inception")
    return measure(config=config, skip_bad=skip_bad, size=size, device=device)


def export(
    model: str | Path,
    out: str | Path,
    *,
    format: Literal["junyanz", "safetensors"] = "junyanz",
    tag: str = "latest",
    overwrite: bool = False,
) -> list[Path]:
    """Writes models as files of another tool, like `transmute export`.

    Args:
        model: Run folder, folder of model files, or model file.
        out: Output folder.
        format: `junyanz` for pytorch-CycleGAN-and-pix2pix (and CUT), or `safetensors` for copies of
            the model files.
        tag: Prefix of the file names of `junyanz`: latest, or an epoch.
        overwrite: Replace existing files.

    Returns:
        The written files.

    Raises:
        UserError: If the other tool does not support a network, or if files exist. In this case,
            nothing is written.

    Example:
        >>> transmute.export("runs/h2z", "checkpoints/h2z")  # doctest: +SKIP
    """
    from transmute.interop.exporter import export as export_networks

    return export_networks(
        Path(model), Path(out), tag=tag, plain=format == "safetensors", overwrite=overwrite
    )


def import_weights(
    path: str | Path,
    out: str | Path | None = None,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    per_image_statistics: bool | None = None,
) -> list[str]:
    """Converts another tool's checkpoint to model files, like `transmute import`.

    Args:
        path: A .pth file, or the folder of a run.
        out: A .safetensors file for one network, or a folder for several. By default, a name like
            that of `path`, in the working directory.
        source, target: Names of domains a and b. By default, those in the checkpoint.
        epoch: Which checkpoint in a folder to use, such as latest, 20 or iter_5000. By default,
            latest, or else the newest.
        order: Channel order of the networks. By default, bgr for mmgeneration and rgb for all
            others.
        per_image_statistics: Normalize each image with its own batch statistics instead of the
            running statistics. By default, True if the checkpoint's options say that the batch size
            was 1.

    Returns:
        Sentences that describe what was recognized and written.

    Raises:
        UserError: If the checkpoint is damaged, unknown or incomplete, or if `out` exists. In this
            case, nothing is written.

    Example:
        >>> transmute.import_weights("latest_net_G_A.pth", "h2z.safetensors")  # doctest: +SKIP
        >>> translate = transmute.Translator("h2z.safetensors")  # doctest: +SKIP
    """
    from transmute.interop.importer import import_file

    return import_file(
        Path(path),
        Path(out) if out is not None else None,
        source=source,
        target=target,
        epoch=epoch,
        order=order,
        per_image_statistics=per_image_statistics,
    )


def with_run_folder(config: TrainConfig) -> TrainConfig:
    """Returns the config with a run folder, by default a dated one in runs/.

    Raises:
        UserError: If `run` is not set under torchrun, where every process would choose another.
    """
    if config.run is not None:
        return config
    if "RANK" in os.environ:
        raise UserError("`run` is required under torchrun. Set it to the run folder")
    return config.replace(run=Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"))


def _base_recipe(method: str | MethodConfig | None, recipe: Recipe | str | Path | None) -> Recipe:
    if isinstance(recipe, Recipe) and isinstance(method, str):
        raise UserError(
            f"`method={method}` cannot be combined with a recipe. Pass only one of them"
        )
    if not isinstance(recipe, Recipe):
        name = method if isinstance(method, str) else None
        recipe = recipe_from(name, Path(recipe) if recipe else None)
    return recipe.replace(method=method) if isinstance(method, MethodConfig) else recipe
