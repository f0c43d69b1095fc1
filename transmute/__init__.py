"""Transmute turns two folders of pictures into a translator between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transmute.recipes import train
    from transmute.translation.translator import Translator

__version__ = "0.1.0"
__all__ = ["Translator", "__version__", "train"]


def __getattr__(name: str) -> object:
    # Importing torch takes a second; `transmute --help` must not.
    if name == "Translator":
        from transmute.translation.translator import Translator

        return Translator
    if name == "train":
        from transmute.recipes import train

        return train
    raise AttributeError(f"module 'transmute' has no attribute {name!r}")
