from __future__ import annotations

import pytest
import torch

from transmute.device import check_numbers, require_working
from transmute.errors import UserError
from transmute.gpu import has_kernels


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
