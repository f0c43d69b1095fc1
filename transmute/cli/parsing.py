"""From words on a command line to settings; what does not fit becomes one sentence."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import tyro

from transmute.settings import OwnError, Settings, UserError

Arguments = TypeVar("Arguments", bound=Settings)


def finished(command: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its status; what a user can mend is one sentence and status 2."""
    try:
        sys.exit(command())
    except UserError as error:
        if os.environ.get("RANK", "0") == "0" or isinstance(error, OwnError):  # to others all processes of torchrun come together
            print(f"transmute: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # no permission, no space left, ...
        print(f"transmute: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def dispatched(commands: dict[str, Callable[[list[str]], int]], arguments: list[str], *, prefix: str = "") -> int:
    """Runs the command that the first word names.

    Raises:
        UserError: If there is none of that name.
    """
    command = commands.get(arguments[0])
    if command is None:
        close = difflib.get_close_matches(arguments[0], commands, n=1)
        hint = f"perhaps you meant {close[0]}" if close else f"choose one of {', '.join(commands)}"
        raise UserError(f"there is no command {prefix}{arguments[0]!r}: {hint}")
    return command(arguments[1:])


def parsed(settings: type[Arguments], arguments: list[str], command: str, **options: Any) -> Arguments:
    """What tyro makes of the arguments; its boxed errors become one sentence."""
    said = io.StringIO()
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(settings, args=arguments, prog=f"transmute {command}", config=markers, **options)
    except SystemExit as error:
        if error.code != 2:
            raise
    raise UserError(f"{_sentence(said.getvalue())} (transmute {command} --help lists all)")


def _sentence(box: str) -> str:
    """The gist of an error in a box (of lines, or of dashes where there is no Unicode): what follows its title, and the flags that may be meant."""
    paragraphs = re.split("[─-]{10,}", re.sub("[│╭╮╰╯]", " ", box))
    gist = " ".join(paragraphs[1].split())
    meant = re.findall(r"(?:^|\s)(--[\w.-]+)", " ".join(part for part in paragraphs[2:] if "Perhaps you meant" in part))
    return gist + (f"; perhaps you meant {' or '.join(dict.fromkeys(meant))}" if meant else "")


def taken(arguments: list[str], flag: str) -> tuple[list[str], str, bool]:
    """The arguments without `flag VALUE` or `flag=VALUE`, its last value, and whether it was there."""
    rest, value, given = [], "", False
    words = iter(arguments)
    for word in words:
        if word.startswith(f"{flag}="):
            value, given = word.removeprefix(f"{flag}="), True
        elif word == flag:
            value, given = next(words, "--"), True
            if value.startswith("--"):
                raise UserError(f"{flag} needs a value")
        else:
            rest.append(word)
    return rest, value, given
