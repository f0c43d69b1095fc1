"""Named starting points, and training from Python."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, Literal

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.losses.config import LeastSquaresConfig
from transmute.methods.config import ColorizationConfig, CUTConfig, CycleGANConfig, Pix2PixConfig
from transmute.metrics.config import MetricsConfig
from transmute.networks.config import FourStrideConfig, PyTorchGANUNetConfig, ResNetConfig
from transmute.run import Run
from transmute.settings import UserError, load_yaml, merged
from transmute.training.config import ConstantConfig, LinearConfig, Recipe, TrainConfig

RECIPES: dict[str, Recipe] = {
    "cyclegan": Recipe(),
    "pix2pix": Recipe(method=Pix2PixConfig()),
    "facades": Recipe(method=Pix2PixConfig(direction="b_to_a")),
    "cut": Recipe(method=CUTConfig(), epochs=400, preprocess=PreprocessConfig(settled=0.5)),
    "fastcut": Recipe(
        method=CUTConfig(nce=10.0, identity=False, flip=True), schedule=LinearConfig(decay=0.25), preprocess=PreprocessConfig(settled=0.25)
    ),
    "colorization": Recipe(method=ColorizationConfig()),
    "pytorch-gan": Recipe(
        method=CycleGANConfig(generator=ResNetConfig(upsampling="nearest"), discriminator=FourStrideConfig(), fool=0.5, cycle_a=5.0, cycle_b=5.0),
        preprocess=PreprocessConfig(mode="cover-and-crop"),
        schedule=LinearConfig(ahead=0),
    ),
    "pytorch-gan-pix2pix": Recipe(
        method=Pix2PixConfig(
            direction="b_to_a",
            first="generator",
            generator=PyTorchGANUNetConfig(),
            discriminator=FourStrideConfig(),
            adversarial=LeastSquaresConfig(),
        ),
        preprocess=PreprocessConfig(load_size="256"),
        schedule=ConstantConfig(),
    ),
    "mmgeneration": Recipe(
        method=CycleGANConfig(first="discriminators", identity=0.05), steps=270_000, schedule=LinearConfig(ahead=0, intervals=200)
    ),
    "mmgeneration-pix2pix": Recipe(method=Pix2PixConfig(), steps=80_000, schedule=ConstantConfig()),
}
"""Finished recipes, each with the semantics of the tool that it comes from."""

ABOUT: dict[str, str] = {
    "cyclegan": "unpaired, both directions; 100 + 100 epochs",
    "pix2pix": "paired, from the left half (a) to the right (b)",
    "facades": "pix2pix from the right half (labels) to the left",
    "cut": "unpaired, one direction, by contrast; 200 + 200 epochs",
    "fastcut": "CUT with less of everything; 150 + 50 epochs",
    "colorization": "gray to color, from one folder of color pictures",
    "pytorch-gan": "PyTorch-GAN's CycleGAN: its networks, averaged losses",
    "pytorch-gan-pix2pix": "PyTorch-GAN's pix2pix: its U-Net, constant rate",
    "mmgeneration": "mmgeneration's CycleGAN: discriminators first",
    "mmgeneration-pix2pix": "mmgeneration's pix2pix: 80,000 steps, constant rate",
}


def recipe_from(method: str | None = None, file: Path | None = None, changes: dict[str, Any] | None = None) -> Recipe:
    """A named recipe with the settings of a file, and then the changes, laid over it.

    Args:
        method: A name in `RECIPES` (fastcut, say), for the recipe of that name; None takes the file's method, or cyclegan.
        file: YAML or JSON (a run's recipe.json, say) with any of the recipe's settings.
        changes: Nested settings; `{"method": {"generator": {"name": "unet"}}}` chooses another kind with that kind's defaults.
    """
    values = load_yaml(file) if file else {}
    in_file = values.get("method", {})
    told = in_file if isinstance(in_file, str) else in_file.get("name") if isinstance(in_file, dict) else in_file
    if not isinstance(in_file, (str, dict)) or not isinstance(told, (str, type(None))):
        raise UserError(f"{file}: method should be a name or settings with one, but is {in_file!r}")
    name = method or told or "cyclegan"
    if name not in RECIPES:
        raise UserError(f"there is no recipe or method {name!r}: choose {' or '.join(RECIPES)}")
    if told is not None and (RECIPES[told].method.name if told in RECIPES else told) != RECIPES[name].method.name:
        raise UserError(f"the settings file is for the method {told}, but --method says {name}: leave one of them out")
    if isinstance(in_file, str):
        del values["method"]
    return Recipe(**merged(merged(RECIPES[name].model_dump(), values), changes or {}))


def train(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    method: str | None = None,
    recipe: Recipe | str | Path | None = None,
    start: str | Path | None = None,
    size: int | str | None = None,
    batch: int | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    report_every: int = 50,
    sample_every: int = 500,
    save_every: int = 1000,
    evaluate_every: int | None = None,
    metrics: MetricsConfig = MetricsConfig(),  # noqa: B008
    best: str = "kid",
    patience: int | None = None,
    log: tuple[Literal["tensorboard", "wandb"], ...] = (),
    keep: int = 2,
    keep_every: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    compile: Literal["auto", "on", "off"] = "auto",
    graph: Literal["auto", "on", "off"] = "auto",
    deterministic: bool = False,
    sync_batch_norm: bool = False,
) -> Run:
    """Trains as `transmute train` does, and gives back the run.

    Args:
        data: Folder of a data set; or name two folders with `source=SourceConfig(a=..., b=...)`.
        run: Folder for all that the training makes; an existing run is continued. None: a dated one under runs/.
        method: A name in `RECIPES`.
        recipe: A finished recipe in place of `method`, or the path of a YAML file.
        start: Networks to start with (`--from`); their architecture should be the recipe's.
        size, batch, steps, epochs, seed: Changes to the recipe.
        source, report_every, sample_every, save_every, evaluate_every, metrics, best, patience, log, keep, keep_every, device, devices, precision,
            compile, graph, deterministic, sync_batch_norm: As the flags of `transmute train`.

    Raises:
        UserError: If something given does not fit, or a loss is not finite.
        KeyboardInterrupt, SystemExit: When Ctrl-C or SIGTERM stopped the training; everything is saved then.

    Example:
        run = transmute.train("horse2zebra", run="runs/h2z", size=128, steps=1000)
        transmute.Translator(run.folder)("horse.jpg").save("zebra.png")
    """
    from transmute.evaluation import Evaluator
    from transmute.training.train import train as train_with

    if isinstance(recipe, Recipe) and method is not None:
        raise UserError("give either a recipe, which has a method, or the name of a method")
    base = recipe if isinstance(recipe, Recipe) else recipe_from(method, Path(recipe) if recipe else None)
    changes = {name: value for name, value in {"size": size, "batch": batch, "epochs": epochs, "seed": seed}.items() if value is not None}
    if steps is not None and epochs is not None:
        raise UserError("give the length either in steps or in epochs, not in both")
    if steps is not None or epochs is not None:
        changes["steps"] = steps
    config = TrainConfig(
        folder=Path(data) if data is not None else None,
        run=Path(run) if run is not None else None,
        start=Path(start) if start is not None else None,
        recipe=base.replace(**changes),
        data=source,
        report_every=report_every,
        sample_every=sample_every,
        save_every=save_every,
        evaluate_every=evaluate_every,
        metrics=metrics,
        best=best,  # pyright: ignore[reportArgumentType]
        patience=patience,
        log=log,
        keep=keep,
        keep_every=keep_every,
        device=device,
        devices=devices,
        precision=precision,
        compile=compile,
        graph=graph,
        deterministic=deterministic,
        sync_batch_norm=sync_batch_norm,
    ).with_run()
    stopped_by = train_with(config, evaluator=Evaluator)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by:
        sys.exit(128 + stopped_by)
    assert config.run is not None
    return Run(config.run)
