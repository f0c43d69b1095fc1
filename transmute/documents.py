"""Reads JSON and YAML files that users edit, and that may be damaged or hostile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transmute.errors import UserError, first_line
from transmute.files import special_kind

_MAX_BYTES = 20_000_000
_MAX_DEPTH = 40
_MAX_VALUES = 500_000
_MAX_DIGITS = 20


def parse_json(text: str) -> Any:
    """Parses JSON.

    Raises:
        ValueError: If it is malformed, nested too deeply, or has a number of too many digits.
    """
    try:
        return _bounded(json.loads(text, parse_int=_integer))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: If the file is missing or damaged.
    """
    return _read(path, "JSON", parse_json)


def read_yaml(path: Path, *, only_text_keys: bool = True) -> Any:
    """Reads a YAML (or JSON) file.

    Args:
        path: The file.
        only_text_keys: Refuse keys that are not strings, such as numbers.

    Raises:
        UserError: If the file is missing, is not YAML, or is too large when its aliases are
            expanded.
    """
    import yaml  # slow, and --help does not need it

    def parse(text: str) -> Any:
        try:
            return _bounded(yaml.safe_load(text), only_text_keys)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except Exception as error:  # AttributeError, TypeError, ... on damaged dates and keys
            raise ValueError(" ".join(str(error).split())) from None

    return _read(path, "YAML", parse)


def _read(path: Path, kind: str, parse: Callable[[str], Any]) -> Any:
    if special := special_kind(path):
        raise UserError(f"{path} is {special}, not a {kind} file. Pass a regular file")
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(f"{path} is too large for a {kind} file of settings: {size:,} bytes")
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path} cannot be read: {reason}") from None
    try:
        return parse(text)
    except ValueError as error:  # YAML raises it, too: for the date 2001-99-99
        raise UserError(f"{path} is not a valid {kind} file: {first_line(error)}") from None


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _bounded(document: Any, only_text_keys: bool = True) -> Any:
    """Returns a document after checking its depth, its keys, and its size with aliases expanded."""
    num_values, pending = 0, [(document, 0)]
    while pending:
        value, depth = pending.pop()
        num_values += 1
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if num_values > _MAX_VALUES:
            raise ValueError(f"it has more than {_MAX_VALUES:,} values")
        if isinstance(value, dict):
            for key in value:
                if only_text_keys and not isinstance(key, str):
                    raise ValueError(f"the key {key!r} is not text. Write it in quotes")
            pending += ((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            pending += ((inner, depth + 1) for inner in value)
        elif type(value) is int:
            _integer(str(value))
    return document
