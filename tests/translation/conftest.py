from __future__ import annotations

from pathlib import Path

import pytest

from tests.translation.models import save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model.safetensors")
