"""Runs the campaigns: python -m tests.campaigns [--seed N] [--only NAME ...] [--case NUMBER]."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.campaigns import images
from tests.campaigns.materials import build
from tests.campaigns.runner import TITLE, Campaign, Row, import_everything, lanes, run_case

MODULES = (images,)


def main() -> int:
    """Runs the campaigns and prints a table. The status is 1 if any case ended badly."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of all cases")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the campaigns to run")
    parser.add_argument("--case", type=int, help="run one case of one campaign, and show it")
    parser.add_argument("--sample", action="store_true", help="run a few cases of each")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of cases")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    import_everything()
    with tempfile.TemporaryDirectory(prefix="campaigns-") as folder:
        materials = build(Path(folder))
        campaigns = [module.campaign(materials) for module in MODULES]
        chosen = [one for one in campaigns if not options.only or one.name in options.only]
        if options.case is not None:
            return show(chosen[0], options.seed, options.case)
        began = time.monotonic()
        print(f"seed {options.seed}\n{TITLE}", flush=True)
        rows = []
        for one in chosen:
            count = one.sample if options.sample else round(one.cases * options.scale)
            rows.append(run(one, options.seed, range(count), options.jobs))
        print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(row.is_good for row in rows) else 1


def run(campaign: Campaign, seed: int, numbers: range, jobs: int) -> Row:
    """Runs the cases of a campaign, and prints its row after the cases that failed."""
    row = Row(campaign.name)
    if campaign.missing:
        print(f"{campaign.name:10} skipped: {campaign.missing}", flush=True)
        return row
    failures, began = [], time.monotonic()
    for number, title, result, _ in lanes(campaign, seed, numbers, jobs):
        row.add(number, result)
        if result.detail:
            failures.append(f"  {campaign.name} --case {number}: {result.kind}: {title!r}\n"
                            f"    {result.detail.strip()[-900:]}".replace("\n", "\n    "))
    row.seconds = time.monotonic() - began
    print(row, *failures, sep="\n", flush=True)
    return row


def show(campaign: Campaign, seed: int, number: int) -> int:
    """Runs one case, keeps its folder, and prints all that is known."""
    folder = Path(tempfile.mkdtemp(prefix=f"{campaign.name}-{number}-"))
    _, title, result, seconds = run_case(campaign, seed, number, folder)
    print(f"{campaign.name} {number}: {title}\nfolder: {folder}\n{seconds:.1f} s: {result.kind}")
    if result.ended:
        print(f"status {result.ended.status}, {result.ended.cpu:.1f} s of CPU time")
        print(result.ended.out, result.ended.err, sep="\n---\n")
    print(result.detail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
