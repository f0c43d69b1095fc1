from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tests.translation.models import save_model
from transmute import Translator
from transmute.cli import run_command
from transmute.device import check_numbers, current_device, require_working, select_device
from transmute.errors import UserError
from transmute.evaluation import evaluate
from transmute.gpu import has_kernels
from transmute.training.processes import process_group


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        # An RTX 30 computes black images with a build for older GPUs.
        ((8, 6), ["sm_70", "sm_75"], False),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((8, 6), ["sm_70", "compute_70"], True),
        ((7, 0), ["compute_75"], False),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((10, 0), ["sm_90a", "compute_90a"], False),
        ((12, 0), ["sm_100", "sm_120"], True),
        ((12, 1), ["sm_120"], True),
        ((12, 0), ["sm_100"], False),
        ((10, 3), ["sm_100f"], True),
        ((9, 0), [], False),
    ],
)
def test_a_build_runs_on_the_gpus_it_has_code_for(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert has_kernels(capability, architectures) is runs


def test_this_machine_computes_correctly() -> None:
    assert [check.ok for check in check_numbers(torch.device("cpu"))] == [True, True, True]
    require_working(torch.device("cpu"))


@pytest.mark.parametrize(
    "wrong", [lambda y: torch.zeros_like(y), lambda y: y * float("nan"), lambda y: y * 1.1]
)
def test_a_device_that_computes_wrongly_is_detected(monkeypatch: pytest.MonkeyPatch, wrong) -> None:
    correct = torch.nn.functional.conv2d
    monkeypatch.setattr(
        "torch.nn.functional.conv2d",
        lambda x, *rest: (
            correct(x, *rest) if x.dtype == torch.float64 else wrong(correct(x, *rest))
        ),
    )
    assert [(check.name, check.ok) for check in check_numbers(torch.device("cpu"))] == [
        ("convolution", False),
        ("instance norm", True),
        ("bfloat16", False),
    ]
    with pytest.raises(
        UserError,
        match=r"convolution: relative error .* computes this wrongly\. Install another build",
    ):
        require_working(torch.device("cpu"))


def test_a_device_that_fails_to_compute_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = torch.nn.functional.instance_norm

    def no_kernel(x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            return correct(x)
        raise RuntimeError(
            "CUDA error: no kernel image is available for execution on the device\nmore"
        )

    monkeypatch.setattr("torch.nn.functional.instance_norm", no_kernel)
    with pytest.raises(
        UserError,
        match=r"instance norm: CUDA error: no kernel image is available for execution on the device"
        r"\. cpu cannot compute this",
    ):
        require_working(torch.device("cpu"))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Two GPUs that exist only for the functions that choose one.

    Returns:
        The devices that become the current one.
    """
    used = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.device", lambda device: used.append(device) or nullcontext())
    return used


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_selected_by_its_index() -> None:
    assert select_device("cuda:1") == torch.device("cuda", 1)
    assert select_device("cuda:0") == torch.device("cuda", 0)
    assert select_device("auto") == select_device("cuda", 2) == torch.device("cuda")
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("name", "count", "problem"),
    [
        (
            "cuda:2",
            1,
            r"`device=cuda:2` does not exist: the number of GPUs is 2\. .*cuda:0, cuda:1",
        ),
        ("cuda:258", 1, "the number of GPUs is 2"),  # torch would wrap it to 2
        ("cuda:1", 2, "`device=cuda:1` is a single GPU, but `devices=2` needs 2"),
        ("cuda", 3, "3 devices are needed, but the number of GPUs is 2"),
        *((name, 1, f"`device={name}` is not a device") for name in ("gpu", "cuda:", "cuda:01")),
    ],
)
def test_a_device_that_does_not_exist_is_refused(name: str, count: int, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        select_device(name, count)


def test_an_index_without_a_gpu_has_the_sentence_about_unusable_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="`device=cuda:1` needs a GPU that torch can use"):
        select_device("cuda:1")


def test_training_uses_the_selected_gpu(
    two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    with process_group("cuda:1") as processes:
        assert processes.device == torch.device("cuda", 1)
    assert two_gpus == [torch.device("cuda", 1)]
    for device in ("cuda", "cpu"):
        with current_device(torch.device(device)):
            assert len(two_gpus) == 1
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="is a single GPU"), process_group("cuda:1"):
        pass


@pytest.mark.usefixtures("two_gpus")
def test_every_command_checks_the_index_of_the_gpu(animals: Path, tmp_path: Path) -> None:
    model, out = str(save_model(tmp_path / "model.safetensors")), str(tmp_path / "out")
    texture = ["--features", "texture", "--lpips", "none", "--device", "cuda:2"]
    for words in (
        ["translate", str(animals), "--model", model, "--out", out, "--device", "cuda:2"],
        ["evaluate", "--model", model, "--data", str(animals), *texture],
        ["evaluate", "--real", str(animals), "--fake", str(animals), *texture],
        ["train", str(animals), "--run", out, "--device", "cuda:2"],
        ["bench", "--device", "cuda:2"],
    ):
        with pytest.raises(UserError, match="the number of GPUs is 2"):
            run_command(words)
    with pytest.raises(UserError, match="is a single GPU"):
        run_command(["train", str(animals), "--run", out, "--devices", "2", "--device", "cuda:1"])
    with pytest.raises(UserError, match="the number of GPUs is 2"):
        Translator(model, device="cuda:2")
    with pytest.raises(UserError, match="the number of GPUs is 2"):
        evaluate(model, animals, device="cuda:2")
    assert not Path(out).exists()
