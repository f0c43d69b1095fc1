"""Random damage to bytes and to JSON values."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Literal

LENGTHS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
RAW = {
    "@digits@": "9" * 6000,
    "@deep list@": "[" * 200_000 + "]" * 200_000,
    "@deep object@": '{"a":' * 100_000 + "0" + "}" * 100_000,
    "@infinity@": "Infinity",
    "@nan@": "NaN",
    "@1e999@": "1e999",
    "@surrogate@": '"\\ud800"',
}
"""JSON that json.dumps does not write, by placeholder."""
HOSTILE: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 10**9, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308),
    *(
        "",
        " ",
        "x",
        "3",
        "None",
        "a" * 100_000,
        "../../etc/passwd",
        "/etc",
        "a/b",
        "\0",
        "\x1b[31m",
    ),
    *(
        "\u202egnp.exe",
        "line\nline",
        "\ud7ff\ufffe",
        "<script>alert(1)</script>",
        "%s{0}",
        "`size`",
    ),
    *([], {}, [[]], [None], {"": 0}, {"name": "x"}, [0] * 10_000, "2001-99-99", "cuda:99"),
    *RAW,
]
"""Values of every type that few settings expect."""


def damaged_bytes(data: bytes, random: Random) -> bytes:
    """Flips, cuts, splices or overwrites some bytes, the first ones more often."""
    content = bytearray(data)
    orders: list[Literal["big", "little"]] = ["big", "little"]
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        if not content:
            break
        size = len(content)
        at = random.randrange(min(size, random.choice([16, 64, 256, size])))
        length = random.randrange(1, max(2, size // 4))
        match random.randrange(8):
            case 0 | 1:
                for _ in range(random.choice([1, 3, 20])):
                    content[random.randrange(size)] ^= 1 << random.randrange(8)
            case 2:
                del content[random.randrange(size) :]
            case 3:
                content[at : at + length] = bytes(length)
            case 4:
                start = random.randrange(size)
                content[at:at] = content[start : start + length]
            case 5:
                del content[at : at + length]
            case 6:
                order = random.choice(orders)
                content[at : at + 4] = random.choice(LENGTHS).to_bytes(4, order)
            case 7:
                content[at : at + length] = random.randbytes(length)
    return bytes(content)


def json_text(value: object) -> str:
    """JSON in which placeholders are replaced by what they stand for."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


def damaged_value(value: Any, random: Random) -> tuple[Any, str]:
    """Replaces, removes or renames one value inside a JSON value, and says which."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.93:
        key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copy = value.copy()
        what = random.random()
        if what < 0.08:
            del copy[key]
            return copy, f"without {key}"
        if what < 0.12 and isinstance(copy, dict):
            copy[str(random.choice(["x", "", "\x1b[2J", f"{key}2"]))] = copy.pop(key)
            return copy, f"renamed {key}"
        copy[key], where = damaged_value(value[key], random)
        return copy, f"{key}.{where}"
    new = random.choice(HOSTILE)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and random.random() < 0.3:
        new = random.choice(
            [value + 1, value * 1000, -value, value * 10**7, float(value), str(value)]
        )
    return new, f"= {str(new)[:40]!r}"
