"""Errors that a user can fix."""


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
