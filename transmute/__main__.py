"""Entry points of the command line. They handle signals before anything else is imported."""

import signal
from typing import NoReturn

from transmute.startup import exit_at_once, interrupt


def main() -> NoReturn:
    """Runs `transmute`, and exits."""
    _run("transmute.cli:main")


def train_main() -> NoReturn:
    """Runs `transmute-train`, and exits."""
    _run("transmute.cli.junyanz:train_main")


def test_main() -> NoReturn:
    """Runs `transmute-test`, and exits."""
    _run("transmute.cli.junyanz:test_main")


def _run(name: str) -> NoReturn:
    """Imports a function that exits, and calls it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        import pkgutil

        pkgutil.resolve_name(name)()
    finally:
        signal.signal(signal.SIGINT, exit_at_once)  # while threads end and modules are unloaded
    raise AssertionError(f"{name} returned")


if __name__ == "__main__":
    main()
