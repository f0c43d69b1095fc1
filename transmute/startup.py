"""Start-up of processes: signals during imports, and scripts that new processes import."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from transmute.errors import UserError

_REIMPORTED = 78
"""Exit status of a process that would have started training by importing its parent's script."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """Ends the process by an exception, or without one during an import. A signal handler.

    Libraries catch a KeyboardInterrupt in their imports, and C code turns it into other errors.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            exit_at_once(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Exits without cleaning up. A signal handler."""
    os._exit(128 + number)


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Delays Ctrl-C, and blocks it in processes that start in the block.

    Interrupting a process while it starts would print a traceback. A process that runs code of
    this package accepts Ctrl-C again with `accept_ctrl_c`.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def accept_ctrl_c() -> None:
    """Handles Ctrl-C in a process that was started while it was blocked."""
    signal.signal(signal.SIGINT, interrupt)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def exit_if_reimported() -> None:
    """Exits if this process is importing the script of its parent, which would start again."""
    script = sys.modules.get("__mp_main__")  # set before the import, and `__main__` after it
    if script is not None and script is not sys.modules["__main__"]:
        sys.exit(_REIMPORTED)


def require_main_guard() -> None:
    """Checks, by starting a process, that the script can be imported by new processes.

    Raises:
        UserError: If importing it starts training.
    """
    import multiprocessing

    probe = multiprocessing.get_context("spawn").Process(target=int)
    with ctrl_c_blocked():
        probe.start()
    probe.join()
    if probe.exitcode == _REIMPORTED:
        raise UserError(
            f"{sys.argv[0]} starts other processes, each of which imports it first and would train "
            'again. Move the call of transmute.train below `if __name__ == "__main__":`'
        )
