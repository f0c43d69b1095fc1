"""`transmute report` and `watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from transmute.cli.parsing import parsed
from transmute.run import Run
from transmute.settings import Settings, UserError


class ReportArguments(Settings):
    """Writes report.html of a run anew, or a page that compares several runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")] = ()
    """Run folders."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """HTML file to write; None is report.html in the run, or compare.html here for several."""


def report(arguments: list[str]) -> int:
    """Writes the page of a run, or of several."""
    from transmute.report.page import page
    from transmute.run import write_atomically

    given = parsed(ReportArguments, arguments, "report")
    runs = [Run(folder) for folder in given.runs]
    if not runs:
        raise UserError("name one run folder, or several to compare")
    for run in runs:
        if not run.exists():
            raise UserError(f"{run.folder} is no run folder: it has no recipe.json")
    several = len(runs) > 1
    out = given.out or (Path("compare.html") if several else runs[0].report_file)
    if out.suffix != ".html" or (out.exists() and not out.is_file()):
        raise UserError(f"--out {out} should be a file that ends in .html")
    title = f"{len(runs)} runs" if several else runs[0].folder.resolve().name
    write_atomically(out.resolve(), page(runs, title=title))
    print(out)
    return 0


class WatchArguments(Settings):
    """Serves the page of all runs in a folder to a browser on this machine; what is new appears by itself. Nothing can be changed there."""

    runs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")] = Path("runs")
    """Run folder, or a folder of them."""
    port: int = Field(default=8765, ge=0, le=65535)
    """Port on 127.0.0.1; 0 takes any that is free."""


def watch(arguments: list[str]) -> int:
    """Serves the page until Ctrl-C."""
    from transmute.app.watch import server

    given = parsed(WatchArguments, arguments, "watch")
    with server(given.runs, port=given.port) as serving:
        port = serving.server_address[1]
        print(f"watching {given.runs}: open http://127.0.0.1:{port}; Ctrl-C ends", flush=True)
        print(f"from another machine: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE, then the same address", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
