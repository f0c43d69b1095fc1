from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import TINY_PIX2PIX, TINY_PIX2PIX_METHOD
from transmute.api import train
from transmute.batch import Batch
from transmute.config.methods import ColorizationConfig, Pix2PixConfig
from transmute.config.training import AdamConfig
from transmute.errors import UserError
from transmute.lab import to_lab
from transmute.run import Run
from transmute.training.trainer import Trainer
from transmute.translation.translator import Translator

NETWORKS = {
    "generator": TINY_PIX2PIX_METHOD.generator,
    "discriminator": TINY_PIX2PIX_METHOD.discriminator,
}
RECIPE = TINY_PIX2PIX.replace(method=ColorizationConfig(**NETWORKS), steps=2)


def test_a_step_equals_pix2pix_from_lightness_to_colors() -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.manual_seed(0)
    color = ColorizationConfig(**NETWORKS).build(3, 3, (16, 16))
    torch.manual_seed(0)
    plain = Pix2PixConfig(**NETWORKS).build(1, 2, (16, 16))
    torch.manual_seed(1)
    ours = Trainer(color, AdamConfig()).step([Batch(images, images)])
    torch.manual_seed(1)
    assert ours == Trainer(plain, AdamConfig()).step([Batch(*to_lab(images))])


def test_a_model_trained_on_one_folder_keeps_the_lightness(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(
            tmp_path / "data" / "train" / f"{index}.png"
        )
    run = train(
        tmp_path / "data", run=tmp_path / "run", recipe=RECIPE, device="cpu", precision="float32"
    )
    card = Translator(run.folder).card
    assert (
        card.method,
        card.colors,
        card.in_channels,
        card.out_channels,
        card.source,
        card.target,
    ) == ("colorization", "lab", 1, 2, "gray", "color")
    assert {path.stem for path in Run(run.folder).models_at().iterdir()} == {"a_to_b", "score_b"}
    gray = Image.fromarray(np.full((19, 21), 128, np.uint8))
    colored = Translator(run.folder)(gray)
    assert (colored.mode, colored.size) == ("RGB", (21, 19))
    # At middle gray, an untrained network's colors stay in range, so lightness survives up to
    # rounding.
    assert abs(np.asarray(colored.convert("L"), float) - 128).max() < 6
    lightness = torch.zeros(2, 1, 8, 8)
    assert Translator(run.folder).translate(lightness).shape == (2, 2, 8, 8)


def test_gray_training_images_are_refused() -> None:
    with pytest.raises(UserError, match="trains on color images"):
        ColorizationConfig().build(1, 3, (16, 16))
