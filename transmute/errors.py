"""Errors that a user can fix, and text that is safe to print."""

import re

_UNPRINTABLE = re.compile(
    # Control characters, line separators, those that reverse the text, and surrogates.
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(ValueError):
    """An error the user can fix. Its message says what is wrong, what is expected and what to do.

    Settings are named in backticks, by their full name and with a value where one is suggested:
    `optimizer.lr`, `method.identity=0`. The command line prints them as flags.
    """


class RankError(UserError):
    """An error that may occur on one rank only, which therefore prints the message itself."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, or its type where there is no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def shortened(lines: list[str], limit: int) -> list[str]:
    """The first lines, and how many there are more."""
    more = len(lines) - limit
    return [*lines[:limit], f"... and {more} more"] if more > 0 else lines


def counted(number: int, noun: str) -> str:
    """A number and its noun, with an s unless the number is 1: `1 image`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: object) -> str:
    """Escapes in one line what a file name may contain but a terminal should not receive.

    These are control characters, such as newlines and escape sequences, and bytes that are not
    UTF-8, which Python represents by surrogates. They are written as in Python: `\\x1b`.
    """

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        if 0xDC80 <= code <= 0xDCFF:  # a byte
            return f"\\x{code - 0xDC00:02x}"
        return match[0].encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escaped, str(text))
