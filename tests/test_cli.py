from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from transmute.cli import main, run_command
from transmute.recipes import RECIPES
from transmute.run import Run
from transmute.settings import UserError
from transmute.training.config import TrainConfig

TINY = ["--size", "16", "--steps", "2", "--batch", "2", "--method.generator.width", "2", "--method.generator.blocks", "1"]
TINY += ["--method.discriminator.width", "2", "--method.discriminator.layers", "1", "--device", "cpu", "--precision", "float32"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """Parses `transmute train` arguments without training."""
    seen: list[TrainConfig] = []
    monkeypatch.setattr("transmute.training.train.train", lambda config, after_save, evaluator: seen.append(config))

    def parse(*arguments: str) -> TrainConfig:
        run_command(["train", *arguments])
        return seen[-1]

    return parse


def test_plain_flags_and_nested_ones_reach_the_settings(parsed, tmp_path: Path) -> None:
    config = parsed("data", "--run", "here", "--size", "512x256", "--batch", "4", "--steps", "60", "--save-every", "7", "--sample-every", "8")
    assert (config.folder, config.run, config.save_every, config.sample_every) == (Path("data"), Path("here"), 7, 8)
    assert (config.recipe.size, config.recipe.batch, config.recipe.steps) == ("512x256", 4, 60)
    config = parsed("--data.a", "x", "--data.b", "y", "--data.cache", "--data.skip-bad", "--data.max-pictures", "5", "--seed", "3", "--epochs", "2")
    assert (config.data.a, config.data.cache, config.data.skip_bad, config.data.max_pictures) == (Path("x"), True, True, 5)
    assert (config.recipe.seed, config.recipe.epochs, config.recipe.steps) == (3, 2, None)
    config = parsed("data", "--device", "cpu", "--devices", "2", "--precision", "bfloat16", "--keep", "1", "--preprocess.no-flip")
    assert (config.device, config.devices, config.precision, config.keep, config.recipe.preprocess.flip) == ("cpu", 2, "bfloat16", 1, False)
    assert config.run.parent == Path("runs")


def test_kinds_are_chosen_by_name_and_bring_their_own_flags(parsed) -> None:
    config = parsed("data", "--method", "pix2pix", "--method.direction", "b_to_a", "--method.l1=50", "--schedule", "cosine")
    assert (config.recipe.method.name, config.recipe.method.direction, config.recipe.method.l1) == ("pix2pix", "b_to_a", 50)
    assert config.recipe.schedule.name == "cosine"
    config = parsed(
        "data", "--method.generator=unet", "--method.generator.depth", "7", "--method.adversarial", "wgan-gp", "--method.adversarial.penalty", "1"
    )
    assert (config.recipe.method.generator.name, config.recipe.method.generator.depth) == ("unet", 7)
    assert (config.recipe.method.adversarial.name, config.recipe.method.adversarial.penalty) == ("wgan-gp", 1)
    for name, setting in (("unet-128", ("unet", 7)), ("unet-256", ("unet", 8))):
        generator = parsed("data", "--method.generator", name).recipe.method.generator
        assert (generator.name, generator.depth) == setting
    assert parsed("data", "--method.generator", "resnet-6", "--method.generator.width", "8").recipe.method.generator.blocks == 6
    config = parsed("data", "--method.discriminator", "pixel", "--method.generator.init", "xavier", "--method.generator.init.gain", "1")
    assert (config.recipe.method.discriminator.name, config.recipe.method.generator.init.name) == ("pixel", "xavier")


def test_a_file_gives_defaults_and_flags_win(parsed, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("method: {name: pix2pix, l1: 50}\nbatch: 8\n")
    config = parsed("data", "--config", str(tmp_path / "mine.yaml"), "--batch", "2")
    assert (config.recipe.method.name, config.recipe.method.l1, config.recipe.batch) == ("pix2pix", 50, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "there is no command 'trian': perhaps you meant train"),
        (["flirt"], "there is no command 'flirt': choose one of "),
        (["train", "d", "--sizee", "3"], "Unrecognized options: --sizee, 3; perhaps you meant --size"),
        (["train", "d", "--batch", "many"], "--batch"),
        (["train", "d", "--batch", "0"], "batch should be greater than or equal to 1, but is 0"),
        (["train", "d", "--size", "12by4"], "a size is N or WIDTHxHEIGHT in pixels (256, 512x256), but this is '12by4'"),
        (["train", "d", "--method", "cyclegun"], "there is no recipe or method 'cyclegun': choose cyclegan or pix2pix"),
        (["train", "d", "--method.generator", "unett"], "there is no generator 'unett': choose 'resnet' or 'unet'"),
        (["train", "d", "--preprocess.background", "notacolor"], "unknown color specifier"),
        (["train", "d", "--method"], "--method needs a value"),
        (["train", "d", "--precision", "int8"], "invalid choice 'int8' for argument '--precision'"),
        (["train", "d", "--steps", "3", "--epochs", "4"], "either in --steps or in --epochs"),
        (["train", "d", "--config", "nothing.yaml"], "cannot read the settings file nothing.yaml"),
        (["train", "nowhere"], "nowhere is not a folder"),
        (["translate", "x.jpg"], "--model"),
        (["translate", "--model", "m"], "name the pictures to translate"),
        (["translate", "x.jpg", "--model", "nowhere"], "there is no run folder or model file nowhere"),
        (["translate", "x.jpg", "--model", __file__], "no safetensors file"),
        (["report", "nowhere"], "nowhere is no run folder"),
        (["data", "chekc"], "there is no command data 'chekc': perhaps you meant check"),
        (["data", "check"], "give the folder of a data set, or two folders with --a and --b"),
        (["data", "check", "nowhere", "--pair"], "perhaps you meant --paired"),
        (["data", "check", "--a", "x", "--b", "y"], "x is not a folder"),
        (["data", "combine", "x", "y"], "--out"),
        (["data", "combine", "x", "y", "--out", "o"], "x is not a folder"),
        (["data", "split", "x", "--out", "o", "--test", "1.5"], "test should be less than 1, but is 1.5"),
        (["data", "split", "x", "--out", "o"], "x is not a folder"),
        (["data", "resize", "x", "--out", "o", "--size", "large"], "a size is N or WIDTHxHEIGHT in pixels"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_every_mistake_is_one_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["transmute", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 2
    assert said.err.startswith("transmute: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_and_version(capsys) -> None:
    assert run_command([]) == run_command(["--help"]) == 0
    assert capsys.readouterr().out.count("transmute train DATA") == 2
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("transmute 0.")
    assert run_command(["data"]) == run_command(["data", "--help"]) == 0
    assert capsys.readouterr().out.count("transmute data check DIR") == 2
    for command in ("train", "translate", "demo", "report", "data check", "data combine", "data split", "data resize", "data pull", "pull"):
        with pytest.raises(SystemExit) as left:
            run_command([*command.split(), "--help"])
        assert left.value.code == 0
        assert f"usage: transmute {command}" in capsys.readouterr().out


def test_from_two_folders_to_translations(animals: Path, tmp_path: Path, capsys) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert run_command(["train", str(animals), "--run", str(run), *TINY]) == 0
    said = capsys.readouterr().out
    assert "(unpaired): 5 and 5 pictures to train with, 2 and 2 held out" in said
    assert "networks in float32 (as asked)" in said
    assert run_command(["translate", str(animals / "testA"), "--model", str(run), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png"]
    assert "plain to striped (a_to_b, cyclegan, step 2): 2 pictures" in capsys.readouterr().err
    model = Run(run).model_file("b_to_a")
    assert (
        run_command(["translate", str(animals / "testB" / "0000.png"), "--model", str(model), "--out", str(tmp_path / "two"), "--size", "training"])
        == 0
    )
    (animals / "testA" / "bad.png").write_text("no picture")
    try:
        assert run_command(["translate", str(animals / "testA"), "--model", str(run), "--out", str(tmp_path / "three")]) == 1
    finally:
        (animals / "testA" / "bad.png").unlink()
    assert "1 of 3 pictures could not be translated" in capsys.readouterr().err
    with Image.open(tmp_path / "three" / "0001.png") as picture:
        assert picture.size == (16, 16)
    (run / "report.html").unlink()
    assert run_command(["report", str(run)]) == 0
    assert (run / "report.html").is_file()


def test_checking_a_data_set_ends_with_1_only_for_problems_and_speaks_json(animals: Path, tmp_path: Path, capsys) -> None:
    assert run_command(["data", "check", str(animals)]) == 0
    said = capsys.readouterr().out
    assert "trainA      5 pictures  16x16  RGB 5" in said
    assert "\n0 problems, " in said
    data = tmp_path / "data"
    shutil.copytree(animals, data)
    shutil.copy(data / "trainA" / "0000.png", data / "testA" / "copy.png")
    assert run_command(["data", "check", str(data)]) == 1
    assert "problem: 1 of 3 held-out pictures of testA" in capsys.readouterr().out
    assert run_command(["data", "check", str(data), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == 1
    assert found["findings"][0]["files"] == ["testA/copy.png and trainA/0000.png (same)"]
    assert run_command(["data", "check", "--a", str(animals / "trainA"), "--b", str(animals / "trainB"), "--paired"]) == 0


def test_from_two_folders_of_pairs_to_a_small_split_data_set(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in "AB":
        Path(folder).mkdir()
        for index in range(4):
            Image.effect_noise((24, 24), 50 + index).save(f"{folder}/{index}.jpg")
    assert run_command(["data", "combine", "A", "B", "--out", "pairs"]) == 0
    assert capsys.readouterr().out == "4 pictures written to pairs\n"
    assert run_command(["data", "split", "pairs", "--paired", "--out", "split", "--test", "0.25", "--link"]) == 0
    assert run_command(["data", "resize", "split", "--size", "16x8", "--out", "small"]) == 0
    assert sorted(path.suffix for path in Path("small/train").iterdir()) == [".png"] * 3
    assert run_command(["data", "check", "small"]) == 0
    capsys.readouterr()
    with pytest.raises(UserError, match="4 files are there already"):
        run_command(["data", "combine", "A", "B", "--out", "pairs"])
    Path("B/0.jpg").write_text("no picture")
    assert run_command(["data", "combine", "A", "B", "--out", "pairs", "--overwrite"]) == 1
    said = capsys.readouterr()
    assert said.out == "3 pictures written to pairs\n"
    assert said.err == "transmute: B/0.jpg is not a picture that can be read\ntransmute: 1 of 4 pictures could not be written\n"
    assert not list(tmp_path.rglob("*.part*"))


def test_recipes_are_listed_and_printed_as_yaml_that_trains_the_same(parsed, tmp_path: Path, capsys) -> None:
    assert run_command(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in RECIPES)
    for name, recipe in RECIPES.items():
        assert run_command(["recipes", name]) == 0
        (tmp_path / "it.yaml").write_text(capsys.readouterr().out)
        assert parsed("data", "--config", str(tmp_path / "it.yaml")).recipe == recipe
        assert parsed("data", "--recipe", name).recipe == parsed("data", "--method", name).recipe == recipe
    with pytest.raises(UserError, match="there is no recipe 'nothing'"):
        run_command(["recipes", "nothing"])
    with pytest.raises(UserError, match="both choose a recipe"):
        parsed("data", "--recipe", "cut", "--method", "cut")
