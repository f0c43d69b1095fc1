"""What can be checked on a CUDA device only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN
from transmute import Translator
from transmute.batch import Batch
from transmute.run import Run
from transmute.training.config import AdamConfig, TrainConfig
from transmute.training.train import train
from transmute.training.trainer import Trainer
from transmute.weights import load_tensors

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_a_step_on_the_gpu_is_that_on_the_cpu() -> None:
    torch.manual_seed(0)
    config = TINY_CYCLEGAN.method.replace(history=0)
    here = config.build(3, 3, (16, 16)).double()
    there = config.build(3, 3, (16, 16)).double()
    there.load_state_dict(here.state_dict())
    pictures = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
    expected = Trainer(here, AdamConfig()).step([pictures])
    found = Trainer(there.cuda(), AdamConfig()).step([pictures.to(torch.device("cuda"))])
    # float64 in another order of summation.
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_runs_is_continued_and_translates_on_the_gpu(animals: Path, tmp_path: Path, precision: str, workers: int) -> None:
    config = TrainConfig(folder=animals, run=tmp_path, recipe=TINY_CYCLEGAN, save_every=4, keep=2, device="cuda", precision=precision)  # pyright: ignore
    config = config.replace(data=config.data.replace(workers=workers))
    assert train(config) is None
    Run(tmp_path).checkpoint_file(8).write_bytes(b"")
    assert train(config) is None
    assert Run(tmp_path).checkpoints() == [4, 8]
    assert int(load_tensors(Run(tmp_path).checkpoint_file(8))[1]["step"]) == 8
    assert Translator(tmp_path, device="cuda")(next((animals / "testA").iterdir())).size == (16, 16)
