"""Each named recipe against the settings of the tool that it comes from, and recipes from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_cli import MY_CODE
from transmute.cli.parsing import flags_of
from transmute.config.base import Kind
from transmute.config.methods import CycleGANConfig, Pix2PixConfig
from transmute.config.networks import ResNetConfig, UNetConfig
from transmute.config.training import LinearConfig, Recipe
from transmute.errors import UserError
from transmute.plugins import loaded_files
from transmute.recipes import DESCRIPTIONS, RECIPES, recipe_from, with_kinds
from transmute.training.schedule import learning_rate_factor

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
    "preprocess.uncropped": 0.0,
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
    "method.gan": 1.0,
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
    "preprocess.uncropped": 0.5,
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
    "method.gan": 1,
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
    | {
        "epochs": 200,
        "schedule.decay": 0.25,
        "preprocess.uncropped": 0.25,
        "method.nce": 10,
        "method.identity": False,
        "method.flip": True,
    },
    "colorization": {
        key: value
        for key, value in PIX2PIX.items()
        if key not in ("method.direction", "method.first")
    }
    | {"method.name": "colorization"},
    "pytorch-gan": CYCLEGAN
    | {
        "preprocess.mode": "cover-and-crop",
        "schedule.ahead": 0,
        "method.generator.upsampling": "nearest",
        "method.discriminator.name": "four-stride",
        "method.discriminator.layers": None,
        # Its losses are means over the two directions: 1/2, 10/2, and 5/2 = 0.5 * 5.
        "method.gan": 0.5,
        "method.cycle_a": 5,
        "method.cycle_b": 5,
        "method.identity": 0.5,
    },
    "pytorch-gan-pix2pix": PIX2PIX
    | {
        "preprocess.uncropped": 1.0,  # images are resized to `size`
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
    "mmgeneration-pix2pix": PIX2PIX
    | {
        "steps": 80_000,
        "schedule.name": "constant",
        "schedule.decay": None,
        "schedule.ahead": None,
    },
}


def test_every_recipe_has_facts_and_a_description() -> None:
    assert set(RECIPES) == set(FACTS) == set(DESCRIPTIONS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_values_of_its_tool(name: str) -> None:
    values = RECIPES[name].model_dump()
    actual = {}
    for setting in FACTS[name]:
        value: object = values
        for key in setting.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        actual[setting] = value
    assert actual == FACTS[name]


def rates(name: str, length: int) -> list[float]:
    """The learning rate factors of a recipe, by epoch (or step)."""
    schedule = RECIPES[name].schedule
    return [learning_rate_factor(schedule, now, length) for now in range(length)]


@pytest.mark.parametrize(
    ("name", "constant", "decaying"),
    [("cyclegan", 100, 100), ("cut", 200, 200), ("fastcut", 150, 50)],
)
def test_rates_follow_the_lambda_rule_of_pytorch_cyclegan_and_pix2pix(
    name: str, constant: int, decaying: int
) -> None:
    length = RECIPES[name].epochs
    expected = [1 - max(0, epoch + 1 - constant) / (decaying + 1) for epoch in range(length)]
    assert rates(name, length) == pytest.approx(expected, abs=1e-12)


def test_rates_follow_the_lambda_rule_of_pytorch_gan() -> None:
    expected = [1 - max(0, epoch - 100) / 100 for epoch in range(200)]
    assert rates("pytorch-gan", 200) == pytest.approx(expected, abs=1e-12)


def test_rates_of_mmgeneration_change_every_1350_steps() -> None:
    schedule = RECIPES["mmgeneration"].schedule
    assert isinstance(schedule, LinearConfig)
    for step in (0, 134_999, 135_000, 136_349, 136_350, 200_000, 269_999):
        expected = 1 - max(0, (step - 135_000) // 1350) / 100
        rate = learning_rate_factor(schedule, step, 270_000)
        assert rate == pytest.approx(expected, abs=1e-12), step
    assert learning_rate_factor(RECIPES["mmgeneration-pix2pix"].schedule, 79_999, 80_000) == 1


def test_one_optimizer_for_two_discriminators_is_two_optimizers() -> None:
    """PyTorch-GAN has three Adams, we have two. Adam updates a weight by its own gradients only."""
    import torch

    def updated(groups: list[list[torch.Tensor]], weights: list[torch.Tensor]) -> None:
        optimizers = [torch.optim.Adam(group, lr=2e-4, betas=(0.5, 0.999)) for group in groups]
        for step in range(3):
            for index, weight in enumerate(weights):
                weight.grad = torch.full_like(weight, 0.1 * (step + 1) * (index + 1))
            for optimizer in optimizers:
                optimizer.step()

    together = [torch.ones(3, requires_grad=True), torch.ones(4, requires_grad=True)]
    separate = [torch.ones(3, requires_grad=True), torch.ones(4, requires_grad=True)]
    updated([together], together)
    updated([separate[:1], separate[1:]], separate)
    for one, other in zip(together, separate, strict=True):
        assert torch.equal(one, other)


def kinds_in(recipe: Recipe) -> dict[str, Kind]:
    """The settings that flags can replace by another kind."""
    return {flag.setting: flag.value for flag in flags_of(recipe) if isinstance(flag.value, Kind)}


def test_kinds_are_found_by_the_names_of_their_settings() -> None:
    names = {setting: kind.name for setting, kind in kinds_in(RECIPES["pix2pix"]).items()}
    assert names == {
        "method": "pix2pix",
        "method.generator": "unet",
        "method.generator.init": "normal",
        "method.discriminator": "patchgan",
        "method.discriminator.init": "normal",
        "method.adversarial": "vanilla",
        "schedule": "linear",
    }


def test_another_kind_has_its_own_defaults_and_the_same_kind_keeps_its_settings() -> None:
    recipe = Recipe(method=CycleGANConfig(generator=ResNetConfig(width=2)))
    assert with_kinds(recipe, {"method.generator": "resnet"}) == recipe
    method = with_kinds(recipe, {"method.generator": "unet"}).method
    assert method == CycleGANConfig(generator=UNetConfig())
    changed = with_kinds(recipe, {"method.generator.init": "xavier", "method.generator": "unet"})
    assert kinds_in(changed)["method.generator.init"].name == "xavier"
    with pytest.raises(UserError, match="unknown setting 'unknown'"):
        with_kinds(recipe, {"method.unknown": "unet"})


@pytest.fixture
def my_code(tmp_path: Path) -> Path:
    """A Python file with a method, a generator and a discriminator."""
    file = tmp_path / "my_code.py"
    file.write_text(MY_CODE, encoding="utf-8")
    return file


def test_a_custom_generator_keeps_its_settings(my_code: Path) -> None:
    mine = f"{my_code}:MyGeneratorConfig"
    recipe = with_kinds(RECIPES["pix2pix"], {"method.generator": mine})
    assert kinds_in(recipe)["method.generator"].arguments()["channels"] == 4
    wide = recipe.updated({"method": {"generator": {"channels": 9}}})
    assert with_kinds(wide, {"method.generator": mine}) == wide


def test_yaml_may_refer_to_custom_methods_and_generators(my_code: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"method: {my_code}:MyMethodConfig\nbatch: 2\n", encoding="utf-8")
    recipe = recipe_from(file=file)
    assert (recipe.method.name, recipe.batch) == ("mine", 2)
    file.write_text(
        f"method:\n  name: {my_code}:MyMethodConfig\n  strength: 3\n"
        f"  generator: {{name: {my_code}:MyGeneratorConfig, channels: 5}}\n",
        encoding="utf-8",
    )
    values = recipe_from(file=file).method.model_dump()
    assert (values["name"], values["strength"]) == ("mine", 3.0)
    assert (values["generator"]["name"], values["generator"]["channels"]) == ("my-generator", 5)


@pytest.mark.parametrize(
    "settings",
    [
        '{"method": "FILE:MyMethodConfig"}',
        '{"method": {"name": "FILE:MyMethodConfig"}}',
        '{"method": {"name": "pix2pix", "generator": "FILE:MyGeneratorConfig"}}',
        '{"method": {"name": "pix2pix", "generator": {"name": "FILE:MyGeneratorConfig"}}}',
    ],
)
def test_a_recipe_json_never_imports_code(settings: str, my_code: Path, tmp_path: Path) -> None:
    my_code.write_text("raise SystemExit('imported')", encoding="utf-8")
    file = tmp_path / "recipe.json"
    file.write_text(settings.replace("FILE", str(my_code)), encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot load code|unknown `generator`"):
        recipe_from(file=file)
    assert my_code not in loaded_files()


def test_the_recipe_json_of_a_custom_method_needs_its_code(my_code: Path, tmp_path: Path) -> None:
    reference = f"{my_code}:MyMethodConfig"
    recipe = recipe_from(reference).updated({"method": {"strength": 3.0}})
    file = tmp_path / "recipe.json"
    file.write_text(recipe.model_dump_json(), encoding="utf-8")
    assert recipe_from(reference, file) == recipe
    with pytest.raises(UserError, match="mine"):
        recipe_from(file=file)


def test_a_file_for_another_method_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: {name: pix2pix, l1: 50}", encoding="utf-8")
    assert recipe_from("pix2pix", file).method == Pix2PixConfig(l1=50.0)
    with pytest.raises(UserError, match="is for the method pix2pix, not for cyclegan"):
        recipe_from("cyclegan", file)
