"""Collects what decoding libraries would print, so that it can be attributed to a file."""

import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LIBRARIES = r"(PIL|tifffile|pydicom)(\.|$)"
_reading = threading.local()
_LIBTIFF = re.compile(r"\w*(TIFF|LZW|ZIP|JPEG|LERC|Fax|PackBits)\w*: ")
_standard_error = threading.Lock()


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collects the warnings of decoding libraries in this thread, each once.

    From the first call on, Python's filters pass on all warnings of these libraries, and
    `warnings.showwarning` prints those that are not collected, as before. (With
    `warnings.catch_warnings` instead, threads would undo the changes of each other.)
    """
    if not isinstance(warnings.showwarning, _Show):
        warnings.showwarning = _Show(warnings.showwarning)
        warnings.filterwarnings("always", category=UserWarning, module=_LIBRARIES)
        for name in ("tifffile", "pydicom"):
            logging.getLogger(name).addFilter(_is_for_others)  # is added only once
    found: list[str] = []
    outer, _reading.messages = getattr(_reading, "messages", None), found
    try:
        yield found
    finally:
        _reading.messages = outer


@contextmanager
def libtiff_collected() -> Iterator[None]:
    """Collects what libtiff prints, which is written in C: to the standard error stream.

    The stream is redirected for the whole process. Lines of others are printed afterwards.
    """
    with _standard_error, tempfile.TemporaryFile() as file:
        stream = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stream, 2)
            os.close(stream)
            file.seek(0)
            for line in file:
                text = line.decode(errors="replace")
                if not (_LIBTIFF.match(text) and _collect(text)):
                    os.write(2, line)


def _collect(message: str) -> bool:
    """Adds a message to those of the file that this thread is reading, if it is reading one."""
    messages = getattr(_reading, "messages", None)
    line = " ".join(message.split())
    if messages is not None and line not in messages:
        messages.append(line)
    return messages is not None


class _Show:
    """Replaces `warnings.showwarning`.

    Args:
        previous: Prints the warnings that are not about a file.
    """

    def __init__(self, previous: Any) -> None:
        self.previous = previous

    def __call__(self, message: Warning | str, category: type[Warning], *where: Any) -> None:
        if not _collect(str(message)):
            self.previous(message, category, *where)


def _is_for_others(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING or not _collect(record.getMessage())
