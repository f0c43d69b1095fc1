"""GPUs that are there but not used, in made-up situations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from transmute.device import select_device
from transmute.errors import UserError
from transmute.gpu import GPU, Build, find_gpu, has_kernels, unused_gpu

CPU = Build("2.13.0+cpu")
CU126 = Build("2.13.0+cu126", "12.6", ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_90"])
CU130 = Build("2.13.0+cu130", "13.0", ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"])
RTX_3060 = GPU("NVIDIA GeForce RTX 3060", "nvidia", "580.95.05", (8, 6))
GTX_1080 = GPU("NVIDIA GeForce GTX 1080", "nvidia", "580.95.05", (6, 1))
RTX_5090 = GPU("NVIDIA GeForce RTX 5090", "nvidia", "570.86.10", (12, 0))
OLDER_DRIVER = GPU("NVIDIA GeForce RTX 3060", "nvidia", "535.183.01", (8, 6))
INSTALL = "python -m pip install --force-reinstall"
FROM = "--index-url https://download.pytorch.org/whl/"


@pytest.mark.parametrize(
    ("gpu", "build", "reason", "change"),
    [
        (RTX_3060, CPU, "torch 2.13.0+cpu is built for CPUs only", f"{FROM}cu130"),
        (OLDER_DRIVER, CPU, "is built for CPUs only", f"{FROM}cu126"),
        (GTX_1080, CPU, "is built for CPUs only", f"{FROM}cu126"),
        (RTX_5090, CPU, "is built for CPUs only", "Install driver 580 or newer"),
        (GPU("the NVIDIA GPU"), CPU, "is built for CPUs only", f"{FROM}cu130"),
        (GPU("the NVIDIA GPU", driver=""), CPU, "no driver is loaded", "Install driver 580"),
        (OLDER_DRIVER, CU130, "its driver 535.183.01 is too old for torch", f"{FROM}cu126"),
        (
            GPU("NVIDIA GeForce GTX 970", driver="470.1", capability=(5, 2)),
            CU126,
            "its driver 470.1 is too old for CUDA 12",
            "Install driver 580 or newer",
        ),
        (GTX_1080, CU130, "contains no kernels for it (sm_61)", f"{FROM}cu126"),
        (
            GPU("NVIDIA GeForce RTX 5090", driver="580.1", capability=(12, 0)),
            CU126,
            "contains no kernels for it (sm_120)",
            f"{FROM}cu130",
        ),
        (
            GPU("Tesla K80", driver="530.1", capability=(3, 7)),
            CU126,
            "contains no kernels for it (sm_37)",
            "set `device=cpu`",
        ),
        (RTX_3060, CU130, "torch 2.13.0+cu130 cannot open it", "Restart the machine"),
        (GPU("the AMD GPU", "amd"), CPU, "is not built for ROCm", f"{FROM}rocm7.2"),
    ],
)
def test_an_unused_gpu_is_explained(
    monkeypatch: pytest.MonkeyPatch, gpu: GPU, build: Build, reason: str, change: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sentence = unused_gpu(gpu, build)
    assert sentence is not None
    assert sentence.startswith(f"{gpu.name} is not used, because ")
    assert reason in sentence
    assert change in sentence.partition(reason)[2]


def test_a_hidden_gpu_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for build in (CU130, Build(CU130.version, CU130.cuda)):
        assert unused_gpu(RTX_3060, build) == (
            "NVIDIA GeForce RTX 3060 is not used, because CUDA_VISIBLE_DEVICES is '-1'. Unset this "
            "environment variable"
        )


def test_nothing_is_said_without_a_gpu_or_if_it_is_used() -> None:
    assert unused_gpu(None, CPU) is None
    assert unused_gpu(RTX_3060, Build("2.13.0+cu130", "13.0", CU130.architectures, 1)) is None


def test_a_command_installs_a_build_that_runs_on_the_gpu() -> None:
    builds = {"cu126": CU126, "cu130": CU130}
    for capability in [(5, 0), (5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0)]:
        for driver in ("525.1", "535.1", "580.1"):
            sentence = unused_gpu(GPU("it", driver=driver, capability=capability), CPU)
            assert sentence is not None
            build = builds[sentence.rpartition("/")[2]]
            assert has_kernels(capability, build.architectures)
            assert build is CU126 or driver == "580.1"


def nvidia_smi(folder: Path, script: str) -> None:
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in of nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'NVIDIA GeForce RTX 3060, 580.95.05, 8.6'", RTX_3060),
        (
            'case "$1" in *compute_cap*) exit 2;; esac; echo "NVIDIA GeForce GTX 970, 470.1"',
            GPU("NVIDIA GeForce GTX 970", driver="470.1"),
        ),
        ("echo 'Orin (nvgpu), 540.3.0, [N/A]'", GPU("Orin (nvgpu)", driver="540.3.0")),
        ("echo 'GRID A100, [N/A], 8.0'", GPU("GRID A100", capability=(8, 0))),
        ("echo 'No devices were found'", None),
        ("echo 'NVIDIA-SMI has failed'; exit 9", None),
    ],
)
def test_nvidia_smi_names_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: GPU | None
) -> None:
    nvidia_smi(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_gpu(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Module  535.183.01  Sun"},
            GPU("the NVIDIA GPU", driver="535.183.01"),
        ),
        ({"Windows/System32/nvcuda.dll": ""}, GPU("the NVIDIA GPU")),
        (
            {
                "sys/bus/pci/devices/0/vendor": "0x10de\n",
                "sys/bus/pci/devices/0/class": "0x030000\n",
            },
            GPU("the NVIDIA GPU", driver=""),
        ),
        (
            {
                "sys/bus/pci/devices/0/vendor": "0x1002\n",
                "sys/bus/pci/devices/0/mem_info_vram_total": "17163091968\n",
            },
            GPU("the AMD GPU", "amd"),
        ),
        (  # an integrated GPU
            {
                "sys/bus/pci/devices/0/vendor": "0x1002\n",
                "sys/bus/pci/devices/0/mem_info_vram_total": "536870912\n",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_gpus_are_found_without_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: GPU | None
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("SYSTEMROOT", raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert find_gpu(tmp_path) == expected


def test_an_unusable_gpu_is_an_error_if_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("transmute.device.find_gpu", lambda: RTX_3060)
    monkeypatch.setattr("transmute.device.Build.installed", lambda: CPU)
    with pytest.raises(UserError, match=r"RTX 3060 is not used, because .* built for CPUs only"):
        select_device("cuda")
    monkeypatch.setattr("transmute.device.find_gpu", lambda: None)
    with pytest.raises(UserError, match="This machine has none"):
        select_device("cuda")
    assert select_device("auto") == torch.device("cpu")
