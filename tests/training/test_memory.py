from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from transmute.cli import run_command
from transmute.config.methods import CUTConfig
from transmute.config.training import AdamConfig, Recipe
from transmute.errors import UserError
from transmute.memory import free_memory
from transmute.training.memory import advice, estimate

CPU = torch.device("cpu")


def measured(recipe: Recipe) -> int:
    """Bytes of the tensors that a training step saves for its first backward pass."""
    from torch.autograd.graph import saved_tensors_hooks

    from transmute.batch import Batch

    method = recipe.method.build(3, 3, (32, 32))
    known = {one.untyped_storage().data_ptr() for one in method.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        update = next(method.step(Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))))
    assert update.losses
    return sum(found.values())


@pytest.mark.parametrize("recipe", [TINY_CYCLEGAN, TINY_PIX2PIX], ids=["cyclegan", "pix2pix"])
def test_activations_are_those_that_a_step_on_the_cpu_saves(recipe: Recipe) -> None:
    estimated = estimate(recipe, (32, 32))
    assert estimated is not None
    # On the meta device, some operations save a little more or less.
    assert estimated.activations == pytest.approx(measured(recipe), rel=0.15)


def test_the_state_is_counted_exactly_and_micro_batches_and_averages_add_to_it() -> None:
    method = TINY_CYCLEGAN.method.build(3, 3, (32, 32))
    weights = sum(one.nbytes for one in method.parameters())
    generators = sum(one.nbytes for net in method.generators.values() for one in net.parameters())
    buffers = sum(one.nbytes for one in method.buffers())
    alone = estimate(TINY_CYCLEGAN, (32, 32))
    averaged = estimate(TINY_CYCLEGAN.replace(optimizer=AdamConfig(ema=0.9)), (32, 32))
    split = estimate(TINY_CYCLEGAN.replace(optimizer=AdamConfig(accumulate=2)), (32, 32))
    half = estimate(TINY_CYCLEGAN, (32, 32), precision="bfloat16")
    assert alone is not None
    assert averaged is not None
    assert split is not None
    assert half is not None
    assert alone.state == 3 * weights + generators + buffers
    assert averaged.state == alone.state + generators
    assert half.activations == pytest.approx(alone.activations / 2, abs=1)
    # CycleGAN's generator losses are accumulated one micro-batch after the other.
    assert split.activations < alone.activations
    assert alone.parameters["a_to_b"][1] == "resnet"


def test_estimating_leaves_the_random_state_as_it_is() -> None:
    before = torch.random.get_rng_state()
    estimate(Recipe(method=CUTConfig()), (64, 64))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "flags",
    [
        ["--size", "20000x20000"],
        ["--method.generator.width", "4096"],
        ["--method.history", "100000"],
        ["--batch", "65536"],
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    flags: list[str], animals: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"this recipe needs more than [\d,.]+ GiB of memory, but"):
        run_command(["train", str(animals), "--run", str(tmp_path / "run"), *flags])
    assert not list(tmp_path.iterdir())


def test_advice_names_only_settings_of_the_recipe() -> None:
    assert advice(Recipe()) == (
        "Use a smaller `size`, `method.history=0` or a smaller network (`method.generator.width`)"
    )
    assert "`optimizer.accumulate=4`" in advice(Recipe(batch=4))
    assert "history" not in advice(Recipe(method=CUTConfig()))


def test_a_dry_run_describes_the_training_run_and_writes_nothing(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--size 32 --batch 2 --method.generator.width 4 --epochs 3 --device cpu --dry-run"
    assert run_command(["train", str(animals), "--run", str(tmp_path / "run"), *flags.split()]) == 0
    said = capsys.readouterr().out
    assert "method.generator.width: 64 -> 4" in said
    assert re.search(r"network a_to_b: resnet, \d\d,\d{3} weights", said)
    assert "memory: about 0." in said
    assert "length: 7 steps of 2 (a pass over 5 images is an epoch)" in said
    assert "from step 0 of 7\ndry run: nothing was written\n" in said
    assert not list(tmp_path.iterdir())


LIMITED = """
import resource, sys, torch
from transmute.memory import free_memory
import transmute.training.train
from transmute.cli import run_command
from transmute.cli.parsing import run_and_exit
torch.set_num_threads(1)
torch.nn.Conv2d(3, 3, 3)(torch.rand(1, 3, 8, 8)).sum().backward()  # starts threads
import re
status = open("/proc/self/status", encoding="ascii").read()
size = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]), -1))
run_and_exit(lambda: run_command(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_memory_that_runs_out_during_training_is_one_sentence(
    animals: Path, tmp_path: Path
) -> None:
    # So small that its memory is not estimated before, but larger than what is left.
    recipe = "--size 128 --batch 2 --method.generator.width 24 --method.history 0 --steps 2"
    command = ["train", str(animals), "--run", str(tmp_path / "run"), *recipe.split()]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(400 * 2**20), *command, "--device", "cpu"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("transmute: memory ran out (")
    assert "Use a smaller --size, a smaller --batch" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits of Linux")
def test_free_memory_is_what_the_machine_has() -> None:
    assert 0 < free_memory() < 2**50
