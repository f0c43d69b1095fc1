from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from transmute.config.base import differences, load_yaml, width_and_height
from transmute.config.methods import CUTConfig, CycleGANConfig
from transmute.config.metrics import MetricsConfig
from transmute.config.networks import ResNetConfig, UNetConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.recipes import RECIPES, recipe_from


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("256", "256x256"),
        (128, "128x128"),
        ("512x256", "512x256"),
        ([64, 32], "64x32"),
        (" 64 X 32 ", "64x32"),
    ],
)
def test_sizes_are_written_in_many_ways(value, size: str) -> None:
    assert Recipe(size=value).size == size
    assert "x".join(map(str, width_and_height(value))) == size


@pytest.mark.parametrize("value", ["x", "0", "12x", "-4", "1x2x3", "3.5", None])
def test_a_malformed_size_is_refused(value) -> None:
    with pytest.raises(UserError, match="a size is N or WIDTHxHEIGHT"):
        Recipe(size=value)


def test_unknown_settings_and_wrong_values_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^unknown setting 'batches'. Did you mean `batch`\?$"):
        Recipe(batches=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="`batch` should be greater than or equal to 1, but is 0"):
        Recipe(batch=0)
    names = "cyclegan, pix2pix, cut, colorization"
    with pytest.raises(UserError, match=f"^unknown `method` 'cyclegun'. Choose one of: {names}$"):
        Recipe(method={"name": "cyclegun"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"^`lr` should be a number, but is 'x'$"):
        Recipe(optimizer={"lr": "x"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"^`layers` should have at least 1 item, but is "):
        CUTConfig(layers=())
    with pytest.raises(UserError, match="cannot be split into 2 equal micro-batches"):
        Recipe(batch=3, optimizer={"accumulate": 2})  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"unknown setting 'sise'. Did you mean `size`\?"):
        Recipe().replace(sise=3)


def test_another_kind_replaces_all_settings_of_the_old_one() -> None:
    old = CycleGANConfig(generator=ResNetConfig(blocks=3), history=7)
    for generator in ("unet", {"name": "unet"}, UNetConfig()):
        assert old.updated({"generator": generator}) == old.replace(generator=UNetConfig())
    assert old.updated({"generator": {"width": 8}}).generator == ResNetConfig(blocks=3, width=8)
    assert old.updated({"generator": {"name": "resnet"}}) == old


def test_a_custom_kind_is_passed_as_an_object_and_keeps_its_settings() -> None:
    class Custom(ResNetConfig):
        name: Literal["custom"] = "custom"  # pyright: ignore
        more: int = 1

    recipe = Recipe(method=CycleGANConfig(generator=Custom(more=2)))
    assert recipe.model_dump()["method"]["generator"]["more"] == 2
    assert (
        recipe.updated({"method": {"generator": {"more": 3}}}).method.model_dump()["generator"][
            "more"
        ]
        == 3
    )
    with pytest.raises(
        UserError, match=r"unknown `generator` 'custom'\. Choose one of: resnet, unet"
    ):
        Recipe(**recipe.model_dump())


def test_differences_name_the_settings() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 -> 3",
        "d: None -> 4",
    ]


def test_a_changed_kind_is_one_difference() -> None:
    def changes(**method: object) -> list[str]:
        old, new = Recipe(), Recipe().updated({"method": method})
        return differences(old.model_dump(), new.model_dump())

    assert changes(generator="unet", gan=2) == [
        "method.generator.name: resnet -> unet",
        "method.gan: 1.0 -> 2.0",
    ]
    # Kinds inside a changed kind are omitted too, but not those next to it.
    assert changes(name="pix2pix") == ["method.name: cyclegan -> pix2pix"]
    assert changes(generator={"init": "xavier", "width": 8}) == [
        "method.generator.init.name: normal -> xavier",
        "method.generator.width: 64 -> 8",
    ]


def test_a_yaml_file_updates_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "method: {name: pix2pix, l1: 50}\noptimizer: {lr: 1e-4}\nsize: 128\n", encoding="utf-8"
    )
    recipe = recipe_from(file=file)
    assert (recipe.method.name, recipe.optimizer.lr, recipe.size) == ("pix2pix", 1e-4, "128x128")
    assert recipe.method == RECIPES["pix2pix"].method.replace(l1=50)
    with pytest.raises(UserError, match="is for the method pix2pix"):
        recipe_from("cyclegan", file)


def test_a_recipe_file_restores_the_recipe(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        (tmp_path / "recipe.json").write_text(recipe.model_dump_json(), encoding="utf-8")
        assert recipe_from(file=tmp_path / "recipe.json") == recipe, name


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("a: [", "is not a valid YAML file"),
        ("- 1", "does not contain settings"),
        ("", "does not contain settings"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, contents: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(contents, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        load_yaml(file)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_yaml(tmp_path / "nothing.yaml")


def test_empty_text_and_booleans_as_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="`run` is empty"):
        TrainConfig().updated({"run": ""})
    with pytest.raises(UserError, match="`palette` is empty"):
        MetricsConfig().updated({"palette": ""})
    with pytest.raises(UserError, match="`custom` is empty"):
        MetricsConfig(custom=("",))
    with pytest.raises(UserError, match="`batch` should be a number, but is True"):
        Recipe(batch=True)
    with pytest.raises(UserError, match="`lr` should be a number, but is False"):
        Recipe().updated({"optimizer": {"lr": False}})
    assert Recipe().updated({"batch": "4"}).batch == 4
    assert not TrainConfig().updated({"extend": "false"}).extend
