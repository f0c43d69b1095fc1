"""What a notebook shows: the progress of training, and cards of runs and translators."""

import base64
import contextlib
import html
import io
from collections.abc import Mapping
from pathlib import Path

from transmute.errors import printable

_SHEET_SIZE = 640
"""Longest side of a sample sheet in pixels. The notebook file contains it."""


def card(title: str, facts: Mapping[str, object], sheet: Path | None = None) -> str:
    """HTML of a title, a table of facts and a sample sheet."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{_escaped(name)}</th>"
        f"<td style='text-align:left'>{_escaped(value)}</td></tr>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    return f"<b>{_escaped(title)}</b><table>{rows}</table>{_image(sheet)}"


class NotebookProgress:
    """An output of the running cell: a line about the progress above the newest sample sheet."""

    def __init__(self) -> None:
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        assert handle is not None  # because of display_id
        self._handle = handle

    def show(self, line: str, sheet: Path | None) -> None:
        """Replaces the line and the sheet."""
        shown = f"<pre>{_escaped(line)}</pre>{_image(sheet)}"
        self._handle.update({"text/plain": line, "text/html": shown}, raw=True)


def _escaped(text: object) -> str:
    return html.escape(printable(text))


def _image(path: Path | None) -> str:
    """An HTML image that contains a PNG file, as a smaller JPEG. Empty if it cannot be read."""
    from PIL import Image

    data = io.BytesIO()
    if path is None:
        return ""
    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
        with Image.open(path, formats=["PNG"]) as image:
            image.thumbnail((_SHEET_SIZE, _SHEET_SIZE))
            image.convert("RGB").save(data, "JPEG", quality=85)
        return f"<img src='data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}'>"
    return ""
