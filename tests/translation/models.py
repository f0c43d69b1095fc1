"""Tiny model files and random images for tests of translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import transmute
from transmute import Translator
from transmute.config.data import PreprocessConfig
from transmute.config.networks import ResNetConfig
from transmute.translation.model import ModelCard, save_network


def model_card(**changes) -> ModelCard:
    values = {
        "transmute": transmute.__version__,
        "method": "cyclegan",
        "direction": "a_to_b",
        "source": "horse",
        "target": "zebra",
        "generator": ResNetConfig(width=2, blocks=1),
        "in_channels": 3,
        "out_channels": 3,
        "size": "16x16",
        "preprocess": PreprocessConfig(),
    }
    return ModelCard(**(values | changes))


def save_model(path: Path, **changes) -> Path:
    torch.manual_seed(0)
    card = model_card(**changes)
    save_network(path, card, card.generator.build(card.in_channels, card.out_channels))
    return path


def load_translator(model: str | Path, **options) -> Translator:
    """A translator on the CPU in float32."""
    return Translator(model, device="cpu", precision="float32", **options)


def random_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8)
    )
