"""The report of a run: one self-contained page, made from the run folder alone."""

from __future__ import annotations

from transmute.run import Run


def write_report(run: Run, last_step: int) -> None: ...
