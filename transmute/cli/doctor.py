"""`transmute doctor`: checks that this machine can train."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from transmute.cli.parsing import as_flags, parse
from transmute.config.base import Argument, Settings


class DoctorArguments(Settings):
    """Checks that this machine can train: software, numerical results of devices, disk, memory and
    optional packages. Exits with 1 if a check fails."""

    folder: Annotated[Path, Argument("DIR", positional=True)] = Path("runs")
    """Folder for runs, whose disk is checked."""
    json_: Annotated[bool, Argument(name="json")] = False
    """Print JSON instead of the table."""


def doctor(arguments: list[str]) -> int:
    """Checks the machine."""
    settings = parse(DoctorArguments, arguments, "doctor")

    from rich.console import Console
    from rich.table import Table

    from transmute.cli.checks import all_checks

    checks = list(all_checks(settings.folder))
    bad = [check for check in checks if check.ok is False]
    if settings.json_:
        print(json.dumps({"healthy": not bad, "checks": list(map(asdict, checks))}, indent=2))
        return 1 if bad else 0
    table = Table("", "check", "result", box=None, pad_edge=False)
    for check in checks:
        table.add_row({True: "ok", False: "BAD", None: ""}[check.ok], check.name, check.result)
    console = Console(highlight=False)
    console.print(table)
    for check in checks:
        if check.advice and not check.ok:
            console.print(f"{check.name}: {as_flags(check.advice)}", markup=False, soft_wrap=True)
    summary = "not healthy: " + ", ".join(check.name for check in bad) if bad else "healthy"
    console.print(summary, markup=False)
    return 1 if bad else 0
