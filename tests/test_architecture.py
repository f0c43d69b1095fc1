"""The layers of docs/architecture.md: a module imports only from layers below its own, or from its
own folder, and there are no cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "transmute"

LAYERS = [
    ["errors", "memory", "rows", "tensors"],
    ["files", "notebook", "startup"],
    ["documents"],
    ["config", "gpu", "plugins"],
    ["batch", "device", "download", "images", "lab", "run", "weights"],
    ["data", "diagnostics", "losses", "metrics", "networks", "recipes", "report"],
    ["methods", "translation"],
    ["training", "evaluation", "interop"],
    ["api", "serve"],
    ["demo"],
    ["cli"],
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")
)


def name_of(path: Path) -> str:
    """Dotted name below the package, such as `training.train`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_in(node: ast.AST, *, in_config: bool) -> Iterator[str]:
    """Names below the package that are imported, without those for type checking.

    Functions of config/ are left out: `build` imports what it builds.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.FunctionDef) and in_config:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imports_in(child, in_config=in_config)


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imports_in(tree, in_config=path.parent.name == "config")
    return {name.removeprefix("transmute.") for name in names if name.startswith("transmute.")}


IMPORTS = {name_of(path): imports_of(path) for path in MODULES}


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_down(module: str) -> None:
    own = module.split(".")[0]
    assert own in LAYER_OF, f"{own} has no layer yet: give it one here and in docs/architecture.md"
    for name in IMPORTS[module]:
        unit = name.split(".")[0]
        if unit not in LAYER_OF:  # `from transmute import __version__`
            continue
        assert unit == own or LAYER_OF[unit] < LAYER_OF[own], f"imports {name}"


def test_there_are_no_import_cycles() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in finished:
            for name in IMPORTS[module] & IMPORTS.keys():
                visit(name, (*path, module))
            finished.add(module)

    for module in IMPORTS:
        visit(module, ())


def test_training_knows_of_methods_only_the_contract() -> None:
    imported = {
        name
        for module, names in IMPORTS.items()
        if module.startswith("training.")
        for name in names
        if name.startswith("methods.")
    }
    assert {name.split(".")[1] for name in imported} == {"base"}


def functions() -> Iterator[tuple[str, int]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                yield f"{name_of(path)}.{node.name}", node.end_lineno - node.lineno + 1


def test_no_function_is_longer_than_60_lines() -> None:
    assert [function for function in functions() if function[1] > 60] == []


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", code]
    return set(
        subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.split()
    )


def test_translating_loads_nothing_of_training() -> None:
    loaded = loaded_by("import transmute; transmute.Translator")
    assert "transmute.translation.translator" in loaded
    never = tuple(f"transmute.{name}" for name in ("training", "methods", "losses", "data.stream"))
    assert not {name for name in loaded if name.startswith(never)}


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "--help-all"],
        ["translate", "--help"],
        ["data", "--help"],
        ["data", "check", "--help"],
        ["pull", "--help"],
        ["pull"],
    ],
    ids=" ".join,
)
def test_help_does_not_import_torch(command: list[str]) -> None:
    quiet = "contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit)"
    loaded = loaded_by(
        "import contextlib, io\nfrom transmute.cli import run_command\n"
        f"with {quiet}:\n    run_command({command})"
    )
    assert "transmute.cli" in loaded
    assert "torch" not in loaded
