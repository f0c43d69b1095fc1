"""Loads user code given as `FILE.py:NAME`: methods, networks, metrics and image readers."""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from transmute.errors import UserError

_PREFIX = "transmute_plugin_"


def is_reference(name: str) -> bool:
    """Returns True if a name refers to user code (`FILE.py:NAME`), not to something built in."""
    return ".py:" in name or name.endswith(".py")


def load(reference: str, base: type | None = None) -> Any:
    """Imports `FILE.py` and returns its attribute `NAME`.

    A file is imported once per process. It can import modules in the same folder.

    Args:
        reference: `FILE.py:NAME`.
        base: Class of which it must be a subclass. By default, it may be anything.

    Raises:
        UserError: If the reference is malformed, the file or name does not exist, importing fails,
            or it is not such a subclass.
    """
    file, _, name = reference.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"{reference!r} is not a reference to Python code. Write FILE.py:NAME")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"cannot load {reference}: there is no file {file}")
    defined = vars(import_file(path))
    if name not in defined:
        public = ", ".join(known for known in defined if not known.startswith("_"))
        raise UserError(f"{file} does not define {name}. It defines {public}")
    loaded = defined[name]
    if base is not None and not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise UserError(f"{reference} is not a subclass of {base.__module__}.{base.__name__}")
    return loaded


def loaded_files() -> list[Path]:
    """Files imported so far. Other processes must import them before unpickling objects."""
    return [
        Path(module.__file__)
        for name, module in sys.modules.items()
        if name.startswith(_PREFIX) and module.__file__
    ]


def import_file(path: Path) -> ModuleType:
    """Imports a file, once per process.

    The module's name depends only on the path, so that pickled objects can be loaded in another
    process that has imported the file too.

    Raises:
        UserError: If importing fails.
    """
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution: dataclasses and pickle look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        del sys.modules[name]
        raise UserError(f"importing {path} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
