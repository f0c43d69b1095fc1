"""Runs the campaigns: python -m tests.campaigns [--seed N] [--only NAME ...] [--case NUMBER]."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.campaigns import archives, disks, flags, http, images, kills, models, run_files
from tests.campaigns.materials import build
from tests.campaigns.runner import TITLE, Campaign, Row, import_everything, lanes, run_case

MODULES = (images, models, run_files, flags, kills, disks, archives, http)


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
    """Runs the cases of a campaign, and prints its row and the cases that failed, by reason."""
    row = Row(campaign.name)
    if campaign.missing:
        print(f"{campaign.name:10} skipped: {campaign.missing}", flush=True)
        return row
    failures: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
    began = time.monotonic()
    for number, title, result in lanes(campaign, seed, numbers, jobs):
        row.add(number, result)
        if result.detail:
            key = (result.kind, reason(result.detail))
            failures.setdefault(key, []).append((number, title, result.detail))
    row.seconds = time.monotonic() - began
    print(row, flush=True)
    for name, values in row.notes.items():
        print(
            f"  {name}: {len(values)} times, median {median(values):.3g}, maximum {max(values):.3g}"
        )
    for (kind, why), cases in failures.items():
        found = ", ".join(str(number) for number, _, _ in cases[:6])
        print(f"  {len(cases)} {kind} --only {campaign.name} --seed {seed} --case {found}: {why}")
        print(f"    {cases[0][1][:150]!r}", flush=True)
        details = cases[0][2].strip().splitlines()[-4:]
        print(*(f"      {line[:200]}" for line in details), sep="\n", flush=True)
    return row


def reason(detail: str) -> str:
    """What failures of the same cause have in common: the error and the line that raised it."""
    frames = re.findall(r'transmute/([\w/]+\.py)", line \d+, in (\w+)', detail)
    lines = detail.strip().splitlines()
    line = lines[-1] if 'File "' in detail else lines[0]
    line = line if line.startswith("AssertionError") else line.split(":")[0]
    last = re.sub(r"\d+", "N", line)
    return " ".join([*(frames[-1] if frames else ()), last])[:110]


def show(campaign: Campaign, seed: int, number: int) -> int:
    """Runs one case, keeps its folder, and prints all that is known."""
    folder = Path(tempfile.mkdtemp(prefix=f"{campaign.name}-{number}-"))
    _, title, result = run_case(campaign, seed, number, folder)
    print(f"{campaign.name} {number}: {title}\nfolder: {folder}\n{result.kind}")
    if end := result.ended:
        print(f"status {end.status}, {end.seconds:.1f} s, {end.cpu:.1f} s of CPU time")
        print(result.ended.out, result.ended.err, sep="\n---\n")
    print(result.detail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
