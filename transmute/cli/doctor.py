"""`transmute doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from transmute.cli.parsing import parsed
from transmute.settings import Settings


class DoctorArguments(Settings):
    """Looks whether this machine can train: torch's build, devices and what they compute, disk, memory, extras. Exit status 1 if it cannot."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where runs will lie."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON in place of the table."""


def doctor(arguments: list[str]) -> int:
    """Looks at the machine."""
    given = parsed(DoctorArguments, arguments, "doctor")

    from rich.console import Console
    from rich.table import Table

    from transmute.doctor import examine

    checks = examine(given.folder)
    bad = [check for check in checks if check.well is False]
    if given.json_:
        print(json.dumps({"healthy": not bad, "checks": [asdict(check) for check in checks]}, indent=2))
        return 1 if bad else 0
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in checks:
        table.add_row({True: "ok", False: "BAD", None: ""}[check.well], check.name, check.found)
    console = Console(highlight=False)
    console.print(table)
    for check in checks:
        if check.advice and not check.well:
            console.print(f"{check.name}: {check.advice}", markup=False, soft_wrap=True)
    console.print("healthy" if not bad else f"not healthy: {', '.join(check.name for check in bad)}", markup=False)
    return 1 if bad else 0
