"""Configuration of the documentation site; `make docs` builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for settings_reference.py

from sphinx.application import Sphinx

import transmute

project = "Transmute"
author = "The Transmute authors"
release = transmute.__version__
html_title = f"Transmute {release}"
html_theme = "furo"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "settings_reference"]
exclude_patterns = ["_build"]
# Docstrings write code in single backticks, as Markdown does.
default_role = "code"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_class_signature = "separated"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Names instead of what they stand for.
autodoc_type_aliases = {
    name: name
    for name in (
        *("AnyDiscriminator", "AnyGANLoss", "AnyGenerator", "AnyMethod", "AnySchedule"),
        *("Direction", "Features", "Generators", "Images", "Name", "Norm", "Padding", "Scalar"),
        *("Scores", "Size", "Vectors"),
    )
}
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def hide_colon(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keeps napoleon from taking the start of an attribute's text, up to a colon, as its type."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", "\0")


def restore_colon(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Undoes `hide_colon` after napoleon has run."""
    lines[:] = [line.replace("\0", ":") for line in lines]


def plain_aliases(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Removes a wrapper that Sphinx prints around type aliases in unions."""
    signature, returned = (
        text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)
        for text in (signature, returned)
    )
    return signature, returned


def setup(app: Sphinx) -> None:
    """Registers the event handlers."""
    app.connect("autodoc-process-docstring", hide_colon, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", restore_colon, priority=600)
    app.connect("autodoc-process-signature", plain_aliases)
