"""The help of `transmute-train` and `transmute-test`."""

import textwrap

from transmute.interop.options import (
    FASTCUT_DEFAULTS,
    MODEL_DEFAULTS,
    OLD_FLAGS,
    OPTIONS,
    TEST_DEFAULTS,
    Option,
)

_PLACEHOLDERS = {"int": " N", "float": " X", "truth": " True|False", "flag": "", "text": " TEXT"}


def help_text(command: str) -> str:
    """The help of a command: every flag with its meaning, default and Transmute's equivalent.

    Args:
        command: train or test.
    """
    introduction = (
        f"{'Trains' if command == 'train' else 'Translates a test set'} with the flags of "
        f"{command}.py of pytorch-CycleGAN-and-pix2pix and CUT. An entry ends with the flags of "
        "transmute train (or of another command) that do the same. A second name of a flag is its "
        "name in earlier versions."
    )
    lines = [f"usage: transmute-{command} --dataroot DIR [flags]", "", *_wrapped(introduction)]
    unlisted, title = [], ""
    for name, option in OPTIONS.items():
        if option.group not in ("base", command) and (option.group, command) != ("model", "train"):
            unlisted.append(f"--{name}")
            continue
        if _title(option) != title:
            title = _title(option)
            lines += ["", f"{title}:"]
        known = [f"--{one}" for one in (name, option.old_name) if one]
        names = ", ".join(known) + _PLACEHOLDERS[option.kind]
        lines += _entry(names, _explanation(option, command))
    lines += ["", "flags of earlier versions:"]
    for flag, (name, value) in OLD_FLAGS.items():
        lines += _entry(f"--{flag}", f"--{name} {value}" if value else f"Without --{name}")
    if command == "test":
        lines += ["", *_wrapped(f"Also accepted, without effect: {', '.join(unlisted)}.")]
    return "\n".join(lines)


def _title(option: Option) -> str:
    models = " and ".join(option.model.split())
    return f"flags of {models}" if option.group == "model" else f"{option.group} flags"


def _wrapped(text: str, first: str = "", indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )


def _entry(names: str, explanation: str) -> list[str]:
    """The lines of a flag: its names, and its explanation to the right or below."""
    indent = " " * 26
    if len(names) <= 22:
        return _wrapped(explanation, f"  {names:24}", indent)
    return [f"  {names}", *_wrapped(explanation, indent, indent)]


def _explanation(option: Option, command: str) -> str:
    choices, idle = ", ".join(option.choices.split()), option.is_idle_in(f"{command}ing")
    equivalent = option.transmute and f"Transmute: {option.transmute}"
    sentences = [
        option.meaning,
        choices and f"One of: {choices}",
        _default(option, command),
        "No effect here" if idle else equivalent,
    ]
    return ". ".join(filter(None, sentences))


def _default(option: Option, command: str) -> str:
    """The default, and those of models that have another."""
    if option.name == "dataroot":
        return "Required"
    models: dict[str, list[str]] = {}
    for model, defaults in {**MODEL_DEFAULTS, "FastCUT": FASTCUT_DEFAULTS}.items():
        if option.name in defaults and (model != "test" or command == "test"):
            models.setdefault(_shown(defaults[option.name], option), []).append(model)
    others = "; ".join(f"{', '.join(names)}: {value}" for value, names in models.items())
    defaults = TEST_DEFAULTS if command == "test" else {}
    value = _shown(defaults.get(option.name, option.default), option)
    return f"Default: {value}" + (f" ({others})" if others else "")


def _shown(value: object, option: Option) -> str:
    if option.kind == "flag":
        return "on" if value is True else "off"
    return "--crop_size" if value is None else str(value) or "empty"
