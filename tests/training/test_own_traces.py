"""Golden traces: the losses of twenty steps per recipe, recorded by an earlier version.

A change that is not meant to change results leaves them untouched. After one that is, record them
again: TRANSMUTE_WRITE_TRACES=1 pytest tests/training/test_own_traces.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from transmute.batch import Batch
from transmute.config.methods import CUTConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
from transmute.config.training import AdamConfig, LinearConfig, Recipe
from transmute.training.schedule import learning_rate_factor
from transmute.training.trainer import Trainer

TINY_CUT = TINY_CYCLEGAN.replace(
    method=CUTConfig(
        generator=ResNetConfig(
            width=4, blocks=1, downsampling="antialiased", upsampling="antialiased"
        ),
        discriminator=PatchGANConfig(width=4, layers=1, downsampling="antialiased"),
        layers=(0, 4, 8, 12),
        width=8,
        patches=16,
        flip=True,
    )
)
TRACES = Path(__file__).parent / "traces"
OLD_NAMES = {"gan": "fool", "discriminator": "discriminate", "nce": "contrast"}
"""Names of losses when the traces were written."""


def old_name(name: str) -> str:
    kind, separator, domain = name.partition("_")
    return OLD_NAMES.get(kind, kind) + separator + domain


def trace(recipe: Recipe) -> list[dict[str, float]]:
    """Losses of twenty float64 steps on images of sine waves."""
    torch.manual_seed(0)
    trainer = Trainer(recipe.method.build(3, 3, (16, 16)).double(), AdamConfig(ema=0.9, clip=100.0))
    grid = torch.linspace(0, 6, 16, dtype=torch.float64)
    rows = []
    for step in range(20):
        phases = step + torch.arange(12, dtype=torch.float64).reshape(2, 2, 3, 1, 1)
        a, b = torch.sin(grid[:, None] + 2 * grid + phases)
        torch.manual_seed(step)
        losses = trainer.step(
            [Batch(a, b.flip(-1))], lr_factor=learning_rate_factor(LinearConfig(), step, 20)
        )
        rows.append({old_name(name): loss.item() for name, loss in losses.items()})
    return rows


@pytest.mark.parametrize(
    "recipe", [TINY_CYCLEGAN, TINY_PIX2PIX, TINY_CUT], ids=["cyclegan", "pix2pix", "cut"]
)
def test_losses_equal_the_golden_traces(recipe: Recipe) -> None:
    file, rows = TRACES / f"{recipe.method.name}.json", trace(recipe)
    if os.environ.get("TRANSMUTE_WRITE_TRACES"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(file.read_text(encoding="utf-8"))
    # Other processors sum float64 in another order, and twenty steps amplify that. A real change
    # shows in the first digits.
    assert rows == [pytest.approx(row, rel=1e-6) for row in expected]
