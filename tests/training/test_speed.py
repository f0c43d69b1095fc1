from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX_METHOD
from transmute.batch import Batch
from transmute.config.methods import CUTConfig, MethodConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
from transmute.config.training import AdamConfig, TrainConfig
from transmute.run import Run
from transmute.training.speed import WORTH_COMPILING, select_speed
from transmute.training.train import train
from transmute.training.trainer import Speed, Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LONG, SHORT = WORTH_COMPILING, WORTH_COMPILING - 1
HISTORYLESS = TINY_CYCLEGAN_METHOD.replace(history=0)
CUT = CUTConfig(
    generator=ResNetConfig(width=2, blocks=1),
    discriminator=PatchGANConfig(width=2, layers=1),
    layers=(0, 4, 8),
    width=4,
    patches=9999,
)


def test_on_a_cpu_long_runs_are_compiled_and_nothing_is_captured() -> None:
    config = TrainConfig(precision="float32")
    short, line = select_speed(config, CPU, steps=SHORT, one_size=True)
    assert short == Speed()
    assert line == (
        "networks in float32 (as set), not compiled (pays off from 5000 steps), no CUDA graphs "
        "(needs a GPU)"
    )
    assert select_speed(config, CPU, steps=LONG, one_size=True)[0] == Speed(compiled=True)
    assert not select_speed(config, CPU, steps=LONG, one_size=False)[0].compiled
    assert not select_speed(config.replace(compile="off"), CPU, steps=LONG, one_size=True)[
        0
    ].compiled
    assert select_speed(config.replace(compile="on"), CPU, steps=SHORT, one_size=True)[0].compiled
    assert not select_speed(config.replace(compile="on"), CPU, steps=SHORT, one_size=False)[
        0
    ].compiled
    assert not select_speed(config.replace(graph="on"), CPU, steps=SHORT, one_size=True)[0].captured


def test_on_a_gpu_steps_are_captured_if_images_have_one_size() -> None:
    config = TrainConfig(precision="bfloat16")
    assert select_speed(config, CUDA, steps=LONG, one_size=True)[0] == Speed(
        "bfloat16", True, True, True
    )
    assert select_speed(config, CUDA, steps=LONG, one_size=False)[0] == Speed("bfloat16")
    assert not select_speed(config.replace(graph="off"), CUDA, steps=LONG, one_size=True)[
        0
    ].captured
    assert not select_speed(config.replace(graph="on"), CUDA, steps=LONG, one_size=False)[
        0
    ].captured
    assert not select_speed(config.replace(sync_batch_norm=True), CUDA, steps=LONG, one_size=True)[
        0
    ].captured


def test_a_resumed_run_keeps_its_choices() -> None:
    before = {"device_type": "cpu", "precision": "bfloat16", "compiled": True, "captured": False}
    speed, line = select_speed(TrainConfig(), CPU, steps=SHORT, one_size=True, before=before)
    assert speed == Speed("bfloat16", compiled=True)
    assert line.count("as before") == 2
    assert (
        select_speed(
            TrainConfig(precision="float32", compile="off"),
            CPU,
            steps=SHORT,
            one_size=True,
            before=before,
        )[0]
        == Speed()
    )
    elsewhere = before | {"device_type": "cuda"}
    assert not select_speed(
        TrainConfig(precision="float32"), CPU, steps=SHORT, one_size=True, before=elsewhere
    )[0].compiled


def test_networks_that_cannot_be_compiled_train_eagerly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stances = []

    def compiled(network: torch.nn.Module, dynamic: bool) -> None:
        def fail_on_fake_images(images: torch.Tensor) -> torch.Tensor:
            if stances[-1] == "force_eager" or not images.requires_grad:
                return network.forward(images)
            raise RuntimeError("backend='x' raised:\nNo working C++ compiler found\nand more")

        network._compiled_call_impl = fail_on_fake_images

    # Compiling the shape checks of the tests would fail in other ways.
    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "set_stance", stances.append)
    # With the discriminators first, they are updated and images are in the history at the failure.
    config = TINY_CYCLEGAN_METHOD.replace(first="discriminators", identity=0.0)
    batch = [Batch(*(torch.rand(2, 3, 16, 16) * 2 - 1 for _ in "ab"))]
    trainers, said = [], []
    for speed in (Speed(compiled=True), Speed()):
        torch.manual_seed(0)
        trainers.append(
            Trainer(config.build(3, 3, (16, 16)), AdamConfig(), speed=speed, say=said.append)
        )
        for _ in range(2):
            trainers[-1].step(batch)
    assert said == [
        "compiling the networks, which takes a minute or two",
        "networks are not compiled, because torch failed to do so (backend='x' raised: No "
        "working C++ compiler found)",
    ]
    assert all(
        torch.equal(value, trainers[1].state_dict()[name])
        for name, value in trainers[0].state_dict().items()
    )


@pytest.mark.parametrize(
    "config",
    [
        HISTORYLESS,
        HISTORYLESS.replace(identity=0.0),
        HISTORYLESS.replace(generator=HISTORYLESS.generator.replace(norm="batch")),
        CUT,
        TINY_PIX2PIX_METHOD,
        TINY_PIX2PIX_METHOD.replace(discriminator=HISTORYLESS.discriminator),
    ],
    ids=[
        "cyclegan",
        "without identity",
        "batch norm",
        "cut",
        "pix2pix",
        "pix2pix with instance norm",
    ],
)
def test_concatenated_passes_change_nothing(config: MethodConfig) -> None:
    torch.manual_seed(0)
    apart, together = (config.build(3, 3, (16, 16)).double() for _ in range(2))
    together.load_state_dict(apart.state_dict())
    trainers = (
        Trainer(apart, AdamConfig()),
        Trainer(together, AdamConfig(), speed=Speed(concatenated=True)),
    )
    for step in range(2):
        batch = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
        losses = []
        for trainer in trainers:
            torch.manual_seed(step)
            losses.append({name: loss.item() for name, loss in trainer.step([batch]).items()})
        # float64, summed in another order.
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert all(
        (value - together.state_dict()[key]).abs().max() < 1e-8
        for key, value in apart.state_dict().items()
        if value.numel()
    )


def passes(config: MethodConfig, *, concatenated: bool) -> dict[str, int]:
    """The number of forward passes of each network in a step."""
    method = config.build(3, 3, (16, 16))
    counts = dict.fromkeys(method.networks, 0)

    def count(name: str) -> None:
        counts[name] += 1

    for name, network in method.networks.items():
        network.module.register_forward_hook(lambda *_, name=name: count(name))
    Trainer(method, AdamConfig(), speed=Speed(concatenated=concatenated)).step(
        [Batch(*(torch.rand(1, 3, 16, 16) for _ in "ab"))]
    )
    return counts


def test_a_step_makes_no_more_passes_than_the_paper_needs() -> None:
    assert passes(HISTORYLESS, concatenated=False) == {
        "a_to_b": 3,
        "b_to_a": 3,
        "score_a": 3,
        "score_b": 3,
    }
    assert passes(HISTORYLESS, concatenated=True) == {
        "a_to_b": 2,
        "b_to_a": 2,
        "score_a": 2,
        "score_b": 2,
    }
    assert passes(HISTORYLESS.replace(identity=0.0), concatenated=False) == {
        "a_to_b": 2,
        "b_to_a": 2,
        "score_a": 3,
        "score_b": 3,
    }
    assert passes(
        TINY_PIX2PIX_METHOD.replace(discriminator=HISTORYLESS.discriminator), concatenated=True
    ) == {"a_to_b": 1, "score_b": 2}
    assert passes(TINY_PIX2PIX_METHOD, concatenated=True) == {
        "a_to_b": 1,
        "score_b": 3,
    }  # batch norm: real and fake images are separate passes
    assert passes(CUT, concatenated=False) == {"a_to_b": 2, "score_b": 3, "heads": 4}
    assert passes(CUT, concatenated=True) == {"a_to_b": 1, "score_b": 2, "heads": 4}


def test_a_run_estimates_its_remaining_time_after_the_first_steps(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert (
        train(
            TrainConfig(
                folder=animals, run=tmp_path, recipe=TINY_CYCLEGAN.replace(steps=20), device="cpu"
            )
        )
        is None
    )
    said = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line]
    assert len(said) == 1
    assert "steps/s: the remaining 5 take" in said[0]


def test_deterministic_runs_are_bit_identical_and_restore_torch_s_settings(
    animals: Path, tmp_path: Path
) -> None:
    during = []

    class Recorder:
        def after_step(self, run: Run, step: int) -> None:
            during.append(torch.are_deterministic_algorithms_enabled())

        def after_report(self, run: Run, row: dict) -> None: ...

        def after_save(self, run: Run, step: int) -> None: ...

    for name in "ab":
        config = TrainConfig(
            folder=animals,
            run=tmp_path / name,
            recipe=TINY_CYCLEGAN,
            device="cpu",
            precision="float32",
            deterministic=True,
        )
        assert train(config, Recorder()) is None
        assert during[-1]
        assert not torch.are_deterministic_algorithms_enabled()
    one, other = (Run(tmp_path / name).checkpoint_file(8).read_bytes() for name in "ab")
    assert one == other


COMPILED = """
import sys, torch
from pathlib import Path
from transmute.training.train import train
from transmute.config.training import Recipe, TrainConfig
from transmute.config.methods import CycleGANConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig

if __name__ == "__main__":
    method = CycleGANConfig(
        generator=ResNetConfig(width=4, blocks=1),
        discriminator=PatchGANConfig(width=4, layers=1),
        history=3,
    )
    recipe = Recipe(method=method, size="16", batch=2, steps=4)
    for precision in ("float32", "bfloat16"):
        for compile in ("on", "off"):
            run = Path(sys.argv[2]) / f"{precision}-{compile}"
            config = TrainConfig(
                folder=Path(sys.argv[1]),
                run=run,
                recipe=recipe,
                device="cpu",
                precision=precision,
                compile=compile,
            )
            assert train(config) is None
"""


@pytest.mark.extended
def test_a_compiled_training_equals_an_eager_one_up_to_rounding(
    animals: Path, tmp_path: Path
) -> None:
    script = tmp_path / "compiled.py"
    script.write_text(COMPILED, encoding="utf-8")
    # The run-time shape checks of the tests cannot be compiled, so this is a separate process.
    done = subprocess.run(
        [sys.executable, str(script), str(animals), str(tmp_path)],
        env=os.environ
        | {"JAXTYPING_DISABLE": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "networks in" in line]
    if "networks are not compiled" in done.stdout:
        pytest.skip("torch cannot compile here")
    assert ", compiled (as requested)" in said[0]
    # Adam divides by gradients near zero, so rounding (1e-7 in float32, 4e-3 in bfloat16) grows
    # with each of the four steps.
    for precision, tolerance in (("float32", 1e-3), ("bfloat16", 0.05)):
        rows = [Run(tmp_path / f"{precision}-{compile}").metrics()[-1] for compile in ("on", "off")]
        one, other = (
            {key: value for key, value in row.items() if "second" not in key} for row in rows
        )
        assert one == pytest.approx(other, rel=tolerance)


def test_everything_learns_in_bfloat16() -> None:
    torch.manual_seed(0)
    for config in (HISTORYLESS, TINY_PIX2PIX_METHOD, CUT):
        method = config.build(3, 3, (16, 16))
        before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
        Trainer(method, AdamConfig(), speed=Speed("bfloat16")).step(
            [Batch(*(torch.rand(2, 3, 16, 16) * 2 - 1 for _ in "ab"))]
        )
        moved = {
            name
            for name, parameter in method.named_parameters()
            if not torch.equal(before[name], parameter)
        }
        assert {name for name in before if name.endswith("weight")} <= moved
