"""What tests share: shape checks at run time, tiny data sets and tiny recipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for tests of determinism on a GPU; read once, by the first product there

with install_import_hook(["transmute.networks", "transmute.losses", "transmute.methods", "transmute.translation"], "beartype.beartype"):
    import transmute.losses.adversarial
    import transmute.losses.reconstruction
    import transmute.methods.cyclegan
    import transmute.methods.pix2pix
    import transmute.networks.discriminators
    import transmute.networks.resnet
    import transmute.networks.unet
    import transmute.translation.translator  # noqa: F401

import torch

from tests.site import nobody, site  # noqa: F401
from transmute.data.config import PreprocessConfig
from transmute.demo.animals import write_data_set
from transmute.methods.config import CycleGANConfig, Pix2PixConfig
from transmute.networks.config import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.training.config import Recipe

torch.set_num_threads(1)  # tests run side by side

SHARED = Path(__file__).parents[2] / "shared"
GOLDEN = SHARED / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Fixtures made by other people's code; not part of the product."""
    if not (GOLDEN / "index.json").is_file():
        pytest.skip("the golden fixtures of other people's code are not here")
    return GOLDEN


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny unpaired data set of 16 px pictures: 5 and 5 to train with, 2 and 2 held out."""
    folder = tmp_path_factory.mktemp("data") / "plain2striped"
    write_data_set(folder, train=5, test=2, size=16)
    return folder


TINY_CYCLEGAN = Recipe(
    method=CycleGANConfig(generator=ResNetConfig(width=4, blocks=1), discriminator=PatchGANConfig(width=4, layers=1), history=3),
    size="16",
    batch=2,
    steps=8,
)

TINY_PIX2PIX = Recipe(
    method=Pix2PixConfig(generator=UNetConfig(width=4, depth=3), discriminator=PatchGANConfig(width=4, layers=1, norm="batch")),
    size="16",
    batch=2,
    steps=8,
    preprocess=PreprocessConfig(load_size="18"),
)
