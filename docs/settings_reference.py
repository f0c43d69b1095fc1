"""Sphinx extension that appends a table of every setting to docs/settings.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx

from transmute.config.base import Kind, Settings, Size
from transmute.config.data import PreprocessConfig, Range, SourceConfig
from transmute.config.losses import GANLossConfig
from transmute.config.methods import MethodConfig
from transmute.config.metrics import MetricsConfig
from transmute.config.networks import DiscriminatorConfig, GeneratorConfig, InitializationConfig
from transmute.config.training import AdamConfig, Recipe, ScheduleConfig, TrainConfig

SECTIONS: list[tuple[str, str, tuple[type[Settings], ...]]] = [
    ("Training", "", (TrainConfig,)),
    ("Recipe", "", (Recipe,)),
    ("Data", "data.", (SourceConfig,)),
    ("Preprocessing", "preprocess.", (PreprocessConfig,)),
    ("Ranges", "preprocess.range_a.", (Range,)),
    ("Optimizer", "optimizer.", (AdamConfig,)),
    ("Metrics", "metrics.", (MetricsConfig,)),
    ("Schedules", "schedule.", get_args(ScheduleConfig)),
    ("Methods", "method.", (MethodConfig,)),
    ("Generators", "method.generator.", (GeneratorConfig,)),
    ("Discriminators", "method.discriminator.", (DiscriminatorConfig,)),
    ("Adversarial losses", "method.adversarial.", (GANLossConfig,)),
    ("Initial weights", "method.generator.init.", (InitializationConfig,)),
]
"""Title, prefix of the names, and classes. An abstract class stands for all of its kinds."""

NAMES = {float: "number", int: "integer", str: "text", bool: "true or false", Path: "path"}


def reference() -> str:
    """All settings as Markdown."""
    parts = []
    for title, prefix, classes in SECTIONS:
        parts.append(f"## {title}\n")
        kinds = [kind for config in classes for kind in concrete(config)]
        for config in kinds:
            if len(kinds) > 1:
                parts.append(f"### `{config.model_fields['name'].default}`\n")
            parts += [f"{inspect.getdoc(config)}\n", table(config, prefix)]
    return "\n".join(parts)


def concrete(config: type[Settings]) -> Iterator[type[Settings]]:
    """The class, or the kinds that an abstract class stands for."""
    if not config.__subclasses__():
        yield config
    for kind in config.__subclasses__():
        yield from concrete(kind)


def table(config: type[Settings], prefix: str) -> str:
    """A table of the settings of a class, or nothing if it has none."""
    rows = [
        [f"`{prefix}{name}`", type_of(field), default_of(field), field.description or ""]
        for name, field in config.model_fields.items()
        if name != "name" or config is InitializationConfig
    ]
    if not rows:
        return ""
    rows = [["setting", "type", "default", "description"], ["---"] * 4, *rows]
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def type_of(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds."""
    bounds = []
    for metadata in field.metadata:
        metavar = getattr(metadata, "metavar", None)  # of Argument
        if metavar is not None:
            return f"`{metavar}`"
        match metadata:
            case Ge(bound):
                bounds.append(f"≥ {bound:g}")
            case Gt(bound):
                bounds.append(f"> {bound:g}")
            case Le(bound):
                bounds.append(f"≤ {bound:g}")
            case Lt(bound):
                bounds.append(f"< {bound:g}")
    return f"{in_words(field.annotation)} {', '.join(bounds)}"


def in_words(annotation: Any) -> str:
    """A type annotation in words; settings are a link to their section."""
    if annotation == Size:
        return "`WxH`"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {in_words(get_args(annotation)[0])}"
    if get_args(annotation):  # an optional value, or one of several kinds
        return in_words(get_args(annotation)[0])
    for title, _, classes in SECTIONS:
        if issubclass(annotation, classes):
            return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"
    return NAMES[annotation]


def default_of(field: FieldInfo) -> str:
    """The default of a setting; of a kind, its name."""
    value = field.default
    if isinstance(value, Settings):
        return f"`{value.name}`" if isinstance(value, Kind) else ""
    if isinstance(value, tuple):
        value = " ".join(map(str, value)) or "none"
    return f"`{value}`"


def append_reference(app: Sphinx, name: str, source: list[str]) -> None:
    """Handles Sphinx's event `source-read`."""
    if name == "settings":
        source[0] += "\n" + reference()


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the extension with Sphinx."""
    app.connect("source-read", append_reference)
    return {"parallel_read_safe": True}
