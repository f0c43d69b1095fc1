from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from transmute.batch import Batch
from transmute.methods.config import CUTConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig
from transmute.run import Run
from transmute.settings import Settings
from transmute.training.config import AdamConfig, TrainConfig
from transmute.training.speed import WORTH_COMPILING, Speed, chosen_speed
from transmute.training.train import train
from transmute.training.trainer import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LONG, SHORT = WORTH_COMPILING, WORTH_COMPILING - 1
HISTORYLESS = TINY_CYCLEGAN.method.replace(history=0)
CUT = CUTConfig(generator=ResNetConfig(width=2, blocks=1), discriminator=PatchGANConfig(width=2, layers=1), layers=(0, 4, 8), width=4, patches=9999)


def test_on_a_cpu_only_long_trainings_are_compiled_and_nothing_is_captured() -> None:
    config = TrainConfig(precision="float32")
    short, line = chosen_speed(config, CPU, steps=SHORT, one_size=True)
    assert short == Speed()
    assert line == "networks in float32 (as asked), not compiled (pays from 5000 steps on), no CUDA graph (only a GPU can)"
    assert chosen_speed(config, CPU, steps=LONG, one_size=True)[0] == Speed(compiled=True)
    assert not chosen_speed(config, CPU, steps=LONG, one_size=False)[0].compiled
    assert not chosen_speed(config.replace(compile="off"), CPU, steps=LONG, one_size=True)[0].compiled
    assert chosen_speed(config.replace(compile="on"), CPU, steps=SHORT, one_size=True)[0].compiled
    assert not chosen_speed(config.replace(compile="on"), CPU, steps=SHORT, one_size=False)[0].compiled
    assert not chosen_speed(config.replace(graph="on"), CPU, steps=SHORT, one_size=True)[0].captured


def test_on_a_gpu_steps_are_captured_where_pictures_have_one_size() -> None:
    config = TrainConfig(precision="bfloat16")
    assert chosen_speed(config, CUDA, steps=LONG, one_size=True)[0] == Speed("bfloat16", True, True, True)
    assert chosen_speed(config, CUDA, steps=LONG, one_size=False)[0] == Speed("bfloat16")
    assert not chosen_speed(config.replace(graph="off"), CUDA, steps=LONG, one_size=True)[0].captured
    assert not chosen_speed(config.replace(graph="on"), CUDA, steps=LONG, one_size=False)[0].captured
    assert not chosen_speed(config.replace(sync_batch_norm=True), CUDA, steps=LONG, one_size=True)[0].captured


def test_a_continued_run_stays_with_what_it_began_with() -> None:
    before = {"device_type": "cpu", "precision": "bfloat16", "compiled": True, "captured": False}
    speed, line = chosen_speed(TrainConfig(), CPU, steps=SHORT, one_size=True, before=before)
    assert speed == Speed("bfloat16", compiled=True)
    assert line.count("as before") == 2
    assert chosen_speed(TrainConfig(precision="float32", compile="off"), CPU, steps=SHORT, one_size=True, before=before)[0] == Speed()
    elsewhere = before | {"device_type": "cuda"}
    assert not chosen_speed(TrainConfig(precision="float32"), CPU, steps=SHORT, one_size=True, before=elsewhere)[0].compiled


def test_networks_that_cannot_be_compiled_train_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(network: torch.nn.Module, dynamic: bool) -> None:
        def fail_on_translations(images: torch.Tensor) -> torch.Tensor:
            if not images.requires_grad:
                return network.forward(images)
            raise RuntimeError("No working C++ compiler found\nand much more")

        network._compiled_call_impl = fail_on_translations

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    # With the judges first, they have moved, and pictures are in the history, when a translator fails.
    config = TINY_CYCLEGAN.method.replace(first="discriminators", identity=0.0)
    batch = [Batch(*(torch.rand(2, 3, 16, 16) * 2 - 1 for _ in "ab"))]
    trainers, said = [], []
    for speed in (Speed(compiled=True), Speed()):
        torch.manual_seed(0)
        trainers.append(Trainer(config.build(3, 3, (16, 16)), AdamConfig(), speed=speed, say=said.append))
        for _ in range(2):
            trainers[-1].step(batch)
    assert said == [
        "compiling the networks, which takes a minute or two",
        "networks are not compiled, since torch cannot do that here (No working C++ compiler found)",
    ]
    assert all(torch.equal(value, trainers[1].state_dict()[name]) for name, value in trainers[0].state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        HISTORYLESS,
        HISTORYLESS.replace(identity=0.0),
        HISTORYLESS.replace(generator=HISTORYLESS.generator.replace(norm="batch")),
        CUT,
        TINY_PIX2PIX.method,
        TINY_PIX2PIX.method.replace(discriminator=HISTORYLESS.discriminator),
    ],
    ids=["cyclegan", "without identity", "batch norm", "cut", "pix2pix", "pix2pix with instance norm"],
)
def test_joined_passes_change_nothing(config: Settings) -> None:
    torch.manual_seed(0)
    apart, joined = (config.build(3, 3, (16, 16)).double() for _ in range(2))  # pyright: ignore
    joined.load_state_dict(apart.state_dict())
    trainers = Trainer(apart, AdamConfig()), Trainer(joined, AdamConfig(), speed=Speed(joined=True))
    for step in range(2):
        batch = Batch(*(torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab"))
        losses = []
        for trainer in trainers:
            torch.manual_seed(step)
            losses.append({name: loss.item() for name, loss in trainer.step([batch]).items()})
        # float64 in another order of summation.
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert all((value - joined.state_dict()[key]).abs().max() < 1e-8 for key, value in apart.state_dict().items() if value.numel())


def passes(config: Settings, *, joined: bool) -> dict[str, int]:
    """How often a step runs each network."""
    method = config.build(3, 3, (16, 16))  # pyright: ignore
    counts = dict.fromkeys(method.networks, 0)

    def count(name: str) -> None:
        counts[name] += 1

    for name, network in method.networks.items():
        network.register_forward_hook(lambda *_, name=name: count(name))
    Trainer(method, AdamConfig(), speed=Speed(joined=joined)).step([Batch(*(torch.rand(1, 3, 16, 16) for _ in "ab"))])
    return counts


def test_a_step_makes_no_more_passes_than_the_paper_asks_for() -> None:
    assert passes(HISTORYLESS, joined=False) == {"a_to_b": 3, "b_to_a": 3, "score_a": 3, "score_b": 3}
    assert passes(HISTORYLESS, joined=True) == {"a_to_b": 2, "b_to_a": 2, "score_a": 2, "score_b": 2}
    assert passes(HISTORYLESS.replace(identity=0.0), joined=False) == {"a_to_b": 2, "b_to_a": 2, "score_a": 3, "score_b": 3}
    assert passes(TINY_PIX2PIX.method.replace(discriminator=HISTORYLESS.discriminator), joined=True) == {"a_to_b": 1, "score_b": 2}
    assert passes(TINY_PIX2PIX.method, joined=True) == {"a_to_b": 1, "score_b": 3}  # batch norm: real and translated are apart
    assert passes(CUT, joined=False) == {"a_to_b": 2, "score_b": 3, "heads": 4}
    assert passes(CUT, joined=True) == {"a_to_b": 1, "score_b": 2, "heads": 4}


def test_the_start_of_a_training_says_how_long_it_will_take(animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(TrainConfig(folder=animals, run=tmp_path, recipe=TINY_CYCLEGAN.replace(steps=20), device="cpu")) is None
    said = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line]
    assert len(said) == 1
    assert "steps/s: 5 more take about" in said[0]


def test_deterministic_trainings_are_bit_equal_and_leave_torch_as_it_was(animals: Path, tmp_path: Path) -> None:
    during = []
    for name in "ab":
        config = TrainConfig(folder=animals, run=tmp_path / name, recipe=TINY_CYCLEGAN, device="cpu", precision="float32", deterministic=True)
        assert train(config, lambda run, step: during.append(torch.are_deterministic_algorithms_enabled())) is None
        assert during[-1]
        assert not torch.are_deterministic_algorithms_enabled()
    one, other = (Run(tmp_path / name).checkpoint_file(8).read_bytes() for name in "ab")
    assert one == other


COMPILED = """
import sys, torch
from pathlib import Path
from transmute.training.train import train
from transmute.training.config import Recipe, TrainConfig
from transmute.methods.config import CycleGANConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig

if __name__ == "__main__":
    method = CycleGANConfig(generator=ResNetConfig(width=4, blocks=1), discriminator=PatchGANConfig(width=4, layers=1), history=3)
    recipe = Recipe(method=method, size="16", batch=2, steps=4)
    for precision in ("float32", "bfloat16"):
        for compile in ("on", "off"):
            run = Path(sys.argv[2]) / f"{precision}-{compile}"
            config = TrainConfig(folder=Path(sys.argv[1]), run=run, recipe=recipe, device="cpu", precision=precision, compile=compile)
            assert train(config) is None
"""


@pytest.mark.slow
def test_a_compiled_training_is_the_same_but_for_rounding(animals: Path, tmp_path: Path) -> None:
    script = tmp_path / "compiled.py"
    script.write_text(COMPILED)
    # Shape checks at run time do not go with compiling, hence the process of its own.
    done = subprocess.run(
        [sys.executable, str(script), str(animals), str(tmp_path)],
        env=os.environ | {"JAXTYPING_DISABLE": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "networks in" in line]
    if "networks are not compiled" in done.stdout:
        pytest.skip("torch cannot compile here")
    assert ", compiled (as asked)" in said[0]
    # The optimizer divides by gradients near zero: rounding (of 1e-7 in float32, 4e-3 in bfloat16) grows with each of the four steps.
    for precision, tolerance in (("float32", 1e-3), ("bfloat16", 0.05)):
        rows = [Run(tmp_path / f"{precision}-{compile}").metrics()[-1] for compile in ("on", "off")]
        one, other = ({key: value for key, value in row.items() if "second" not in key} for row in rows)
        assert one == pytest.approx(other, rel=tolerance)


def test_everything_learns_in_bfloat16() -> None:
    torch.manual_seed(0)
    for config in (HISTORYLESS, TINY_PIX2PIX.method, CUT):
        method = config.build(3, 3, (16, 16))
        before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
        Trainer(method, AdamConfig(), speed=Speed("bfloat16")).step([Batch(*(torch.rand(2, 3, 16, 16) * 2 - 1 for _ in "ab"))])
        moved = {name for name, parameter in method.named_parameters() if not torch.equal(before[name], parameter)}
        assert {name for name in before if name.endswith("weight")} <= moved
