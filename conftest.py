"""The files that examples in docstrings use: a data set, a run, images and a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files."""
    # Imported here, because tests/conftest.py installs its import hook first.
    import torch
    from PIL import Image

    import transmute
    from transmute.config.methods import CycleGANConfig
    from transmute.config.networks import PatchGANConfig, ResNetConfig
    from transmute.demo.animals import write_data_set

    torch.set_num_threads(1)  # tests run in parallel
    folder = tmp_path_factory.mktemp("examples")
    write_data_set(folder / "horse2zebra", train=4, test=4, size=32)
    with Image.open(folder / "horse2zebra" / "testA" / "0000.png") as image:
        image.save(folder / "horse.jpg")
    # 6 blocks are the fewest that pytorch-CycleGAN-and-pix2pix has.
    generator, discriminator = ResNetConfig(width=2, blocks=6), PatchGANConfig(width=2, layers=1)
    transmute.train(
        folder / "horse2zebra",
        run=folder / "runs" / "h2z",
        method=CycleGANConfig(generator=generator, discriminator=discriminator),
        size=32,
        steps=1,
        device="cpu",
        precision="float32",
    )
    transmute.export(folder / "runs" / "h2z", folder)
    return folder


@pytest.fixture(autouse=True)
def _example_folder(request: pytest.FixtureRequest) -> None:
    """Runs each example that calls `transmute` in a folder with copies of the files."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    if any("transmute." in example.source for example in request.node.dtest.examples):
        import transmute

        folder = request.getfixturevalue("tmp_path")
        shutil.copytree(request.getfixturevalue("example_files"), folder, dirs_exist_ok=True)
        request.getfixturevalue("monkeypatch").chdir(folder)
        request.getfixturevalue("doctest_namespace")["transmute"] = transmute
