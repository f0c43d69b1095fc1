from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc of Linux")


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    """Runs campaigns in a process of their own, because pytest has threads, which do not fork."""
    return subprocess.run(
        [sys.executable, "-m", "tests.campaigns", *flags],
        cwd=Path(__file__).parents[2],
        env={
            name: value for name, value in os.environ.items() if name != "PYTHONWARNDEFAULTENCODING"
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.slow
def test_a_sample_of_each_campaign_ends_without_tracebacks_hangs_and_leftovers() -> None:
    done = run("--sample")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", ["1", "2"])
def test_all_campaigns_end_without_tracebacks_hangs_and_leftovers(seed: str) -> None:
    done = run("--seed", seed)
    assert done.returncode == 0, done.stdout + done.stderr
