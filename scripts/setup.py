"""Sets up Transmute in .venv, on any system: python scripts/setup.py demo|test|campaign|lint|docs.

`make demo` and the other targets call this script. It installs what a target needs, once, and again
when pyproject.toml changes.
"""

import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

TARGETS = {
    "demo": ("", ["transmute demo"]),
    "test": (
        "dev",
        [
            "ruff check .",
            "ruff format --check .",
            "pyright",
            "pytest -n auto -m 'not extended and not campaign'",
        ],
    ),
    "campaign": ("dev", ["tests.campaigns"]),
    "lint": ("dev", ["ruff check --fix .", "ruff format ."]),
    "docs": ("docs", ["sphinx -q -W --keep-going docs docs/_build/html"]),
}
"""For each target, the extra that it needs, and the modules that it runs."""


def install(extra: str) -> None:
    """Creates .venv if needed, and installs the checkout with an extra into it."""
    marker, project = VENV / f"installed-{extra}", ROOT / "pyproject.toml"
    if marker.exists() and marker.stat().st_mtime > project.stat().st_mtime:
        return
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    checkout = f".[{extra}]" if extra else "."
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-e", checkout], cwd=ROOT, check=True)
    marker.touch()


def main() -> None:
    """Runs the target in `sys.argv`, and exits with the status of the first command that fails.

    Arguments after a target are those of its last module.
    """
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python scripts/setup.py {'|'.join(TARGETS)}")
    if sys.version_info < (3, 11):  # noqa: UP036, since any Python may run this script
        sys.exit(f"Transmute needs Python 3.11 or newer, but this is {sys.version.split()[0]}")
    extra, (*modules, last) = TARGETS[sys.argv[1]]
    # Tests fail where a text file is opened in the encoding of the system, which may not be UTF-8.
    strict = {"PYTHONWARNDEFAULTENCODING": "1"} if sys.argv[1] == "test" else {}
    environment = os.environ | strict
    try:
        install(extra)
        for module in (*modules, shlex.join([*shlex.split(last), *sys.argv[2:]])):
            command = [PYTHON, "-m", *shlex.split(module)]
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
