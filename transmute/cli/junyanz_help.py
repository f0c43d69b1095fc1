"""The help of `transmute-train` and `transmute-test`."""

import textwrap
from collections.abc import Iterator
from typing import Any

from transmute.interop.options import (
    FASTCUT_DEFAULTS,
    MODEL_DEFAULTS,
    OLD_FLAGS,
    OPTIONS,
    TEST_DEFAULTS,
    Option,
)

_WIDTH, _INDENT = 80, 26
_PLACEHOLDERS = {"int": " N", "float": " X", "truth": " True|False", "flag": "", "text": " TEXT"}


def help_text(command: str) -> str:
    """The help of a command: every flag with its meaning, default and Transmute's equivalent.

    Args:
        command: train or test.
    """
    action = "Trains" if command == "train" else "Translates a test set"
    lines = [
        f"usage: transmute-{command} --dataroot DIR [flags]",
        "",
        *textwrap.wrap(
            f"{action} with the flags of {command}.py of pytorch-CycleGAN-and-pix2pix and CUT. An "
            "entry ends with the flags of transmute train (or of another command) that do the "
            "same. A second name of a flag is its name in earlier versions.",
            _WIDTH,
        ),
    ]
    listed = dict.fromkeys(_title(option) for option in OPTIONS.values())
    if command == "test":
        listed = ["base flags", "test flags"]
    else:
        listed.pop("test flags")
    for title in listed:
        lines += ["", f"{title}:"]
        for name, option in OPTIONS.items():
            if _title(option) == title:
                lines += _entry(_names(name, option), _explanation(option, command))
    lines += ["", "flags of earlier versions:"]
    for flag, (name, value) in OLD_FLAGS.items():
        same = f"--{name} {value}" if value is not False else f"Without --{name}"
        lines += _entry(f"--{flag}", same)
    if command == "test":
        names = [name for name, option in OPTIONS.items() if option.group in ("train", "model")]
        text = f"Also accepted, without effect: {', '.join(f'--{name}' for name in names)}."
        lines += ["", *textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]
    return "\n".join(lines)


def _title(option: Option) -> str:
    models = " and ".join(option.model.split())
    return f"flags of {models}" if option.group == "model" else f"{option.group} flags"


def _names(name: str, option: Option) -> str:
    known = [f"--{one}" for one in (name, option.old_name) if one]
    return ", ".join(known) + _PLACEHOLDERS[option.kind]


def _entry(names: str, explanation: str) -> Iterator[str]:
    """The lines of a flag: its names, and its explanation to the right or below."""
    lines = textwrap.wrap(explanation, _WIDTH - _INDENT, break_on_hyphens=False)
    head = f"  {names}"
    if len(head) > _INDENT - 2:
        yield head
        head = ""
    for line in lines:
        yield f"{head:{_INDENT}}{line}"
        head = ""


def _explanation(option: Option, command: str) -> str:
    sentences = [option.meaning]
    if option.choices:
        sentences.append(f"One of: {', '.join(option.choices.split())}")
    sentences.append(_default(option, command))
    if option.is_idle_in(f"{command}ing"):
        sentences.append("No effect here")
    elif option.transmute:
        sentences.append(f"Transmute: {option.transmute}")
    return ". ".join(sentences)


def _default(option: Option, command: str) -> str:
    """The default, and those of models that have another."""
    value: Any = option.default
    if command == "test":
        value = TEST_DEFAULTS.get(option.name, value)
    if option.name == "dataroot":
        return "Required"
    models: dict[str, list[str]] = {}
    for model, defaults in {**MODEL_DEFAULTS, "FastCUT": FASTCUT_DEFAULTS}.items():
        if option.name in defaults and (model != "test" or command == "test"):
            models.setdefault(_shown(defaults[option.name], option), []).append(model)
    others = "; ".join(f"{', '.join(names)}: {other}" for other, names in models.items())
    return f"Default: {_shown(value, option)}" + (f" ({others})" if others else "")


def _shown(value: object, option: Option) -> str:
    if option.kind == "flag":
        return "on" if value is True else "off"
    if value is None:
        return "--crop_size"
    return str(value) or "empty"
