from __future__ import annotations

import pytest

from transmute.errors import counted, printable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb\r.png", r"a\nb\r.png"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b5m", r"\x9b5m"),
        ("gnp.\u202egpj", r"gnp.\u202egpj"),
        (b"f\xfcr".decode("utf-8", "surrogateescape"), r"f\xfcr"),
        ("\ud83d", r"\ud83d"),
        ("für 马\u3000🦓 \\n", "für 马\u3000🦓 \\n"),
    ],
)
def test_only_what_a_terminal_should_not_receive_is_escaped(name: str, expected: str) -> None:
    assert printable(name) == expected
    printable(name).encode()


def test_one_of_a_kind_is_singular() -> None:
    numbers = (0, 1, 2, 1200)
    assert [counted(number, "image") for number in numbers] == [
        "0 images",
        "1 image",
        "2 images",
        "1,200 images",
    ]
