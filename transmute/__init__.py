"""Turns two folders of images into a translator between them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transmute.api import evaluate, export, import_weights, train
    from transmute.translation.translator import Translator

__version__ = "0.2.0"
__all__ = ["Translator", "__version__", "evaluate", "export", "import_weights", "train"]


def __getattr__(name: str) -> object:
    # Importing torch takes a second, which `transmute --help` must not.
    if name == "Translator":
        from transmute.translation.translator import Translator

        return Translator
    if name in __all__:
        from transmute import api

        return vars(api)[name]
    raise AttributeError(f"module 'transmute' has no attribute {name!r}")
