"""The frozen base of all settings, YAML files, and errors that a user can act on. No fields and no torch here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError


class UserError(ValueError):
    """What a user can mend: one sentence that says what was wrong, what was expected and what to do."""


class OwnError(UserError):
    """What one of several processes may meet alone, so that it must say so itself."""


class Settings(BaseModel):
    """Frozen settings: unknown keys are refused, and the text under a field becomes its `--help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(sentence(error)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; the result is validated again."""
        values = {name: changes.get(name, value) for name, value in self}
        unknown = sorted(set(changes) - set(values))
        if unknown:
            raise UserError(f"{type(self).__name__} has no {unknown[0]!r}; it has {', '.join(values)}")
        return type(self)(**values)


def sentence(error: ValidationError) -> str:
    """The first finding of a pydantic error, as one plain sentence."""
    finding = error.errors()[0]
    place = ".".join(str(part) for part in finding["loc"])
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "extra_forbidden":
        return f"unknown setting {place!r}"
    if finding["type"] == "union_tag_invalid":
        kinds = finding.get("ctx", {})
        return f"there is no {place} {kinds.get('tag')!r}: choose {kinds.get('expected_tags', '').replace(', ', ' or ')}"
    if finding["type"] == "value_error":
        return message
    expected = re.sub(r"^Input should be ", "should be ", message)
    return f"{place} {expected}, but is {finding['input']!r}"


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with `new` laid over it, level by level.

    Where `new` names another kind (`name: unet` over `name: resnet`), nothing of the old kind's settings stays.
    """
    if "name" in new and new["name"] != old.get("name"):
        return new
    result = dict(old)
    for key, value in new.items():
        below = result.get(key)
        if isinstance(below, dict) and "name" in below and isinstance(value, str):
            value = {"name": value}  # `schedule: cosine` says the kind alone
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """The leaves in which two nested dictionaries differ, as `method.cycle: 10.0 -> 5.0`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(old) + [key for key in new if key not in old]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)]
    return [] if old == new else [f"{place}: {old} -> {new}"]


def flattened(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Nested settings by their whole names, as `method.cycle`."""
    result = {}
    for key, value in values.items():
        name = f"{place}.{key}" if place else key
        result |= flattened(value, name) if isinstance(value, dict) else {name: value}
    return result


def load_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML (or JSON) file, as nested dictionaries.

    Raises:
        UserError: If the file is missing, is not YAML, or holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path} should hold settings such as 'batch: 4', but holds something else")
    return values


def _normalized_size(value: object) -> str:
    """ "256", 256, "512x256" and [512, 256] all become "WIDTHxHEIGHT"."""
    if isinstance(value, (list, tuple)):
        value = "x".join(str(side) for side in value)
    match = re.fullmatch(r"\s*(\d+)(?:\s*[xX]\s*(\d+))?\s*", str(value))
    if not match or 0 in (int(match[1]), int(match[2] or match[1])):
        raise UserError(f"a size is N or WIDTHxHEIGHT in pixels (256, 512x256), but this is {value!r}")
    if len(match[1]) > 5 or len(match[2] or "") > 5:
        raise UserError(f"a side of {max(match[1], match[2] or '', key=len)} pixels is more than any picture has: give up to five digits")
    return f"{int(match[1])}x{int(match[2] or match[1])}"


Size = Annotated[str, BeforeValidator(_normalized_size)]
"""Width and height in pixels, written `WIDTHxHEIGHT`; a single number means a square."""


def width_and_height(size: object) -> tuple[int, int]:
    """The two numbers of a size, in any way that it may be written."""
    width, height = _normalized_size(size).split("x")
    return int(width), int(height)


def first_line(error: Exception) -> str:
    """What a library says of its failure, without what it says after that."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
