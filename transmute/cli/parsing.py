"""Parses command lines to settings, and renders settings in messages as flags."""

import argparse
import difflib
import io
import os
import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, NoReturn, Self, get_args, get_origin

from transmute.config.base import Argument, Kind, Settings, nested
from transmute.errors import RankError, UserError, counted, printable

known_flags: ContextVar[Mapping[str, str]] = ContextVar("known_flags")
"""The flags of the running command, by setting."""


class Flag(NamedTuple):
    """A flag or positional argument that changes one setting."""

    setting: str
    """Full name of the setting, with the fields that lead to it: `recipe.optimizer.lr`."""
    name: str
    """`--optimizer.lr`; for a positional argument, its metavar."""
    metavar: str
    """Placeholder of the value."""
    value: Any
    """Current value, or ... if there is none. Boolean flags take no value; they flip the current
    value."""
    help: str

    @property
    def positional(self) -> bool:
        """An argument without a flag."""
        return not self.name.startswith("--")

    @property
    def required(self) -> bool:
        """A flag without a default, or a list of positional arguments, which must not be empty."""
        return self.value is ... or (self.value == () and self.positional)

    def converted(self, word: str) -> Any:
        """Converts None and integers, which pydantic would leave as strings in some settings."""
        if word == "None" and not isinstance(self.value, Kind):
            return None
        return int(word) if isinstance(self.value, int) and word.isdecimal() else word


def flags_of(settings: Settings, outer: str = "", prefix: str = "--") -> Iterator[Flag]:
    """Yields the flags of settings, including nested ones.

    Settings with alternatives (subclasses of `Kind`) also get a flag that chooses one.

    Args:
        settings: The current values. They determine the nested settings.
        outer, prefix: Beginning of the full names and of the flags of nested settings.
    """
    for field_name, field in type(settings).model_fields.items():
        if field_name == "name" and isinstance(settings, Kind):
            continue  # chosen by the flag of the kind itself
        argument = next((one for one in field.metadata if isinstance(one, Argument)), Argument())
        if not argument.flag:
            continue
        part = field_name if argument.name is None else argument.name
        value = dict(settings).get(field_name, ...)
        if isinstance(value, Kind) or not isinstance(value, Settings):
            types = (field.annotation, *get_args(field.annotation))
            choices = [
                str(choice)
                for one in types
                if get_origin(one) is Literal
                for choice in get_args(one)
            ]
            placeholder = "N" if int in types or float in types else part.upper()
            metavar = argument.metavar or "|".join(choices) or placeholder
            name = f"{prefix}{'no-' if value is True else ''}{part}".replace("_", "-")
            yield Flag(
                f"{outer}{field_name}",
                metavar if argument.positional else name,
                metavar,
                value,
                " ".join((field.description or "").split()),
            )
        if isinstance(value, Settings):
            yield from flags_of(
                value, f"{outer}{field_name}.", f"{prefix}{part}." if part else prefix
            )


def split_flags(argv: Sequence[str], flags: Iterable[Flag]) -> tuple[dict[str, Any], list[str]]:
    """Splits a command line into the values of some flags, by setting, and all other arguments.

    Raises:
        UserError: If the value of a flag is missing, or a boolean flag has a value.
    """
    for before, word in pairwise(["", *argv]):
        if not word.strip() or re.fullmatch(r"--[^=]+=\s*(--)?", word):
            flags_here = (one.partition("=")[0] for one in (word, before) if one[:2] == "--")
            flag = next(flags_here, "an argument")
            raise UserError(f"{flag} is empty. Pass a value, or leave it out")
    # To argparse, a range such as -1000:1000 is a flag, unless it begins with a space.
    argv = [re.sub(r"^(?=-[\d.]+:)", " ", word) for word in argv]
    argv = [re.sub("^--[^=]+", lambda flag: flag[0].replace("_", "-"), word) for word in argv]
    try:
        values, rest = _parser({"": flags}).parse_known_intermixed_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(f"{error.argument_name}: {error.message}") from None
    return vars(values), rest


def _parser(
    groups: Mapping[str, Iterable[Flag]],
    usage: str = "",
    description: str | None = None,
    epilog: str = "",
) -> argparse.ArgumentParser:
    """A parser whose help lists the flags under titles."""
    parser = argparse.ArgumentParser(
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=26, width=80),
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    for title, flags in groups.items():
        add_argument = parser.add_argument_group(title).add_argument
        for flag in flags:
            options: dict[str, Any] = {"metavar": flag.metavar, "type": flag.converted}
            if isinstance(flag.value, bool):
                options = {"action": "store_const", "const": not flag.value}
            elif isinstance(flag.value, tuple):
                options["nargs"] = "*" if flag.positional else "+"
            if flag.positional:
                add_argument(flag.setting, help=flag.help, **{"nargs": "?", **options})
            else:
                add_argument(flag.name, dest=flag.setting, help=flag.help, **options)
    return parser


def _listed(flags: Iterable[Flag], groups: Mapping[str, str]) -> dict[str, list[Flag]]:
    """The flags to list, by title, with their help and default.

    With groups, these are the flags in them, with the first sentence of their help. Without
    groups, they are all flags, with their full help.
    """
    by_name = {flag.name: flag for flag in flags}
    titles = {name: title for title, names in groups.items() for name in names.split()}
    listed: dict[str, list[Flag]] = {}
    for flag in (by_name[name] for name in titles or by_name if name in by_name):
        value = flag.value.name if isinstance(flag.value, Kind) else flag.value
        hidden = value is None or value is False or value == ()
        default = "" if hidden else f" (default: {'on' if value is True else value})"
        help = re.split(r"\.(?:\s|$)", flag.help)[0] if titles else flag.help
        help = f"{as_flags(help)}{' (required)' if flag.required else default}"
        title = titles.get(flag.name) or flag.name.lstrip("-").rpartition(".")[0] or "flags"
        listed.setdefault(title, []).append(flag._replace(help=help.replace("%", "%%")))
    return listed


class Command(Settings, ABC):
    """A command. Its fields are arguments and flags; its docstring is the beginning of its help."""

    @abstractmethod
    def execute(self) -> int | None:
        """Runs the command, and returns the exit status. None is success, as 0 is."""

    @classmethod
    def parsed(cls, argv: Sequence[str], name: str) -> Self:
        """Parses the arguments after the command.

        Args:
            argv: The arguments.
            name: Name of the command, such as `data check`.

        Raises:
            UserError: If a flag is unknown, or a value is missing or wrong.
            SystemExit: After printing help.
        """
        return cls.model_construct().with_flags(argv, name)

    def with_flags(
        self,
        argv: Sequence[str],
        name: str,
        *,
        epilog: str = "",
        groups: Mapping[str, str] | None = None,
        extra_flags: Sequence[Flag] = (),
    ) -> Self:
        """Returns the command with the values of a command line, as `parsed`.

        Args:
            argv, name: As in `parsed`.
            epilog: Last paragraph of the help.
            groups: The flags that `--help` lists, by title. By default, all flags are listed, as by
                `--help-all`.
            extra_flags: Flags already parsed by the caller; listed for help and suggestions.
        """
        own = list(flags_of(self))
        flags = [*own, *extra_flags]
        known_flags.set({flag.setting: flag.name for flag in flags})
        if not {"-h", "--help", "--help-all"}.isdisjoint(argv):
            arguments = [
                flag.name if flag.required else f"[{flag.name}]"
                for flag in flags
                if flag.positional
            ]
            required = [
                f"{flag.name} {flag.metavar}"
                for flag in flags
                if flag.required and not flag.positional
            ]
            _parser(
                _listed(flags, {} if "--help-all" in argv else groups or {}),
                usage=" ".join(["transmute", name, *arguments, *required, "[flags]"]),
                description=self.__doc__,
                epilog=epilog,
            ).print_help()
            sys.exit(0)
        values, rest = split_flags(argv, own)
        if rest:
            word = rest[0].split("=")[0]
            by_name = {flag.lstrip("-"): flag for flag in known_flags.get().values()}
            name_given = word.lstrip("-")
            longer = [by_name[one] for one in by_name if one.endswith(f".{name_given}")]
            shorter = [by_name[one] for one in by_name if name_given.endswith(f".{one}")]
            similar = difflib.get_close_matches(name_given, by_name, n=1)
            close = longer or shorter or [by_name[one] for one in similar]
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            if os.path.lexists(rest[0]):
                hint = "Put paths that begin with a dash last, after --. "
            fact = f"unknown flag {word}" if word[:1] == "-" else f"unexpected argument {word!r}"
            raise UserError(f"{fact}. {hint}See transmute {name} --help")
        return self.updated(nested(values))


def as_flags(message: object, known: Mapping[str, str] | None = None) -> str:
    """Renders the settings in a message as flags: `optimizer.clip=1` as --optimizer.clip 1.

    A setting without a flag of its full name is looked up by its last part (`data.a` as --a), as
    an element of a list (`log.1` as --log), or as the only setting that ends with this name (`lr`
    as --optimizer.lr). Settings without a flag are printed without backticks.

    Args:
        message: Text (or an error) with settings in backticks.
        known: The flags of the command, by setting. By default, those of the running command.
    """
    known = known_flags.get({}) if known is None else known

    def rendered(match: re.Match[str]) -> str:
        setting, _, value = match[1].partition("=")
        longer = [name for name in known if name.endswith(f".{setting}")]
        outer, _, last = setting.rpartition(".")
        names = [setting, outer if last.isdecimal() else last]
        names += longer if len(longer) == 1 else []
        flag = next((known[name] for name in names if name in known), match[1])
        value = printable(value)
        if value in ("True", "False"):
            return flag if ("no-" in flag) == (value == "False") else match[1]
        return f"{flag} {shlex.quote(value)}" if value and flag != match[1] else flag

    return re.sub(r"`([^`]+)`", rendered, str(message))


def run_and_exit(command: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its status, or prints an error in one line and exits with 2.

    If the program that reads the output ends first, the status is that of SIGPIPE.
    """
    # A closed stream is None. The next file would get its number, and the output of libraries.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # paths may have letters that a console cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _complete_output():
            sys.exit(command())
    except UserError as error:
        # Under torchrun, the same error occurs on all ranks.
        if os.environ.get("RANK", "0") == "0" or isinstance(error, RankError):
            # Items of lists are indented. Any other end of a line is in a name.
            lines = re.split(r"\n(?=  )", as_flags(error))
            print("transmute:", "\n".join(map(printable, lines)), file=sys.stderr)
    except BrokenPipeError:
        sys.exit(128 + 13)
    except OSError as error:  # no permission, no space left, ...
        fact = f"{error.filename or 'a file or standard output'}: {error.strerror or error}"
        print("transmute:", printable(fact), file=sys.stderr)
    except MemoryError:
        print(
            "transmute: memory ran out. Use smaller images, or end other programs", file=sys.stderr
        )
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(2)


@contextmanager
def _complete_output() -> Iterator[None]:
    """Writes buffered output at the end of the block.

    Raises:
        OSError: If it cannot be written. Python would print a traceback when it exits.
    """
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # The type depends on the number: BrokenPipeError, for example.
            raise OSError(error.errno, error.strerror, "standard output") from None


def say(text: object) -> None:
    """Prints lines. Other control characters, which may come from names, are escaped."""
    print("\n".join(map(printable, str(text).split("\n"))), flush=True)


def print_failures(problems: Sequence[str], total: int, action: str) -> int:
    """Prints a sentence for each image that could not be written, and returns the exit status.

    Args:
        problems: The sentences.
        total: Number of all images.
        action: Past participle of the verb: `written`.
    """
    if not problems:
        return 0
    lines = [*problems, f"{len(problems)} of {counted(total, 'image')} could not be {action}"]
    print(*(f"transmute: {printable(as_flags(line))}" for line in lines), sep="\n", file=sys.stderr)
    return 1
