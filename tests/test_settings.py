from __future__ import annotations

from pathlib import Path

import pytest

from transmute.recipes import RECIPES, recipe_from
from transmute.settings import UserError, differences, load_yaml, merged, width_and_height
from transmute.training.config import Recipe


@pytest.mark.parametrize(
    ("given", "size"), [("256", "256x256"), (128, "128x128"), ("512x256", "512x256"), ([64, 32], "64x32"), (" 64 X 32 ", "64x32")]
)
def test_sizes_are_written_in_many_ways(given, size: str) -> None:
    assert Recipe(size=given).size == size
    assert "x".join(map(str, width_and_height(given))) == size


@pytest.mark.parametrize("given", ["", "x", "0", "12x", "-4", "1x2x3", "3.5", None])
def test_what_is_no_size_is_refused(given) -> None:
    with pytest.raises(UserError, match="a size is N or WIDTHxHEIGHT"):
        Recipe(size=given)


def test_unknown_settings_and_wrong_values_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^unknown setting 'batches'$"):
        Recipe(batches=3)  # pyright: ignore
    with pytest.raises(UserError, match=r"^batch should be greater than or equal to 1, but is 0$"):
        Recipe(batch=0)
    with pytest.raises(UserError, match=r"^there is no method 'cyclegun': choose 'cyclegan' or 'pix2pix' or 'cut' or 'colorization'$"):
        Recipe(method={"name": "cyclegun"})  # pyright: ignore
    with pytest.raises(UserError, match="cannot be split into 2 equal parts"):
        Recipe(batch=3, optimizer={"accumulate": 2})  # pyright: ignore
    with pytest.raises(UserError, match="has no 'sise'"):
        Recipe().replace(sise=3)


def test_another_kind_replaces_all_of_the_old_kind_s_settings() -> None:
    old = {"generator": {"name": "resnet", "blocks": 9}, "cycle": 10}
    assert merged(old, {"generator": {"name": "unet"}}) == {"generator": {"name": "unet"}, "cycle": 10}
    assert merged(old, {"generator": {"blocks": 6}}) == {"generator": {"name": "resnet", "blocks": 6}, "cycle": 10}


def test_differences_name_the_place() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == ["a.c: 2 -> 3", "d: None -> 4"]


def test_a_yaml_file_is_laid_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: {name: pix2pix, l1: 50}\noptimizer: {lr: 1e-4}\nsize: 128\n")
    recipe = recipe_from(file=file)
    assert (recipe.method.name, recipe.optimizer.lr, recipe.size) == ("pix2pix", 1e-4, "128x128")
    assert recipe.method == RECIPES["pix2pix"].method.replace(l1=50)
    with pytest.raises(UserError, match="is for the method pix2pix"):
        recipe_from("cyclegan", file)


def test_a_recipe_file_gives_the_recipe_again(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
        assert recipe_from(file=tmp_path / "recipe.json") == recipe, name


@pytest.mark.parametrize(("contents", "message"), [("a: [", "is not a YAML file"), ("- 1", "should hold settings"), ("", "should hold settings")])
def test_bad_files_are_one_sentence(tmp_path: Path, contents: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(contents)
    with pytest.raises(UserError, match=message) as error:
        load_yaml(file)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot read the settings file"):
        load_yaml(tmp_path / "nothing.yaml")
