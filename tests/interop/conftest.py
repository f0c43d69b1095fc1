from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def pairs(tmp_path: Path, animals: Path) -> Path:
    """Side by side images, 16 px each."""
    for phase in ("train", "test"):
        (tmp_path / "pairs" / phase).mkdir(parents=True)
        for index, (a, b) in enumerate(
            zip(
                sorted((animals / f"{phase}A").iterdir()),
                sorted((animals / f"{phase}B").iterdir()),
                strict=True,
            )
        ):
            both = Image.new("RGB", (32, 16))
            both.paste(Image.open(a), (0, 0))
            both.paste(Image.open(b), (16, 0))
            both.save(tmp_path / "pairs" / phase / f"{index}.png")
    return tmp_path / "pairs"
