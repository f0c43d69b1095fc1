"""A recipe, settings and comparisons for tests of whole training runs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.conftest import TINY_CYCLEGAN
from transmute.config.data import PreprocessConfig
from transmute.config.training import AdamConfig, Recipe, TrainConfig
from transmute.run import Run
from transmute.weights import load_tensors

RECIPE = TINY_CYCLEGAN.replace(
    optimizer=AdamConfig(ema=0.9, clip=10.0, accumulate=2),
    preprocess=PreprocessConfig(load_size="18"),
)


TRAINING = """
import sys
import torch
from transmute.config.training import TrainConfig
from transmute.training.train import train
torch.set_num_threads(1)
stopped = train(TrainConfig.model_validate_json(sys.argv[1]))
sys.exit(128 + stopped if stopped else 0)
"""


def config(folder: Path, run: Path, recipe: Recipe = RECIPE, **changes) -> TrainConfig:
    settings = {
        "report_every": 3,
        "sample_every": 4,
        "save_every": 2,
        "keep": 2,
        "device": "cpu",
        "precision": "float32",
    } | changes
    return TrainConfig(folder=folder, run=run, recipe=recipe, **settings)


def command(settings: TrainConfig) -> list[str]:
    """A Python process that trains with these settings."""
    return [sys.executable, "-c", TRAINING, settings.model_dump_json()]


def rows(run: Path) -> list[dict]:
    """Rows of metrics.jsonl without speeds, and without symptoms.

    Symptoms depend on earlier checks, which a resumed run does not repeat.
    """
    speeds = ("images_per_second", "load_milliseconds", "symptoms")
    return [
        {key: value for key, value in row.items() if key not in speeds}
        for row in Run(run).metrics()
    ]


def assert_same(one: Path, other: Path) -> None:
    """Checks that two runs have bit-identical checkpoints, metrics, samples and models."""
    assert Run(one).checkpoints() == Run(other).checkpoints()
    for step in Run(one).checkpoints():
        (expected, _), (found, _) = (
            load_tensors(Run(run).checkpoint_file(step)) for run in (one, other)
        )
        assert expected.keys() == found.keys()
        assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert [list(row.items()) for row in rows(one)] == [list(row.items()) for row in rows(other)]
    assert Run(one).samples() == Run(other).samples()
    assert all(
        Run(one).sample_file(step).read_bytes() == Run(other).sample_file(step).read_bytes()
        for step in Run(one).samples()
    )
    for step in Run(one).models():
        for path in Run(one).model_folder(step).iterdir():
            assert path.read_bytes() == (Run(other).model_folder(step) / path.name).read_bytes()
