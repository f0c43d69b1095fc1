"""Shape checks at run time, fixtures, and tiny recipes for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:
    # Set by `make test`. Processes that tests start would print warnings about libraries.
    os.environ.pop("PYTHONWARNDEFAULTENCODING", None)
# For tests of determinism on a GPU. cuBLAS reads it once, before its first product.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

with install_import_hook(
    ["transmute.networks", "transmute.losses", "transmute.methods", "transmute.translation"],
    "beartype.beartype",
):
    import transmute.losses
    import transmute.methods.cyclegan
    import transmute.methods.pix2pix
    import transmute.networks.discriminators
    import transmute.networks.resnet
    import transmute.networks.unet
    import transmute.translation.translator  # noqa: F401

import torch

from tests.site import nobody, site  # noqa: F401
from tests.windows import windows_would_allow_it  # noqa: F401
from transmute.config.data import PreprocessConfig
from transmute.config.methods import CycleGANConfig, Pix2PixConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig, UNetConfig
from transmute.config.training import Recipe
from transmute.demo.animals import write_data_set

torch.set_num_threads(1)  # tests run in parallel

SHARED = Path(__file__).parents[2] / "shared"
GOLDEN = SHARED / "golden"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs slow tests first, so that no process waits for one that started last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of fixtures made by other projects' code."""
    if not (GOLDEN / "index.json").is_file():
        pytest.skip("the golden fixtures are not available")
    return GOLDEN


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny unpaired data set of 16 px images: 5 and 5 for training, 2 and 2 held out."""
    folder = tmp_path_factory.mktemp("data") / "plain2striped"
    write_data_set(folder, train=5, test=2, size=16)
    return folder


TINY_CYCLEGAN_METHOD = CycleGANConfig(
    generator=ResNetConfig(width=4, blocks=1),
    discriminator=PatchGANConfig(width=4, layers=1),
    history=3,
)
TINY_CYCLEGAN = Recipe(method=TINY_CYCLEGAN_METHOD, size="16", batch=2, steps=8)

TINY_PIX2PIX_METHOD = Pix2PixConfig(
    generator=UNetConfig(width=4, depth=3),
    discriminator=PatchGANConfig(width=4, layers=1, norm="batch"),
)
TINY_PIX2PIX = Recipe(
    method=TINY_PIX2PIX_METHOD,
    size="16",
    batch=2,
    steps=8,
    preprocess=PreprocessConfig(load_size="18"),
)

CUSTOM = """
def brightness(fakes, reals):
    means = [image.convert("L").resize((1, 1), 4).getpixel((0, 0)) for image in fakes]
    return sum(means) / len(means)
brightness.better = "higher"

def count_difference(fakes, reals): return abs(len(fakes) - len(reals))
def fails(fakes, reals): raise ValueError("no")
def infinite(fakes, reals): return float("inf")
def fid(fakes, reals): return 0
def wrong(fakes, reals): return 0
wrong.better = "best"
number = 3
"""


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    path = tmp_path / "custom.py"
    path.write_text(CUSTOM, encoding="utf-8")
    return path
