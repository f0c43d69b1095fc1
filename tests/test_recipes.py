"""Each named recipe against the facts of the tool that it comes from."""

from __future__ import annotations

import pytest

from transmute.recipes import ABOUT, RECIPES
from transmute.training.schedule import rate

COMMON = {
    "size": "256x256",
    "batch": 1,
    "epochs": 200,
    "steps": None,
    "optimizer.lr": 2e-4,
    "optimizer.beta1": 0.5,
    "optimizer.beta2": 0.999,
    "optimizer.clip": None,
    "optimizer.ema": 0.0,
    "preprocess.mode": "resize-and-crop",
    "preprocess.load_size": None,  # size * 286 / 256
    "preprocess.flip": True,
    "preprocess.settled": 0.0,
    "schedule.name": "linear",
    "schedule.decay": 0.5,
    "schedule.ahead": 1,
    "method.generator.init.name": "normal",
    "method.generator.init.gain": 0.02,
    "method.generator.width": 64,
    "method.discriminator.name": "patchgan",
    "method.discriminator.layers": 3,
    "method.discriminator.width": 64,
    "method.discriminator.norm": "instance",
    "method.discriminator.init.name": "normal",
}
CYCLEGAN = COMMON | {
    "method.name": "cyclegan",
    "method.generator.name": "resnet",
    "method.generator.blocks": 9,
    "method.generator.levels": 2,
    "method.generator.norm": "instance",
    "method.generator.padding": "reflect",
    "method.generator.dropout": False,
    "method.generator.upsampling": "transposed",
    "method.adversarial.name": "least-squares",
    "method.cycle_a": 10,
    "method.cycle_b": 10,
    "method.identity": 0.5,
    "method.fool": 1.0,
    "method.history": 50,
    "method.first": "generators",
}
PIX2PIX = COMMON | {
    "method.name": "pix2pix",
    "method.direction": "a_to_b",
    "method.generator.name": "unet",
    "method.generator.depth": 8,
    "method.generator.norm": "batch",
    "method.generator.dropout": True,
    "method.discriminator.norm": "batch",
    "method.adversarial.name": "vanilla",
    "method.l1": 100,
    "method.first": "discriminator",
}
CUT = COMMON | {
    "method.name": "cut",
    "epochs": 400,
    "preprocess.settled": 0.5,
    "method.direction": "a_to_b",
    "method.generator.name": "resnet",
    "method.generator.blocks": 9,
    "method.generator.norm": "instance",
    "method.generator.dropout": False,
    "method.generator.downsampling": "antialiased",
    "method.generator.upsampling": "antialiased",
    "method.generator.init.name": "xavier",
    "method.discriminator.downsampling": "antialiased",
    "method.discriminator.init.name": "xavier",
    "method.adversarial.name": "least-squares",
    "method.fool": 1,
    "method.nce": 1,
    "method.identity": True,
    "method.flip": False,
    "method.layers": (0, 4, 8, 12, 16),
    "method.width": 256,
    "method.patches": 256,
    "method.temperature": 0.07,
}
FACTS = {
    "cyclegan": CYCLEGAN,
    "pix2pix": PIX2PIX,
    "facades": PIX2PIX | {"method.direction": "b_to_a"},
    "cut": CUT,
    "fastcut": CUT
    | {"epochs": 200, "schedule.decay": 0.25, "preprocess.settled": 0.25, "method.nce": 10, "method.identity": False, "method.flip": True},
    "colorization": {key: value for key, value in PIX2PIX.items() if key not in ("method.direction", "method.first")}
    | {"method.name": "colorization"},
    "pytorch-gan": CYCLEGAN
    | {
        "preprocess.mode": "cover-and-crop",
        "schedule.ahead": 0,
        "method.generator.upsampling": "nearest",
        "method.discriminator.name": "four-stride",
        "method.discriminator.layers": None,
        # Its losses are means over the two directions: 1/2, 10/2, and 5/2 = 0.5 * 5.
        "method.fool": 0.5,
        "method.cycle_a": 5,
        "method.cycle_b": 5,
        "method.identity": 0.5,
    },
    "pytorch-gan-pix2pix": PIX2PIX
    | {
        "preprocess.load_size": "256x256",
        "schedule.name": "constant",
        "schedule.decay": None,
        "schedule.ahead": None,
        "method.direction": "b_to_a",
        "method.first": "generator",
        "method.generator.name": "pytorch-gan-unet",
        "method.generator.norm": None,
        "method.discriminator.name": "four-stride",
        "method.discriminator.layers": None,
        "method.discriminator.norm": "instance",
        "method.adversarial.name": "least-squares",
    },
    "mmgeneration": CYCLEGAN
    | {
        "steps": 270_000,
        "schedule.ahead": 0,
        "schedule.intervals": 200,  # every 1350 steps
        "method.first": "discriminators",
        "method.identity": 0.05,  # of the cycle's 10: 0.5
    },
    "mmgeneration-pix2pix": PIX2PIX | {"steps": 80_000, "schedule.name": "constant", "schedule.decay": None, "schedule.ahead": None},
}


def test_every_recipe_has_facts_and_a_line() -> None:
    assert set(RECIPES) == set(FACTS) == set(ABOUT)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_values_of_its_tool(name: str) -> None:
    values = RECIPES[name].model_dump()
    found = {}
    for place in FACTS[name]:
        value: object = values
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found[place] = value
    assert found == FACTS[name]


def test_the_rates_of_the_recipes_are_those_of_their_tools() -> None:
    """By epoch from 0: lambda rules of junyanz, CUT and PyTorch-GAN; by step: mmgeneration's, which changes every 1350."""
    for name, constant, decaying in (("cyclegan", 100, 100), ("cut", 200, 200), ("fastcut", 150, 50)):
        schedule, length = RECIPES[name].schedule, RECIPES[name].epochs
        theirs = [1 - max(0, epoch + 1 - constant) / (decaying + 1) for epoch in range(length)]
        assert [rate(schedule, epoch, length) for epoch in range(length)] == pytest.approx(theirs, abs=1e-12)
    schedule = RECIPES["pytorch-gan"].schedule
    assert [rate(schedule, epoch, 200) for epoch in range(200)] == pytest.approx([1 - max(0, epoch - 100) / 100 for epoch in range(200)], abs=1e-12)
    schedule = RECIPES["mmgeneration"].schedule
    for step in (0, 134_999, 135_000, 136_349, 136_350, 200_000, 269_999):
        assert rate(schedule, step, 270_000) == pytest.approx(1 - max(0, (step - 135_000) // 1350) / 100, abs=1e-12), step
    assert rate(RECIPES["mmgeneration-pix2pix"].schedule, 79_999, 80_000) == 1


def test_one_optimizer_for_two_discriminators_is_two_optimizers() -> None:
    """PyTorch-GAN has three Adams, we have two: Adam moves every weight by its own gradients alone."""
    import torch

    def moved(groups: list[list[torch.Tensor]], weights: list[torch.Tensor]) -> list[torch.Tensor]:
        optimizers = [torch.optim.Adam(group, lr=2e-4, betas=(0.5, 0.999)) for group in groups]
        for step in range(3):
            for place, weight in enumerate(weights):
                weight.grad = torch.full_like(weight, 0.1 * (step + 1) * (place + 1))
            for optimizer in optimizers:
                optimizer.step()
        return weights

    one, two = ([torch.ones(3, requires_grad=True), torch.ones(4, requires_grad=True)] for _ in range(2))
    for mine, theirs in zip(moved([one], one), moved([[two[0]], [two[1]]], two), strict=True):
        assert torch.equal(mine, theirs)
