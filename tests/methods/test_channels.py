"""Every method trains on images of any number of channels and of more than 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import TINY_CYCLEGAN_METHOD, TINY_PIX2PIX_METHOD
from tests.training.runs import config
from transmute.config.methods import ColorizationConfig, CUTConfig, MethodConfig
from transmute.config.networks import PatchGANConfig, ResNetConfig
from transmute.config.training import Recipe
from transmute.errors import UserError
from transmute.images.decode import read_image
from transmute.run import Run
from transmute.training.train import train
from transmute.translation.translator import Translator

CUT = CUTConfig(
    generator=ResNetConfig(width=4, blocks=1),
    discriminator=PatchGANConfig(width=4, layers=1),
    layers=(0, 4),
    width=4,
    patches=8,
)
FASTCUT = CUT.replace(nce=10.0, identity=False, flip=True)
METHODS: dict[str, MethodConfig] = {
    "cyclegan": TINY_CYCLEGAN_METHOD,
    "cut": CUT,
    "fastcut": FASTCUT,
    "pix2pix": TINY_PIX2PIX_METHOD,
}
CASES = [(name, (n, n)) for name in METHODS for n in (1, 4, 6, 13)]
CASES += [("cyclegan", (6, 1)), ("pix2pix", (6, 1))]


def write_data(folder: Path, channels: tuple[int, int], depth: type[np.unsignedinteger]) -> Path:
    """Writes TIFFs of 16 px, two per domain for training and one held out."""
    random, top = np.random.default_rng(0), np.iinfo(depth).max
    for domain, bands in zip("AB", channels, strict=True):
        for split, count in (("train", 2), ("test", 1)):
            (folder / f"{split}{domain}").mkdir(parents=True, exist_ok=True)
            for index in range(count):
                values = random.integers(0, top, (16, 16, bands), dtype=depth, endpoint=True)
                tifffile.imwrite(
                    folder / f"{split}{domain}" / f"{index}.tif",
                    values[:, :, 0] if bands == 1 else values,
                    photometric="rgb" if bands == 3 else "minisblack",
                    planarconfig=None if bands == 1 else "contig",
                )
    return folder


def trained(method: MethodConfig, data: Path, run: Path) -> Run:
    recipe = Recipe(method=method, size="16", batch=1, steps=2)
    assert train(config(data, run, recipe, sample_every=2)) is None
    return Run(run)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16], ids=["8-bit", "16-bit"])
@pytest.mark.parametrize(("name", "channels"), CASES, ids=str)
def test_a_method_trains_on_any_number_of_channels_and_writes_them(
    name: str, channels: tuple[int, int], depth: type[np.unsignedinteger], tmp_path: Path
) -> None:
    method = METHODS[name]
    if name == "cyclegan" and channels == (6, 1):
        method = method.replace(identity=0.0)
    data = write_data(tmp_path / "data", channels, depth)
    run = trained(method, data, tmp_path / "run")
    # 8-bit gray is trained in color, as always.
    expected = tuple(3 if depth == np.uint8 and n == 1 else n for n in channels)
    stored = run.recipe()["preprocess"]
    assert (stored["channels_a"], stored["channels_b"]) == expected
    assert run.samples() == [0, 2]
    assert (run.folder / "report.html").exists()
    source = read_image(data / "testA" / "0.tif")
    result = Translator(run.folder, device="cpu").raster(source)
    assert (result.channels, result.pixels.dtype) == (expected[1], depth)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            TINY_CYCLEGAN_METHOD,
            r"the identity loss needs equal channels in both domains, but a has 6 and b has 1\. "
            "Set `method.identity=0`",
        ),
        (CUT, "cut compares features of both domains, so their channels must be equal, but a has"),
        (
            TINY_CYCLEGAN_METHOD.replace(
                identity=0.0, generator=ResNetConfig(width=4, blocks=1, residual=True)
            ),
            r"a residual generator adds to its input, so 6 channels cannot become 1\. Set",
        ),
    ],
    ids=["identity", "cut", "residual"],
)
def test_channels_that_a_method_cannot_use_are_refused_before_anything_is_written(
    method: MethodConfig, sentence: str, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data", (6, 1), np.uint16)
    with pytest.raises(UserError, match=sentence):
        trained(method, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_colorization_refuses_images_that_have_no_colors(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", (6, 6), np.uint16)
    (data / "trainA").rename(data / "train")
    method = ColorizationConfig(
        generator=TINY_PIX2PIX_METHOD.generator, discriminator=TINY_PIX2PIX_METHOD.discriminator
    )
    with pytest.raises(UserError, match="colorization trains on color images"):
        trained(method, data, tmp_path / "run")
