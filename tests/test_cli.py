from __future__ import annotations

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from transmute.cli import main, run_command
from transmute.cli.parsing import as_flags, flags_of
from transmute.config.methods import CycleGANConfig, Pix2PixConfig
from transmute.config.networks import ResNetConfig, UNetConfig
from transmute.config.training import CosineConfig, TrainConfig
from transmute.errors import UserError
from transmute.recipes import RECIPES
from transmute.run import Run

TINY = shlex.split(
    "--size 16 --steps 2 --batch 2 --method.generator.width 2 --method.generator.blocks 1 "
    "--method.discriminator.width 2 --method.discriminator.layers 1 --device cpu "
    "--precision float32"
)

MY_CODE = '''
from typing import Literal

from torch import nn
from transmute.config.methods import CycleGANConfig
from transmute.config.networks import DiscriminatorConfig, GeneratorConfig


class MyMethodConfig(CycleGANConfig):
    """A custom method."""

    name: Literal["mine"] = "mine"
    strength: float = 2.0
    """Strength of the new loss."""


class MyGeneratorConfig(GeneratorConfig):
    """A custom generator."""

    name: Literal["my-generator"] = "my-generator"
    channels: int = 4
    """Channels of the hidden layer."""

    @property
    def stride(self) -> int:
        return 1

    @property
    def min_size(self) -> int:
        return 1

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        layers = nn.Conv2d(in_channels, self.channels, 1), nn.Conv2d(self.channels, out_channels, 1)
        return nn.Sequential(*layers)


class MyDiscriminatorConfig(DiscriminatorConfig):
    """A custom discriminator."""

    name: Literal["my-discriminator"] = "my-discriminator"

    @property
    def min_size(self) -> int:
        return 1

    def build(self, in_channels: int) -> nn.Module:
        return nn.Conv2d(in_channels, 1, 4, 2)
'''


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """Parses `transmute train` arguments without training."""
    configs: list[TrainConfig] = []
    monkeypatch.setattr(
        "transmute.training.train.train",
        lambda config, observer, show: configs.append(config),
    )

    def parse(*words: str) -> TrainConfig:
        run_command(shlex.split(f"train {' '.join(words)}"))
        return configs[-1]

    return parse


@pytest.fixture
def my_code(tmp_path: Path) -> Path:
    """A Python file with a method, a generator and a discriminator."""
    file = tmp_path / "my_code.py"
    file.write_text(MY_CODE, encoding="utf-8")
    return file


def help_of(words: str, capsys) -> str:
    with pytest.raises(SystemExit) as exit:
        run_command(words.split())
    assert exit.value.code == 0
    return capsys.readouterr().out


def test_plain_flags_and_nested_ones_reach_the_settings(parsed) -> None:
    config = parsed(
        "data --run here --size 512x256 --batch 4 --steps 60",
        "--save-every 7 --sample-every 8",
    )
    assert (config.folder, config.run) == (Path("data"), Path("here"))
    assert (config.save_every, config.sample_every) == (7, 8)
    assert (config.recipe.size, config.recipe.batch, config.recipe.steps) == ("512x256", 4, 60)
    config = parsed(
        "--data.a x --data.b y --data.cache --data.skip-bad --data.max-images 5",
        "--seed 3 --epochs 2",
    )
    assert (config.data.a, config.data.b, config.data.max_images) == (Path("x"), Path("y"), 5)
    assert (config.data.cache, config.data.skip_bad) == (True, True)
    assert (config.recipe.seed, config.recipe.epochs, config.recipe.steps) == (3, 2, None)
    config = parsed(
        "data --device cpu --devices 2 --precision bfloat16 --keep 1",
        "--preprocess.no-flip --preprocess.channels-a 1 --log tensorboard wandb",
        "--optimizer.clip=None",
    )
    assert (config.device, config.devices, config.precision) == ("cpu", 2, "bfloat16")
    assert (config.keep, config.log) == (1, ("tensorboard", "wandb"))
    assert (config.recipe.preprocess.flip, config.recipe.preprocess.channels_a) == (False, 1)
    assert config.recipe.optimizer.clip is None
    assert str(config.run).startswith("runs/")


def test_a_range_may_begin_with_a_minus_sign(parsed) -> None:
    config = parsed("data --data.range-a -1000:1000,0:1 --data.range-b=-1:1")
    assert (config.data.range_a, config.data.range_b) == ("-1000:1000,0:1", "-1:1")
    with pytest.raises(UserError, match=r"'5:1' is not a range\. Write LOW:HIGH"):
        parsed("data --data.range-a 5:1")


def test_flags_may_be_written_with_underscores_and_before_the_folder(parsed) -> None:
    config = parsed("--data.skip_bad", "--method.cycle_a=5", "some_data")
    assert (config.folder, config.data.skip_bad) == (Path("some_data"), True)
    assert config.recipe.method == CycleGANConfig(cycle_a=5.0)


def test_kinds_are_chosen_by_name_and_bring_their_own_flags(parsed) -> None:
    config = parsed(
        "data --method pix2pix --method.direction b_to_a --method.l1=50",
        "--schedule cosine --schedule.down 0.5",
    )
    assert config.recipe.method == Pix2PixConfig(direction="b_to_a", l1=50.0)
    assert config.recipe.schedule == CosineConfig(down=0.5)
    method = parsed(
        "data --method.generator=unet --method.generator.depth 7",
        "--method.adversarial wgan-gp --method.adversarial.penalty 1",
    ).recipe.method
    assert method.generator == UNetConfig(depth=7)
    assert (method.adversarial.name, method.adversarial.penalty) == ("wgan-gp", 1)
    method = parsed(
        "data --method.discriminator pixel --method.generator.init xavier",
        "--method.generator.init.gain 1",
    ).recipe.method
    assert method.discriminator.name == "pixel"
    assert (method.generator.init.name, method.generator.init.gain) == ("xavier", 1)


def test_generators_may_be_chosen_by_their_names_in_pytorch_cyclegan_and_pix2pix(parsed) -> None:
    for name, depth in (("unet-128", 7), ("unet-256", 8)):
        method = parsed("data", "--method.generator", name).recipe.method
        assert method.generator == UNetConfig(depth=depth)
    words = "data --method.generator resnet-6 --method.generator.width 8"
    assert parsed(words).recipe.method.generator == ResNetConfig(blocks=6, width=8)


def test_flags_override_the_settings_in_a_file(parsed, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "method: {name: pix2pix, l1: 50}\nbatch: 8\n", encoding="utf-8"
    )
    config = parsed("data", "--config", str(tmp_path / "mine.yaml"), "--batch", "2")
    assert config.recipe.method == Pix2PixConfig(l1=50.0)
    assert config.recipe.batch == 2


def test_a_custom_method_has_flags(parsed, my_code: Path, capsys) -> None:
    method = f"{my_code}:MyMethodConfig"
    config = parsed("data", "--method", method, "--method.strength", "3", "--method.cycle-a", "5")
    values = config.recipe.method.model_dump()
    assert (values["name"], values["strength"], values["cycle_a"]) == ("mine", 3.0, 5.0)
    assert "--method.strength" in help_of(f"train data --method {method} --help-all", capsys)
    assert pickle.loads(pickle.dumps(config)) == config


def test_custom_networks_have_flags(parsed, my_code: Path, capsys) -> None:
    words = f"--method.generator {my_code}:MyGeneratorConfig"
    more = f"--method.generator.channels 6 --method.discriminator={my_code}:MyDiscriminatorConfig"
    method = parsed("data", words, more).recipe.method.model_dump()
    assert (method["generator"]["name"], method["generator"]["channels"]) == ("my-generator", 6)
    assert method["discriminator"]["name"] == "my-discriminator"
    assert "--method.generator.channels" in help_of(f"train d {words} --help-all", capsys)
    with pytest.raises(UserError, match="does not define NoConfig"):
        parsed("data", "--method.generator", f"{my_code}:NoConfig")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("trian", "unknown command 'trian'. Did you mean train?"),
        ("flirt", "unknown command 'flirt'. Choose one of: demo, data"),
        ("train d --sizee 3", "unknown flag --sizee. Did you mean --size?"),
        ("train d --lr 3", "unknown flag --lr. Did you mean --optimizer.lr?"),
        ("train d --preprocess.flip", "Did you mean --preprocess.no-flip?"),
        ("train d e", "unexpected argument 'e'"),
        ("train d --batch many", "--batch should be an integer, but is 'many'"),
        ("train d --batch 0", "--batch should be greater than or equal to 1, but is 0"),
        ("train d --optimizer.lr -1", "--optimizer.lr should be greater than 0, but is '-1'"),
        ("train d --size 12by4", "a size is N or WIDTHxHEIGHT in pixels"),
        (
            "train d --method cyclegun",
            "unknown recipe or method 'cyclegun'. Choose one of: cyclegan, pix2pix",
        ),
        (
            "train d --method.generator unett",
            "unknown --method.generator 'unett'. Choose one of: resnet, unet",
        ),
        ("train d --preprocess.background notacolor", "unknown color specifier"),
        ("train d --method", "--method: expected one argument"),
        ("train d --log", "--log: expected at least one argument"),
        ("train d --data.cache=1", "--data.cache: ignored explicit argument '1'"),
        ("train d --log wandb x", "--log should be 'tensorboard' or 'wandb', but is 'x'"),
        (
            "train d --precision int8",
            "--precision should be 'auto', 'float32' or 'bfloat16', but is 'int8'",
        ),
        (
            "train d --steps 3 --epochs 4",
            "--steps and --epochs both set the length. Use only one of them",
        ),
        ("train d --config nothing.yaml", "nothing.yaml cannot be read: No such file"),
        ("train d --method nothing.py:X", "there is no file nothing.py"),
        ("train nowhere", "nowhere is not a folder"),
        ("train nowhere", "two folders with --data.a and --data.b"),
        ("translate x.jpg", "--model is required"),
        ("translate --model m", "IMAGES is required. Pass files, folders or quoted glob patterns"),
        ("translate x.jpg --model nowhere", "there is no run folder or model file nowhere"),
        (f"translate x.jpg --model {__file__}", "not a safetensors file"),
        ("report nowhere", "nowhere is not a run folder"),
        ("data chekc", "unknown command 'data chekc'. Did you mean data check?"),
        ("data check", "the folder of a data set, or two folders with --a and --b"),
        ("data check nowhere --pair", "Did you mean --paired?"),
        ("data check --data.a x", "unknown flag --data.a. Did you mean --a?"),
        ("translate x.jpg --model m --lr 3", "unknown flag --lr. See transmute translate"),
        ("import nowhere", "there is no file or folder nowhere"),
        ("data check --a x --b y", "x is not a folder"),
        ("data combine x y", "--out is required"),
        ("data combine --out o", "A is required"),
        ("data combine x y --out o", "x is not a folder"),
        ("data split x --out o --test 1.5", "--test should be less than 1, but is '1.5'"),
        ("data split x --out o", "x is not a folder"),
        ("data resize x --out o --size large", "a size is N or WIDTHxHEIGHT in pixels"),
    ],
)
def test_every_mistake_is_one_sentence_and_exit_code_2(
    monkeypatch, capsys, tmp_path: Path, words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["transmute", *words.split()])
    with pytest.raises(SystemExit) as exit:
        main()
    printed = capsys.readouterr().err
    assert exit.value.code == 2
    assert printed.startswith("transmute: ")
    assert sentence in printed
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "rendered"),
    [
        ("change `optimizer.lr`", "change --optimizer.lr"),
        ("use `optimizer.clip=1`", "use --optimizer.clip 1"),
        ("use `run=my runs`", "use --run 'my runs'"),
        ("choose another `start`", "choose another --from"),
        ("set `data.skip_bad`", "set --data.skip-bad"),
        ("set `data.skip_bad=True`", "set --data.skip-bad"),
        ("set `preprocess.flip=False`", "set --preprocess.no-flip"),
        ("set `data.skip_bad=False`", "set data.skip_bad=False"),
        ("`lr` should be positive", "--optimizer.lr should be positive"),
        ("`log.1` is wrong", "--log is wrong"),
        ("`recipe.size` and `width`", "--size and width"),
        ("`method.other=1` and `nothing`", "method.other=1 and nothing"),
    ],
)
def test_settings_in_messages_become_flags(message: str, rendered: str) -> None:
    known = {flag.setting: flag.name for flag in flags_of(TrainConfig())}
    show = pickle.loads(pickle.dumps(partial(as_flags, known=known)))
    assert show(UserError(message)) == rendered


def test_settings_are_found_by_their_last_part_if_a_command_has_such_a_flag() -> None:
    assert as_flags("set `data.a` or `data.b`", {"a": "--a"}) == "set --a or data.b"


def test_help_and_version(capsys) -> None:
    assert run_command([]) == run_command(["--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("transmute train DATA") == 2
    assert max(map(len, printed.splitlines())) <= 80
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("transmute 0.")
    assert run_command(["data"]) == run_command(["data", "--help"]) == 0
    assert capsys.readouterr().out.count("transmute data check DIR") == 2


@pytest.mark.parametrize(
    "command",
    [
        *("bench", "train", "translate", "demo", "recipes", "report", "pull"),
        *("data check", "data combine", "data split", "data resize", "data pull"),
    ],
)
def test_every_command_has_help(command: str, capsys) -> None:
    for flag in ("--help", "-h"):
        assert f"usage: transmute {command}" in help_of(f"{command} {flag}", capsys)


def test_usage_shows_required_flags_and_optional_arguments(capsys) -> None:
    for command, usage in {
        "translate": "translate IMAGES --model RUN|FILE [flags]",
        "data combine": "data combine A B --out DIR [flags]",
        "data pull": "data pull [NAME|URL] [flags]",
        "doctor": "doctor [DIR] [flags]",
    }.items():
        assert help_of(f"{command} --help", capsys).startswith(f"usage: transmute {usage}\n")
    assert "data set" in help_of("data pull --help", capsys).split("flags:")[0]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("command", ["train", "bench"])
def test_the_short_help_fits_on_two_screens(command: str, recipe: str, capsys) -> None:
    lines = help_of(f"{command} --recipe {recipe} --help", capsys).splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 80
    assert "--help-all lists all flags" in " ".join(lines)
    if command == "train":
        printed = "\n".join(lines)
        for flag in ("--method", "--config", "--size", "--run", "--from", "--data.a", "--device"):
            assert f"\n  {flag} " in printed


def test_the_full_help_does_not_import_torch() -> None:
    code = """
import sys
from transmute.cli import run_command
try:
    run_command(["train", "--help-all"])
finally:
    assert "torch" not in sys.modules
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8"
    )
    assert "--optimizer.lr" in output.stdout


@pytest.mark.parametrize("recipe", ["cyclegan", "cut", "pytorch-gan-pix2pix"])
def test_the_full_help_lists_exactly_the_flags_that_are_accepted(
    recipe: str, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    printed = help_of(f"train --recipe {recipe} --help-all", capsys)
    listed = set(re.findall(r"^[\s│|]+(--[a-z][\w.-]+)", printed, re.MULTILINE))

    flags = flags_of(TrainConfig(recipe=RECIPES[recipe]))
    accepted = {flag.name for flag in flags if flag.name.startswith("--")}
    assert listed == accepted | {"--recipe", "--config"}


def test_a_custom_generator_is_passed_to_the_translator(monkeypatch) -> None:
    arguments = {}

    def record(model: str, **options: object) -> None:
        arguments.update(options, model=model)
        raise UserError("recorded")

    monkeypatch.setattr("transmute.translation.translator.Translator", record)
    with pytest.raises(UserError, match="recorded"):
        run_command(shlex.split("translate x.jpg --model m --generator my.py:Config --step best"))
    assert (arguments["model"], arguments["generator"]) == ("m", "my.py:Config")
    assert (arguments["step"], arguments["direction"]) == ("best", None)


def test_from_two_folders_to_translations(animals: Path, tmp_path: Path, capsys) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert run_command(["train", str(animals), "--run", str(run), *TINY]) == 0
    printed = capsys.readouterr().out
    assert "(unpaired): 5 and 5 training images, 2 and 2 held out" in printed
    assert "networks in float32 (as set)" in printed
    words = ["translate", str(animals / "testA"), "--model", str(run), "--out", str(out)]
    assert run_command(words) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png"]
    assert "plain to striped (a_to_b, cyclegan, step 2): 2 images" in capsys.readouterr().err
    image = animals / "testB" / "0000.png"
    model = Run(run).models_at() / "b_to_a.safetensors"
    words = ["translate", str(image), "--model", str(model), "--out", str(tmp_path / "two")]
    assert run_command([*words, "--size", "training"]) == 0
    data = tmp_path / "data"
    shutil.copytree(animals / "testA", data)
    (data / "bad.png").write_text("no image", encoding="utf-8")
    words = ["translate", str(data), "--model", str(run), "--out", str(tmp_path / "three")]
    assert run_command(words) == 1
    assert "1 of 3 images could not be translated" in capsys.readouterr().err
    with Image.open(tmp_path / "three" / "0001.png") as image:
        assert image.size == (16, 16)
    (run / "report.html").unlink()
    assert run_command(["report", str(run)]) == 0
    assert (run / "report.html").is_file()


def test_checking_a_data_set_exits_with_1_only_for_problems_and_prints_json(
    animals: Path, tmp_path: Path, capsys
) -> None:
    assert run_command(["data", "check", str(animals)]) == 0
    printed = capsys.readouterr().out
    assert "trainA      5 images  16x16  RGB 5  uint8, 3 channels, " in printed
    assert "\n0 problems, " in printed
    small = "remark: 5 of 5 images of trainA are smaller than 256 pixels"
    assert printed.partition(small)[2].partition("\n\n")[0].endswith("... and 2 more")
    data = tmp_path / "data"
    shutil.copytree(animals, data)
    shutil.copy(data / "trainA" / "0000.png", data / "testA" / "copy.png")
    assert run_command(["data", "check", str(data)]) == 1
    assert "problem: 1 of 3 held-out images of testA" in capsys.readouterr().out
    assert run_command(["data", "check", str(data), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["problems"] == 1
    assert result["findings"][0]["files"] == ["testA/copy.png and trainA/0000.png (same)"]
    for index in range(12):
        (data / "trainB" / f"bad{index}.png").write_text("no image", encoding="utf-8")
    assert run_command(["data", "check", str(data)]) == 1
    printed = capsys.readouterr().out
    assert "problem: 12 images cannot be used\n  Repair or remove them" in printed
    assert printed.count("is not an image that can be read\n") == 10
    assert "  ... and 2 more\n" in printed
    assert "no images are held out" not in printed
    shutil.rmtree(data / "testA")
    assert run_command(["data", "check", str(data)]) == 1
    assert "Hold some out with transmute data split, to evaluate" in capsys.readouterr().out
    folders = ["--a", str(animals / "trainA"), "--b", str(animals / "trainB")]
    assert run_command(["data", "check", *folders, "--paired"]) == 0


def test_from_two_folders_of_pairs_to_a_small_split_data_set(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in "AB":
        Path(folder).mkdir()
        for index in range(4):
            Image.effect_noise((24, 24), 50 + index).save(f"{folder}/{index}.jpg")
    assert run_command(["data", "combine", "A", "B", "--out", "pairs"]) == 0
    assert capsys.readouterr().out == "4 images written to pairs\n"
    words = shlex.split("data split pairs --paired --out split --test 0.25 --link")
    assert run_command(words) == 0
    assert run_command(["data", "resize", "split", "--size", "16x8", "--out", "small"]) == 0
    assert sorted(path.suffix for path in Path("small/train").iterdir()) == [".png"] * 3
    assert run_command(["data", "check", "small"]) == 0
    capsys.readouterr()
    with pytest.raises(UserError, match="4 files would be replaced"):
        run_command(["data", "combine", "A", "B", "--out", "pairs"])
    Path("B/0.jpg").write_text("no image", encoding="utf-8")
    assert run_command(["data", "combine", "A", "B", "--out", "pairs", "--overwrite"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "3 images written to pairs\n"
    assert printed.err == (
        "transmute: B/0.jpg is not an image that can be read\n"
        "transmute: 1 of 4 images could not be written\n"
    )
    assert not list(tmp_path.rglob("*.part*"))


def test_control_characters_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("trainA/1.png", "trainA/\x1b[31m\n.png", "trainB/2.png", "trainB/\x1b]0;x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name, "PNG")
    assert run_command(["data", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "\n  trainA/\\x1b[31m\\n.png (16x16)\n" in printed
    assert "1 files are not used (1 .txt), since they are not images that can be read" in printed
    assert "\n  trainB/\\x1b]0;x.txt\n" in printed
    assert "\x1b" not in printed
    (tmp_path / "trainA" / "\x1b[31m\n.png").write_bytes(b"")
    words = f"data resize {tmp_path} --size 8 --out {tmp_path}-8"
    assert run_command(words.split()) == 1
    assert "/\\x1b[31m\\n.png is empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["transmute", "data", "check", "\x1b[31mred"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("transmute: \\x1b[31mred is not a folder")


def test_recipes_are_listed_and_printed_as_yaml_that_trains_the_same(
    parsed, tmp_path: Path, capsys
) -> None:
    assert run_command(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in RECIPES)
    for name, recipe in RECIPES.items():
        capsys.readouterr()
        assert run_command(["recipes", name]) == 0
        (tmp_path / "it.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
        assert parsed("data", "--config", str(tmp_path / "it.yaml")).recipe == recipe
        assert parsed("data", "--recipe", name).recipe == recipe
        assert parsed("data", "--method", name).recipe == recipe
    with pytest.raises(UserError, match="unknown recipe or method 'nothing'"):
        run_command(["recipes", "nothing"])
    with pytest.raises(UserError, match="both choose a recipe"):
        parsed("data", "--recipe", "cut", "--method", "cut")


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (["train", ""], "an argument"),
        (["train", "data", "--run", ""], "--run"),
        (["train", "data", "--method", ""], "--method"),
        (["train", "data", "--method="], "--method"),
        (["train", "data", "--method=--"], "--method"),
        (["train", "data", "--run= "], "--run"),
        (["translate", " ", "--model", "run"], "an argument"),
    ],
)
def test_empty_arguments_are_refused(command: list[str], flag: str) -> None:
    with pytest.raises(UserError, match=f"^{flag} is empty. Pass a value, or leave it out"):
        run_command(command)


def test_values_in_messages_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_flags("`to=a\nb` is unknown", {"to": "--to"}) == "--to 'a\\nb' is unknown"


def test_an_error_about_a_name_with_a_newline_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["transmute", "data", "split", "a\nb", "--out", "out"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith(r"transmute: a\nb is not a folder")
