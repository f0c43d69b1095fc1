from __future__ import annotations

import os
from pathlib import Path

import pytest

from transmute.documents import parse_json, read_json, read_yaml
from transmute.errors import UserError

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 500,000 values"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("a: 2001-99-99", "month must be in"),
        (f"a: {'9' * 5000}", "digits"),
        (f"a: {'9' * 30}", "a number has 30 digits"),
        ("a: !!timestamp x", "no attribute"),
        ("a: !!int x", "invalid literal for int"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: {1: 2}", r"the key 1 is not text"),
        ("2001-01-01: 2", "is not text"),
        ("a: {[1]: 2}", "unhashable"),
        ("a: \x00", "special characters are not allowed"),
        ("a: *b", "undefined alias"),
    ],
)
def test_hostile_yaml_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"it\.yaml is not .*{message}") as error:
        read_yaml(tmp_path / "it.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 50 + "]" * 50, "nested too deeply"),
        ("9" * 5000, "a number has 5000 digits"),
        ('{"a": 1', "line 1 column 8"),
    ],
)
def test_damaged_json_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"it\.json is not a valid JSON file: .*{message}"):
        read_json(tmp_path / "it.json")


def test_ordinary_documents_are_read(tmp_path: Path) -> None:
    path, settings = tmp_path / "it.yaml", {"lr": "1e-4", "flip": True}
    path.write_text("base: &b {lr: 1e-4, flip: true}\nother: *b\n", encoding="utf-8")
    assert read_yaml(path) == {"base": settings, "other": settings}
    assert parse_json(f'{{"seed": {2**63}, "nan": [NaN, 1e400]}}')["seed"] == 2**63


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_json(tmp_path / "missing.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(UserError, match="too large for a JSON file of settings: 1,000,000,000"):
        read_json(tmp_path / "large.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.yaml")
        with pytest.raises(UserError, match="is a named pipe, not a YAML file"):
            read_yaml(tmp_path / "pipe.yaml")
