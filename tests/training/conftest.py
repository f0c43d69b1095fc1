"""A finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.runs import config
from transmute.training.train import train


@pytest.fixture(scope="session")
def finished(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of eight steps."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(config(animals, run)) is None
    return run
