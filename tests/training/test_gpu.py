"""Tests that need a CUDA device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

from benchmarks.comparison import compare
from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX_METHOD
from transmute import Translator
from transmute.batch import Batch
from transmute.config.losses import WGANGPConfig
from transmute.config.methods import ColorizationConfig, CUTConfig
from transmute.config.training import AdamConfig, TrainConfig
from transmute.methods.base import Method
from transmute.recipes import RECIPES
from transmute.run import Run
from transmute.training.capture import WARM_UP
from transmute.training.train import train
from transmute.training.trainer import Speed, Trainer
from transmute.weights import load_tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_step_on_the_gpu_equals_one_on_the_cpu() -> None:
    torch.manual_seed(0)
    config = TINY_CYCLEGAN_METHOD.replace(history=0)
    here = config.build(3, 3, (16, 16)).double()
    there = config.build(3, 3, (16, 16)).double()
    there.load_state_dict(here.state_dict())
    images = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
    expected = Trainer(here, AdamConfig()).step([images])
    found = Trainer(there.cuda(), AdamConfig()).step([images.to(torch.device("cuda"))])
    # float64, summed in another order.
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}, rel=1e-9
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_trains_resumes_and_translates_on_the_gpu(
    animals: Path, tmp_path: Path, precision: Any, workers: int
) -> None:
    config = TrainConfig(
        folder=animals,
        run=tmp_path,
        recipe=TINY_CYCLEGAN,
        save_every=4,
        keep=2,
        device="cuda",
        precision=precision,
    )
    config = config.replace(data=config.data.replace(workers=workers))
    assert train(config) is None
    Run(tmp_path).checkpoint_file(8).write_bytes(b"")
    assert train(config) is None
    assert Run(tmp_path).checkpoints() == [4, 8]
    assert int(load_tensors(Run(tmp_path).checkpoint_file(8))[1]["step"]) == 8
    assert Translator(tmp_path, device="cuda")(next((animals / "testA").iterdir())).size == (16, 16)


def trained(
    method: Method, speed: Speed, *, steps: int = 10, say=print, size: int = 16, accumulate: int = 1
) -> tuple[Trainer, list[dict[str, float]]]:
    """A trainer after some deterministic steps, and its losses."""
    trainer = Trainer(method.cuda(), AdamConfig(ema=0.9, clip=10.0), speed=speed, say=say)
    random = torch.Generator().manual_seed(0)
    losses = []
    for step in range(steps):
        batch = Batch(*(torch.rand(2, 3, size, size, generator=random) * 2 - 1 for _ in "ab")).to(
            torch.device("cuda")
        )
        torch.manual_seed(step)
        losses.append(
            {
                name: loss.item()
                for name, loss in trainer.step(
                    batch.parts(accumulate), lr_factor=1 - step / steps
                ).items()
            }
        )
    return trainer, losses


def built(name: str = "cyclegan") -> Method:
    torch.manual_seed(0)
    if name == "cyclegan":
        return TINY_CYCLEGAN_METHOD.build(3, 3, (16, 16))
    if name == "penalty":
        return TINY_CYCLEGAN_METHOD.replace(adversarial=WGANGPConfig()).build(3, 3, (16, 16))
    if name == "colorization":
        return ColorizationConfig(
            generator=TINY_PIX2PIX_METHOD.generator, discriminator=TINY_PIX2PIX_METHOD.discriminator
        ).build(3, 3, (16, 16))
    if name == "cut":
        method = RECIPES["fastcut"].method
        assert isinstance(method, CUTConfig)
        return method.replace(
            generator=method.generator.replace(width=4, blocks=1),
            layers=(0, 4, 8),
            width=8,
            patches=16,
        ).build(3, 3, (32, 32))
    return TINY_PIX2PIX_METHOD.build(3, 3, (16, 16))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["cyclegan", "penalty", "pix2pix", "cut", "colorization"])
def test_a_captured_training_equals_an_eager_one(name: str, accumulate: int) -> None:
    size = 32 if name == "cut" else 16
    said = []
    torch.use_deterministic_algorithms(True)
    try:
        eager, expected = trained(built(name), Speed(), size=size, accumulate=accumulate)
        captured, found = trained(
            built(name), Speed(captured=True), say=said.append, size=size, accumulate=accumulate
        )
    finally:
        torch.use_deterministic_algorithms(False)
    assert said == []
    # Image history, flips, positions and the learning rate change at every step. The rate is
    # float32 on the device, and a Python float otherwise.
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    for key, value in eager.state_dict().items():
        assert torch.allclose(
            value.float(), captured.state_dict()[key].float(), rtol=1e-3, atol=1e-5
        ), key


def test_gradients_are_averaged_between_graphs(tmp_path: Path) -> None:
    _, expected = trained(built(), Speed(captured=True))
    torch.distributed.init_process_group(
        "nccl", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        trainer, found = trained(built(), Speed(captured=True))
        assert trainer._captured is not None
        assert len(trainer._captured.pieces) == 5  # two collectives between three graphs
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_captured_step_launches_graphs_and_hardly_any_kernels() -> None:
    trainer, _ = trained(built(), Speed(captured=True), steps=WARM_UP + 2)
    batch = Batch(*(torch.rand(2, 3, 16, 16, device="cuda") for _ in "ab"))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as seen:
        trainer.step([batch])
    launches = {
        event.key: event.count
        for event in seen.key_averages()
        if event.key.startswith("cuda") and "Launch" in event.key
    }
    assert launches.get("cudaGraphLaunch") == 1
    assert sum(launches.values()) - launches["cudaGraphLaunch"] < 20


def test_a_step_that_cannot_be_captured_continues_eagerly() -> None:
    method, said = built(), []
    plain = method.step

    def waiting(batch: Batch):
        for update in plain(batch):
            yield update
            next(iter(update.losses.values())).item()  # waits for the device, which a graph cannot

    method.step = waiting  # pyright: ignore[reportAttributeAccessIssue]
    _, losses = trained(method, Speed(captured=True), say=said.append)
    assert len(said) == 1
    assert "could not be captured" in said[0]
    _, expected = trained(built(), Speed())
    for one, other in zip(expected, losses, strict=True):
        assert one == pytest.approx(other, rel=1e-2)


@pytest.mark.parametrize("compiled", [False, True])
def test_automatic_choices_stay_near_float32(compiled: bool) -> None:
    if compiled and not os.environ.get("JAXTYPING_DISABLE"):
        pytest.skip("compiling does not go with shape checks at run time: set JAXTYPING_DISABLE=1")
    said = []
    _, exact = trained(built(), Speed(), steps=WARM_UP + 3)
    _, rounded = trained(
        built(),
        Speed("bfloat16", compiled=compiled, captured=True, concatenated=True),
        steps=WARM_UP + 3,
        say=said.append,
    )
    assert not any("not" in line for line in said)
    for one, other in zip(exact, rounded, strict=True):
        assert one == pytest.approx(other, rel=0.05)


def test_deterministic_runs_are_bit_equal(animals: Path, tmp_path: Path) -> None:
    for name in "ab":
        config = TrainConfig(
            folder=animals,
            run=tmp_path / name,
            recipe=TINY_CYCLEGAN,
            device="cuda",
            precision="float32",
            deterministic=True,
        )
        assert train(config) is None
    one, other = (Run(tmp_path / name).checkpoint_file(8).read_bytes() for name in "ab")
    assert one == other


def test_steps_are_compared_on_the_gpu() -> None:
    found = compare(
        TINY_CYCLEGAN,
        torch.device("cuda"),
        Speed("bfloat16", captured=True, concatenated=True),
        pairs=2,
        say=print,
    )
    assert found.speedup.min > 0
    assert found.memory > 0
