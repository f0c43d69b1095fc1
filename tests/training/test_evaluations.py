"""What a training run does with its evaluations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_CYCLEGAN
from transmute.config.metrics import MetricsConfig
from transmute.config.training import TrainConfig
from transmute.metrics.evaluator import Evaluator, Metric
from transmute.run import Run
from transmute.training.train import train


class NotFinite(Evaluator):
    """Measures NaN after the first evaluation."""

    evaluations = 0

    def both_directions(self, *arguments: Any, **keywords: Any) -> dict[str, list[Metric]]:
        measured = super().both_directions(*arguments, **keywords)
        self.evaluations += 1
        if self.evaluations == 1:
            return measured
        return {
            direction: [replace(metric, value=math.nan) for metric in metrics]
            for direction, metrics in measured.items()
        }


def test_the_value_just_measured_is_printed_even_if_it_is_not_finite(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = TrainConfig(
        folder=animals,
        run=tmp_path,
        recipe=TINY_CYCLEGAN.replace(steps=2),
        device="cpu",
        evaluate_every=2,
        metrics=MetricsConfig(features="texture", lpips="none"),
        best="cycle",
    )
    assert train(config, evaluator=NotFinite) is None
    assert "step 2: cycle nan\n" in capsys.readouterr().out
    assert Run(tmp_path).best() is None
