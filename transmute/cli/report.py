"""`transmute report` and `watch`."""

import contextlib
from pathlib import Path
from typing import Annotated

from pydantic import Field

from transmute.cli.parsing import Command
from transmute.config.base import Argument
from transmute.errors import UserError
from transmute.run import Run


class ReportCommand(Command):
    """Rebuilds the report.html of a run, or writes an HTML report that compares several runs."""

    runs: Annotated[tuple[Path, ...], Argument("RUN [RUN ...]", positional=True)] = ()
    """Run folders. Several are compared."""
    out: Annotated[Path | None, Argument("FILE")] = None
    """HTML file to write. If omitted, report.html in the run, or compare.html for several runs."""

    def execute(self) -> None:
        from transmute.files import write_text
        from transmute.report.page import render_page

        runs = [Run(folder) for folder in self.runs]
        if not runs:
            raise UserError("RUN is required. Pass one run folder, or several to compare them")
        for run in runs:
            if not run.exists():
                raise UserError(f"{run.folder} is not a run folder: it has no recipe.json")
        out = self.out or (Path("compare.html") if len(runs) > 1 else runs[0].report_file)
        if out.suffix != ".html" or (out.exists() and not out.is_file()):
            raise UserError(
                f"`out={out}` is not an HTML file. Choose a path with the extension .html"
            )
        write_text(out.resolve(), render_page(runs))
        print(out)


class WatchCommand(Command):
    """Shows all runs in a folder on a local web page that updates itself. The page is read-only."""

    runs: Annotated[Path, Argument("RUNS", positional=True)] = Path("runs")
    """Run folder, or a folder that contains run folders."""
    port: int = Field(default=8765, ge=0, le=65535)
    """Port on 127.0.0.1. 0 chooses a free one."""

    def execute(self) -> None:
        from transmute.serve.dashboard import make_server

        with make_server(self.runs, port=self.port) as server:
            url = f"127.0.0.1:{server.server_address[1]}"
            print(
                f"watching {self.runs}: open http://{url} (Ctrl-C stops)\n"
                f"from another machine: ssh -L {server.server_address[1]}:{url} THIS-MACHINE, then "
                "open the same address there",
                flush=True,
            )
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
