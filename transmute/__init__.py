"""Turns two folders of images into a translator between them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transmute.api import train
    from transmute.evaluation import evaluate
    from transmute.interop.exporter import export
    from transmute.interop.importer import import_weights
    from transmute.translation.translator import Translator

__version__ = "0.2.0"
__all__ = ["Translator", "__version__", "evaluate", "export", "import_weights", "train"]

_MODULES = {
    "Translator": "transmute.translation.translator",
    "evaluate": "transmute.evaluation",
    "export": "transmute.interop.exporter",
    "import_weights": "transmute.interop.importer",
    "train": "transmute.api",
}
"""The modules that define the public names."""


def __getattr__(name: str) -> object:
    import pkgutil

    # Importing torch takes a second, which `transmute --help` must not.
    if name not in _MODULES:
        raise AttributeError(f"module 'transmute' has no attribute {name!r}")
    return pkgutil.resolve_name(f"{_MODULES[name]}:{name}")
