"""Frozen settings, their alternatives, and YAML files."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from types import MappingProxyType
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)

from transmute.documents import read_yaml
from transmute.errors import UserError


@dataclass(frozen=True)
class Argument:
    """Annotation that describes how a setting is passed on the command line."""

    metavar: str | None = None
    """Placeholder of the value. By default, the choices, N, or the setting's name."""
    name: str | None = None
    """Name of the flag, by default that of the setting. If empty, the flags of nested settings
    have no prefix."""
    positional: bool = False
    """An argument instead of a flag."""
    flag: bool = True
    """Whether the command line can set it."""


class Settings(BaseModel):
    """Frozen settings. Unknown keys are errors; the docstring under a field is its `--help`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def __init__(self, /, **values: Any) -> None:  # a file may have a key called self
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(_sentence(error, list(type(self).model_fields))) from None

    @model_validator(mode="before")
    @classmethod
    def _has_no_empty_text_and_no_booleans_as_numbers(cls, values: Any) -> Any:
        # Without this rule, an empty path is the working directory, and True is 1.
        for name, value in values.items() if isinstance(values, dict) else ():
            if value == "" or (isinstance(value, (list, tuple)) and "" in value):
                raise ValueError(f"`{name}` is empty. Set it to a value, or leave it out")
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None:
                types = (field.annotation, *get_args(field.annotation))
                if bool not in types and (int in types or float in types):
                    raise ValueError(f"`{name}` should be a number, but is {value}")
        return values

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some fields changed. The copy is validated."""
        return type(self)(**{**dict(self), **changes})

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Returns a copy with nested changes, such as those from a YAML file or from flags.

        Choosing another kind replaces all of the old kind's settings:
        `{"generator": "unet"}` or `{"generator": {"name": "unet", "width": 32}}`.
        """
        current = dict(self)
        return self.replace(
            **{name: _updated(current.get(name), change) for name, change in changes.items()}
        )


class Kind(Settings):
    """Settings of one of several alternatives. Abstract.

    A subclass declares its name as `name: Literal["resnet"] = "resnet"`; the flag
    `--method.generator resnet` chooses it.
    """

    name: Any

    def arguments(self) -> dict[str, Any]:
        """The settings, without `name` and the initial weights, as keyword arguments."""
        return {name: value for name, value in self if name not in ("name", "init")}


def _updated(current: object, change: object) -> object:
    """A setting's new value: an update of the current one, unless another kind is chosen."""
    if isinstance(current, Kind) and isinstance(change, str):
        change = {"name": change}
    if isinstance(current, Settings) and isinstance(change, Mapping):
        kind = dict(current).get("name")
        return current.updated(change) if change.get("name", kind) == kind else change
    return change


def choice(
    *kinds: type[Kind], aliases: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Any:
    """Validator of a field whose value is a built-in or a user-defined kind.

    User-defined kinds are passed as objects: a name in a file never imports code.

    Args:
        kinds: The built-in alternatives.
        aliases: Other names, with the settings that they stand for.
    """
    known = {kind.model_fields["name"].default: kind for kind in kinds}

    def chosen(value: object) -> object:
        settings = {"name": value} if isinstance(value, str) else value
        if not isinstance(settings, Mapping):
            return value
        settings = {**settings, **aliases.get(str(settings.get("name")), {})}
        if not isinstance(settings.get("name"), str) or settings["name"] not in known:
            names = ", ".join([*known, *aliases])
            raise ValueError(f"unknown kind {settings.get('name')!r}. Choose one of: {names}")
        return known[settings["name"]](**settings)

    return BeforeValidator(chosen)


_brief = Repr()
_brief.maxstring = _brief.maxother = 100
"""Writes a value as Python code, shortened where it is long or deep."""


def _sentence(error: ValidationError, fields: list[str]) -> str:
    """The first finding of a pydantic error as one sentence."""
    finding = error.errors()[0]
    place = ".".join(str(part) for part in finding["loc"])[:100]
    message = finding["msg"].removeprefix("Value error, ")
    match finding["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(place, fields, n=1)
            hint = (
                f"Did you mean `{close[0]}`?" if close else f"Known settings: {', '.join(fields)}"
            )
            return f"unknown setting {place!r}. {hint}"
        case "value_error":
            return re.sub("^unknown kind", f"unknown `{place}`", message)
        case "missing":
            return f"`{place}` is required"
    expected = re.sub(
        r"^\w+ (?=should )| valid(?= )| after validation|, (unable|got|not) .*", "", message
    ).replace(" a integer", " an integer")
    return f"`{place}` {expected}, but is {_brief.repr(finding['input'])}"


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names, such as `method.cycle_a`."""
    result = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return result


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their full names, as nested dictionaries: the inverse of `flattened`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        result.setdefault(first, {})[rest] = value
    return {name: inner[""] if "" in inner else nested(inner) for name, inner in result.items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two nested dictionaries differ, as `method.cycle_a: 10.0 -> 5.0`.

    If a kind differs (`method.generator.name: resnet -> unet`), its other settings are omitted.
    """
    before, after = flattened(old), flattened(new)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    kinds = [name.removesuffix("name") for name in changed if name.endswith(".name")]
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in changed
        if all(name == f"{kind}name" or not name.startswith(kind) for kind in kinds)
    ]


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads the settings in a YAML (or JSON) file as nested dictionaries.

    Raises:
        UserError: If the file is missing, is not YAML, or does not contain a mapping.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} does not contain settings. Write lines such as 'batch: 4'")
    return values


def width_and_height(size: object) -> tuple[int, int]:
    """The two numbers of a size: 256, "256", "512x256" or [512, 256].

    Raises:
        UserError: If it is not a size.
    """
    text = "x".join(map(str, size)) if isinstance(size, list | tuple) else str(size)
    match = re.fullmatch(r"\s*0*([1-9]\d{0,4})(?:\s*[xX]\s*0*([1-9]\d{0,4}))?\s*", text)
    if not match:
        raise UserError(
            f"a size is N or WIDTHxHEIGHT in pixels, of up to five digits (256, 512x256), "
            f"but this is {_brief.repr(size)}"
        )
    return int(match[1]), int(match[2] or match[1])


Size = Annotated[str, BeforeValidator(lambda size: "{}x{}".format(*width_and_height(size)))]
"""Width and height in pixels, written `WIDTHxHEIGHT`. A single number means a square."""
