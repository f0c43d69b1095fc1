"""Named recipes, and recipes from files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transmute import plugins
from transmute.config.base import load_yaml, nested
from transmute.config.data import PreprocessConfig
from transmute.config.losses import LeastSquaresConfig
from transmute.config.methods import (
    ColorizationConfig,
    CUTConfig,
    CycleGANConfig,
    MethodConfig,
    Pix2PixConfig,
)
from transmute.config.networks import (
    FourStrideConfig,
    NetworkConfig,
    PyTorchGANUNetConfig,
    ResNetConfig,
)
from transmute.config.training import ConstantConfig, LinearConfig, Recipe
from transmute.errors import UserError

RECIPES: dict[str, Recipe] = {
    "cyclegan": Recipe(),
    "pix2pix": Recipe(method=Pix2PixConfig()),
    "facades": Recipe(method=Pix2PixConfig(direction="b_to_a")),
    "cut": Recipe(method=CUTConfig(), epochs=400, preprocess=PreprocessConfig(uncropped=0.5)),
    "fastcut": Recipe(
        method=CUTConfig(nce=10.0, identity=False, flip=True),
        schedule=LinearConfig(decay=0.25),
        preprocess=PreprocessConfig(uncropped=0.25),
    ),
    "colorization": Recipe(method=ColorizationConfig()),
    "pytorch-gan": Recipe(
        method=CycleGANConfig(
            generator=ResNetConfig(upsampling="nearest"),
            discriminator=FourStrideConfig(),
            gan=0.5,
            cycle_a=5.0,
            cycle_b=5.0,
        ),
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
        preprocess=PreprocessConfig(uncropped=1.0),
        schedule=ConstantConfig(),
    ),
    "mmgeneration": Recipe(
        method=CycleGANConfig(first="discriminators", identity=0.05),
        steps=270_000,
        schedule=LinearConfig(ahead=0, intervals=200),
    ),
    "mmgeneration-pix2pix": Recipe(method=Pix2PixConfig(), steps=80_000, schedule=ConstantConfig()),
}
"""Complete recipes. Each reproduces the training of a paper or another tool."""

DESCRIPTIONS: dict[str, str] = {
    "cyclegan": "unpaired, both directions; 100 + 100 epochs",
    "pix2pix": "paired, from the left half (a) to the right (b)",
    "facades": "pix2pix from the right half (labels) to the left",
    "cut": "unpaired, one direction, contrastive; 200 + 200 epochs",
    "fastcut": "lighter CUT; 150 + 50 epochs",
    "colorization": "gray to color, from one folder of color images",
    "pytorch-gan": "PyTorch-GAN's CycleGAN: its networks, averaged losses",
    "pytorch-gan-pix2pix": "PyTorch-GAN's pix2pix: its U-Net, constant rate",
    "mmgeneration": "mmgeneration's CycleGAN: discriminators first",
    "mmgeneration-pix2pix": "mmgeneration's pix2pix: 80,000 steps, constant rate",
}


def recipe_from(method: str | None = None, file: Path | None = None) -> Recipe:
    """Returns a named recipe, updated with the settings in a file.

    Args:
        method: A name in `RECIPES`, or FILE.py:NAME of a custom method config. By default, the
            method in the file, or else cyclegan.
        file: YAML or JSON file with any of the recipe's settings, such as a run's recipe.json. YAML
            may refer to custom methods and networks as FILE.py:NAME. JSON never imports code.

    Raises:
        UserError: If the method is unknown, or the file is for another one.
    """
    values = load_yaml(file) if file else {}
    settings = values.pop("method", {})
    settings = {"name": settings} if isinstance(settings, str) else settings
    if not isinstance(settings, dict) or not isinstance(settings.get("name", ""), str):
        raise UserError(f"{file}: `method` should be a name or settings, but is {settings!r}")
    named = settings.pop("name", None)
    if file and file.suffix.lower() in (".yaml", ".yml"):
        settings = {key: _with_plugins(value) for key, value in settings.items()}
    elif named and plugins.is_reference(named):
        raise UserError(f"{file}: a JSON recipe cannot load code. Pass `method` as FILE.py:NAME")
    recipe = _named(next((name for name in (method, named) if name is not None), "cyclegan"))
    if named is not None and _method_name(named) != recipe.method.name:
        raise UserError(f"{file} is for the method {named}, not for {method}. Use only one of them")
    steps = values.pop("steps", recipe.steps)  # takes precedence over epochs in the file
    return recipe.updated({**values, "method": settings}).replace(steps=steps)


def with_kinds(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """Returns the recipe with other kinds of some settings.

    If a setting already has this kind, it is unchanged.

    Args:
        recipe: The recipe.
        names: For each setting, such as `method.generator`, the name of a kind, or FILE.py:NAME
            of a custom network config.

    Raises:
        UserError: If a setting or kind is unknown.

    >>> with_kinds(Recipe(), {"schedule": "cosine"}).schedule.name
    'cosine'
    """
    for setting, name in sorted(names.items()):  # "method.generator" precedes its ".init"
        current: Any = recipe
        for key in setting.split("."):
            current = dict(current).get(key, {})
        kind = _with_plugins(name)
        if type(kind) is not type(current):
            recipe = recipe.updated(nested({setting: kind}))
    return recipe


def _named(name: str) -> Recipe:
    if plugins.is_reference(name):
        return Recipe(method=plugins.load(name, MethodConfig)())
    if name not in RECIPES:
        raise UserError(f"unknown recipe or method {name!r}. Choose one of: {', '.join(RECIPES)}")
    return RECIPES[name]


def _method_name(name: str) -> str:
    """The name of a recipe's method. Other names are returned unchanged."""
    return _named(name).method.name if name in RECIPES or plugins.is_reference(name) else name


def _with_plugins(value: Any) -> Any:
    """Returns a setting of a method with FILE.py:NAME replaced by the config it refers to."""
    settings = {"name": value} if isinstance(value, str) else value
    if not isinstance(settings, Mapping) or not plugins.is_reference(str(settings.get("name"))):
        return value
    rest = {key: value for key, value in settings.items() if key != "name"}
    return plugins.load(settings["name"], NetworkConfig)(**rest)
