"""The yardstick of all speed-ups computes what the original computes, and what our step computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from tests.training.test_golden_traces import TRACES, require_the_originals_steps
from transmute.batch import Batch
from transmute.bench.reference import Reference
from transmute.losses.config import WGANGPConfig
from transmute.methods.config import ColorizationConfig, CUTConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig
from transmute.settings import Settings
from transmute.training.config import AdamConfig
from transmute.training.trainer import Trainer


@pytest.mark.parametrize("name", TRACES)
def test_reference_steps_are_those_of_the_original(golden: Path, name: str) -> None:
    require_the_originals_steps(golden, name, lambda method: Reference(method, AdamConfig()).step)


CUT = CUTConfig(
    generator=ResNetConfig(width=2, blocks=1),
    discriminator=PatchGANConfig(width=2, layers=1),
    layers=(0, 4, 8),
    width=4,
    patches=10_000,  # all places, whose order does not matter
)
METHODS = {
    "cyclegan": TINY_CYCLEGAN.method.replace(history=0),
    "cyclegan without identity": TINY_CYCLEGAN.method.replace(history=0, identity=0.0),
    "pix2pix": TINY_PIX2PIX.method,
    "pix2pix with a penalty": TINY_PIX2PIX.method.replace(
        adversarial=WGANGPConfig(), discriminator=PatchGANConfig(width=4, layers=1), generator=TINY_PIX2PIX.method.generator.replace(dropout=False)
    ),
    "cut": CUT,
    "fastcut without flips": CUT.replace(identity=False, nce=10.0),
    "colorization": ColorizationConfig(generator=TINY_PIX2PIX.method.generator, discriminator=TINY_PIX2PIX.method.discriminator),
}


@pytest.mark.parametrize("name", METHODS)
def test_reference_steps_are_ours(name: str) -> None:
    config: Settings = METHODS[name]
    torch.manual_seed(0)
    ours, theirs = (config.build(3, 3, (16, 16)).double() for _ in range(2))  # pyright: ignore
    theirs.load_state_dict(ours.state_dict())
    trainer, reference = Trainer(ours, AdamConfig()), Reference(theirs, AdamConfig())
    for step in range(3):
        batch = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
        torch.manual_seed(step)
        found = trainer.step([batch])
        torch.manual_seed(step)
        expected = reference.step(batch)
        # float64 in another order of summation.
        assert {key: loss.item() for key, loss in found.items()} == pytest.approx({key: loss.item() for key, loss in expected.items()}, rel=1e-9)
    assert all((value - theirs.state_dict()[key]).abs().max() < 1e-8 for key, value in ours.state_dict().items() if value.numel())


def test_the_pool_of_the_reference_gives_back_old_pictures_once_it_is_full() -> None:
    from transmute.bench.reference import _Pool

    pool = _Pool(3)
    shown = [pool.query(torch.full((1, 1), float(number))).item() for number in range(60)]
    assert shown[:3] == [0, 1, 2]
    assert 10 < sum(value != number for number, value in enumerate(shown)) < 50
    assert _Pool(0).query(torch.ones(2, 1)).tolist() == [[1], [1]]
