"""Entry points of the command line. They handle Ctrl-C before anything else is imported."""

import os
import signal
from types import FrameType
from typing import NoReturn


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
    signal.signal(signal.SIGINT, _interrupt)
    try:
        import pkgutil

        pkgutil.resolve_name(name)()
    finally:
        signal.signal(signal.SIGINT, _exit)  # while threads end and modules are unloaded
    raise AssertionError(f"{name} returned")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, or exits at once during an import.

    Libraries catch a KeyboardInterrupt in their imports, and C code turns it into other errors.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _exit(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """Exits without cleaning up: nothing was begun, or everything is finished."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
