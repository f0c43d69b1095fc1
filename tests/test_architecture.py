"""The floors of docs/architecture.md: a module imports only from below its own floor, or from its own folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "transmute"

FLOORS = [
    ["settings", "tensors"],
    ["batch", "images", "lab", "weights", "run", "devices", "download"],
    ["data", "networks", "losses", "metrics", "diagnostics", "report"],
    ["methods", "translation"],
    ["training", "evaluation", "interop"],
    ["recipes", "app", "demo", "bench", "doctor"],
    ["cli"],
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def unit_of(path: Path) -> str:
    """The folder or module directly under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    """Dotted names inside the package that a module imports anywhere, type checking included."""
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [name.removeprefix("transmute.") for name in names if name.startswith("transmute.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    own = unit_of(path)
    assert own in FLOOR_OF, f"{own} has no floor yet: give it one here and in docs/architecture.md"
    for name in imports_of(path):
        unit = name.split(".")[0]
        assert unit == own or FLOOR_OF[unit] < FLOOR_OF[own], f"{own} (floor {FLOOR_OF[own]}) imports {name} (floor {FLOOR_OF[unit]})"


def test_training_knows_of_methods_only_the_contract_and_the_settings() -> None:
    imported = {name for path in (PACKAGE / "training").glob("*.py") for name in imports_of(path) if name.startswith("methods")}
    assert imported <= {"methods.base", "methods.config"}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_translating_loads_nothing_of_training() -> None:
    loaded = loaded_by("import transmute; transmute.Translator")
    assert "transmute.translation.translator" in loaded
    assert not {name for name in loaded if name.startswith(("transmute.training", "transmute.methods", "transmute.losses", "transmute.data.stream"))}


@pytest.mark.parametrize(
    "command",
    [["--help"], ["train", "--help"], ["translate", "--help"], ["data", "--help"], ["data", "check", "--help"], ["pull", "--help"], ["pull"]],
    ids=" ".join,
)
def test_help_does_not_import_torch(command: list[str]) -> None:
    quietly = "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):"
    loaded = loaded_by(f"import contextlib, io\nfrom transmute.cli import run_command\n{quietly}\n    run_command({command})")
    assert "transmute.cli" in loaded
    assert "torch" not in loaded
