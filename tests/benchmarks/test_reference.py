"""The reference step equals pytorch-CycleGAN-and-pix2pix's step, and Transmute's step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.reference import HostHistory, Reference
from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from tests.training.test_golden_traces import TRACES, require_reference_steps
from transmute.batch import Batch
from transmute.config.losses import WGANGPConfig
from transmute.config.methods import ColorizationConfig, CUTConfig, MethodConfig, Pix2PixConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.config.training import AdamConfig
from transmute.training.trainer import Trainer


@pytest.mark.parametrize("name", TRACES)
def test_reference_steps_equal_those_of_pytorch_cyclegan_and_pix2pix(
    golden: Path, name: str
) -> None:
    require_reference_steps(golden, name, lambda method: Reference(method, AdamConfig()).step)


CUT = CUTConfig(
    generator=ResNetConfig(width=2, blocks=1),
    discriminator=PatchGANConfig(width=2, layers=1),
    layers=(0, 4, 8),
    width=4,
    patches=10_000,  # all positions, so that their random order does not matter
)
CYCLEGAN = TINY_CYCLEGAN.method.replace(history=0)
assert isinstance(TINY_PIX2PIX.method, Pix2PixConfig)
PIX2PIX = TINY_PIX2PIX.method
METHODS: dict[str, MethodConfig] = {
    "cyclegan": CYCLEGAN,
    "cyclegan without identity": CYCLEGAN.replace(identity=0.0),
    "pix2pix": PIX2PIX,
    "pix2pix with a penalty": PIX2PIX.replace(
        adversarial=WGANGPConfig(),
        discriminator=PatchGANConfig(width=4, layers=1),
        generator=UNetConfig(width=4, depth=3, dropout=False),
    ),
    "cut": CUT,
    "fastcut without flips": CUT.replace(identity=False, nce=10.0),
    "colorization": ColorizationConfig(
        generator=PIX2PIX.generator, discriminator=PIX2PIX.discriminator
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_reference_steps_are_those_of_transmute(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = (METHODS[name].build(3, 3, (16, 16)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    trainer, reference = Trainer(ours, AdamConfig()), Reference(theirs, AdamConfig())
    for step in range(3):
        batch = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
        torch.manual_seed(step)
        losses = trainer.step([batch])
        torch.manual_seed(step)
        expected = reference.step(batch)
        # Equal in float64 up to the order of summation.
        assert {key: loss.item() for key, loss in losses.items()} == pytest.approx(
            {key: loss.item() for key, loss in expected.items()}, rel=1e-9
        )
    assert all(
        (value - theirs.state_dict()[key]).abs().max() < 1e-8
        for key, value in ours.state_dict().items()
        if value.numel()
    )


def test_a_full_history_returns_old_images() -> None:
    history = HostHistory(3)
    returned = [history.swap(torch.full((1, 1), float(index))).item() for index in range(60)]
    assert returned[:3] == [0, 1, 2]
    assert 10 < sum(value != index for index, value in enumerate(returned)) < 50
    assert HostHistory(0).swap(torch.ones(2, 1)).tolist() == [[1], [1]]
