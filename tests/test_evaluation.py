from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import TINY_CYCLEGAN, TINY_PIX2PIX
from tests.metrics.test_evaluator import TEXTURE, by_name, image
from tests.translation.models import load_translator, save_model
from transmute.cli import run_command
from transmute.config.data import PreprocessConfig, Range
from transmute.config.training import TrainConfig
from transmute.errors import UserError
from transmute.evaluation import evaluate, warnings
from transmute.images.encode import save_image
from transmute.images.raster import Raster
from transmute.metrics.metric import Metric
from transmute.training.train import train

NETWORKS = """
import sys
from dataclasses import dataclass
import torch

@dataclass
class Layer(torch.nn.Module):
    kind: "str"
    def __post_init__(self):
        super().__init__()
    def __hash__(self):
        return id(self)
    def forward(self, x):
        if self.kind == "breaks":
            raise RuntimeError("broken")
        if self.kind == "one_row":
            return x.mean((0, 2, 3))[None]
        return x.mean((2, 3)) / 0 * 0

def fails(): raise ValueError("no")
def leaves(): sys.exit(7)
def one_row(): return Layer("one_row")
def no_numbers(): return Layer("no_numbers")
def breaks(): return Layer("breaks")
"""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, striped, first in (("plain", False, 0), ("others", False, 100), ("striped", True, 0)):
        for seed in range(first, first + 12):
            save_image(image(seed, striped=striped), tmp_path / name / f"{seed - first:02}.png")
    return tmp_path


@pytest.fixture(scope="module")
def run(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(
        TrainConfig(folder=animals, run=folder, recipe=TINY_CYCLEGAN.replace(steps=1), device="cpu")
    )
    return folder


def test_the_distance_of_a_folder_to_itself_is_zero(
    folders: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = str(folders / "plain")
    assert (
        run_command(
            [
                "evaluate",
                "--real",
                folder,
                "--fake",
                folder,
                "--paired",
                "--features",
                "texture",
                "--lpips",
                "none",
                "--json",
            ]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)["metrics"]["fake"]
    metrics = {row["name"]: row["value"] for row in rows}
    assert metrics["fid"] == pytest.approx(0, abs=1e-9)
    assert (metrics["l1"], metrics["psnr"], metrics["ssim"]) == (0, 100, pytest.approx(1))


def test_a_model_is_evaluated_in_both_directions(
    run: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "metrics.json"
    assert (
        run_command(
            [
                "evaluate",
                "--model",
                str(run),
                "--data",
                str(animals),
                "--features",
                "texture",
                "--device",
                "cpu",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    output = capsys.readouterr().out
    for part in (
        "plain to striped",
        "striped to plain",
        "Frechet",
        "fewer than 1,000 images (2 here)",
        "describe colors and edges",
    ):
        assert part in output
    measured = json.loads(out.read_text(encoding="utf-8"))
    assert (measured["step"], measured["split"]) == (1, "test")
    for direction in ("a_to_b", "b_to_a"):
        metrics = {row["name"]: row for row in measured["metrics"][direction]}
        assert set(metrics) == {"fid", "cycle"}
        assert metrics["cycle"]["fake"] == 2


def test_paired_models_are_compared_pair_by_pair(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "pairs"
    for phase in ("train", "test"):
        for index in range(4):
            both = Image.new("RGB", (32, 16))
            both.paste(image(index, size=16), (0, 0))
            both.paste(image(index, size=16, striped=True), (16, 0))
            save_image(both, data / phase / f"{index}.png")
    train(
        TrainConfig(
            folder=data, run=tmp_path / "run", recipe=TINY_PIX2PIX.replace(steps=1), device="cpu"
        )
    )
    capsys.readouterr()
    assert (
        run_command(
            [
                "evaluate",
                "--model",
                str(tmp_path / "run"),
                "--data",
                str(data),
                "--features",
                "texture",
                "--json",
            ]
        )
        == 0
    )
    metrics = {row["name"]: row for row in json.loads(capsys.readouterr().out)["metrics"]["a_to_b"]}
    assert {"fid", "kid", "l1", "psnr", "ssim"} == set(metrics)


def test_held_out_images_narrower_than_a_pair_are_not_cut_in_two_unless_said_otherwise(
    tmp_path: Path,
) -> None:
    for phase, width in (("train", 32), ("test", 16)):
        for index in range(4):
            save_image(image(index, size=32).resize((width, 16)), tmp_path / f"{phase}/{index}.png")
    config = TrainConfig(
        folder=tmp_path, run=tmp_path / "run", recipe=TINY_PIX2PIX.replace(steps=1), device="cpu"
    )
    train(config)
    arguments: Any = (tmp_path / "run", tmp_path)
    with pytest.raises(UserError, match=r"test.0\.png is 16x16, which is not the shape"):
        evaluate(*arguments, config=TEXTURE, device="cpu")
    evaluate(*arguments, config=TEXTURE, device="cpu", side_by_side=True)


@pytest.mark.parametrize("setting", ["swap", "side_by_side"])
def test_settings_of_a_data_set_need_a_model(setting: str, folders: Path) -> None:
    changes: Any = {setting: True}
    with pytest.raises(UserError, match="need a `model`"):
        evaluate(real=folders, fake=folders, **changes)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "either `model` and `data`, or `real` and `fake`"),
        (["--model", "x"], "either `model` and `data`"),
        (["--real", "x", "--fake", "y", "--model", "z"], "either `model` and `data`"),
        (["--real", "none", "--fake", "none"], "not a folder"),
        (["--real", "plain", "--fake", "empty"], "empty contains no images"),
        (
            ["--real", "plain", "--fake", "striped", "--size", "training"],
            "`size=training` needs a model",
        ),
        (["--real", "plain", "--fake", "striped", "--size", "0"], "a size is"),
        (["--real", "plain", "--fake", "striped", "--features", "horse"], "'horse' is neither"),
        (["--real", "plain", "--fake", "striped", "--max-images", "1"], "max_images"),
        (["--model", "none", "--data", "plain"], "no run folder or model file"),
        (
            ["--real", "plain", "--fake", "striped", "--step", "3"],
            "`swap`, `side_by_side` and `generator` need a `model`",
        ),
        (["--real", "plain", "--fake", "striped", "--size", "9" * 20], "up to five digits"),
        (["--real", "plain", "--fake", "striped", "--out", "plain/00.png"], "the extension .json"),
        (
            ["--real", "plain", "--fake", "striped", "--out", "recipe.json"],
            "metrics of an earlier evaluation",
        ),
        (["--real", "plain", "--fake", "fewer", "--paired"], r"partner .*skip.bad"),
        (
            ["--real", "plain", "--fake", "striped", "--features", "mine.py:fails"],
            "mine.py:fails failed: ValueError: no",
        ),
        (
            ["--real", "plain", "--fake", "striped", "--features", "mine.py:leaves"],
            "mine.py:leaves failed: SystemExit",
        ),
        (
            ["--real", "plain", "--fake", "striped", "--features", "mine.py:one_row"],
            r"returns \(1, 3\) for 12 images",
        ),
        (
            ["--real", "plain", "--fake", "striped", "--features", "mine.py:no_numbers"],
            "not finite",
        ),
        (
            ["--real", "plain", "--fake", "striped", "--features", "mine.py:breaks"],
            "failed on images of shape .* RuntimeError: broken",
        ),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py"], "FILE.py:NAME"),
    ],
)
def test_the_error_about_wrong_arguments_says_what_is_wrong(
    folders: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    (folders / "recipe.json").write_text("{}", encoding="utf-8")
    shutil.copytree(folders / "plain", folders / "fewer")
    (folders / "fewer" / "00.png").unlink()
    (folders / "mine.py").write_text(NETWORKS, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        run_command(
            [
                "evaluate",
                *(["--features", "texture"] if "--features" not in arguments else []),
                *arguments,
            ]
        )


def test_metrics_that_are_left_out_are_reported(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folders / "two").mkdir()
    for name in ("00.png", "01.png"):
        shutil.copy(folders / "plain" / name, folders / "two" / name)
    (tmp_path / "palette.yaml").write_text('0: "#000000"\n1: "#ff00ff"\n', encoding="utf-8")
    words = [
        "evaluate",
        "--real",
        str(folders / "plain"),
        "--fake",
        str(folders / "two"),
        "--features",
        "texture",
        "--lpips",
        "none",
    ]
    assert run_command([*words, "--palette", str(tmp_path / "palette.yaml")]) == 0
    output = capsys.readouterr().out
    assert "KID four, but there are 2 and 12" in output
    assert "no label map was compared" in output


def test_a_folder_inside_the_other_counts_once(
    folders: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(folders / "striped", folders / "plain" / "translated")
    run_command(
        [
            "evaluate",
            "--real",
            str(folders / "plain"),
            "--fake",
            str(folders / "plain" / "translated"),
            "--features",
            "texture",
            "--json",
        ]
    )
    fid = json.loads(capsys.readouterr().out)["metrics"]["fake"][0]
    assert (fid["fake"], fid["real"]) == (12, 12)


def test_exchanged_domains_are_detected(
    run: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    exchanged = tmp_path / "striped2plain"
    for phase in ("train", "test"):
        for domain, other in ("AB", "BA"):
            shutil.copytree(animals / f"{phase}{domain}", exchanged / f"{phase}{other}")
    words = ["evaluate", "--model", str(run), "--features", "texture", "--json", "--data"]
    with pytest.raises(UserError, match="Set `swap` to exchange them"):
        run_command([*words, str(exchanged)])
    assert (
        run_command([*words, str(exchanged), "--swap"]) == run_command([*words, str(animals)]) == 0
    )
    first, second = (
        json.loads(text + "}")["metrics"] for text in capsys.readouterr().out.split("\n}\n")[:2]
    )
    assert first == second


def test_a_warning_gives_the_number_of_images_if_there_are_few() -> None:
    metric = Metric("fid", 1.0, 0.5, 1.5, "inception", 999, 5000)
    assert "999 here" in warnings({"a_to_b": [metric]})[0]
    many = Metric("fid", 1.0, 0.5, 1.5, "inception", 1000, 5000)
    assert warnings({"a_to_b": [many]}) == []
    score = Metric("inception_score", 3.0, 2.5, 3.5, "inception", 40)
    (warning,) = warnings({"a_to_b": [many, score]})
    assert "depends neither on the inputs nor on real images" in warning
    assert "(40 here)" in warning


def test_the_users_own_metrics_are_measured_next_to_the_others(
    folders: Path, custom: Path, capsys: pytest.CaptureFixture
) -> None:
    references = tuple(f"{custom}:{name}" for name in ("brightness", "count_difference"))
    (folders / "plain" / "00.png").unlink()
    evaluation = evaluate(
        real=folders / "plain",
        fake=folders / "striped",
        config=TEXTURE.replace(custom=references),
        device="cpu",
    )
    metrics = evaluation.metrics["fake"]
    assert [metric.name for metric in metrics] == ["fid", "kid", "brightness", "count_difference"]
    assert metrics[-1] == Metric("count_difference", 1.0, None, None, "", 12, 11)
    words = ["--real", str(folders / "plain"), "--fake", str(folders / "striped")]
    words += ["--features", "texture", "--lpips", "none", "--custom", *references]
    assert run_command(["evaluate", *words]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "count_difference" in line)
    assert row.split() == ["count_difference", "1", "12", "and", "11", "custom", "metric"]


def test_evaluate_returns_what_evaluate_prints(
    run: Path, animals: Path, capsys: pytest.CaptureFixture
) -> None:
    evaluation = evaluate(run, animals, config=TEXTURE, size="training", device="cpu")
    words = ["--model", str(run), "--data", str(animals), "--features", "texture"]
    words += ["--lpips", "none", "--size", "training", "--device", "cpu", "--json"]
    capsys.readouterr()
    assert run_command(["evaluate", *words]) == 0
    printed = capsys.readouterr().out
    assert printed == evaluation.to_json() + "\n"
    assert json.loads(printed) == evaluation.to_dict()
    assert list(evaluation.to_dict()) == [
        "model",
        "step",
        "data",
        "split",
        "size",
        "directions",
        "metrics",
        "warnings",
    ]
    assert evaluation.descriptions == {"a_to_b": "plain to striped", "b_to_a": "striped to plain"}
    with pytest.raises(UserError, match="newest, best"):
        evaluate(run, animals, config=TEXTURE, step="last", device="cpu")


SIX_CHANNELS = (
    Range(depth="uint16", low=(100.0,), high=(3000.0,), origin="percentiles"),
    Range(
        depth="uint16", low=(0.0,) * 6, high=(1e3, 2e3, 3e3, 4e3, 5e3, 6e3), origin="percentiles"
    ),
)
READER = "import numpy as np\ndef read(path):\n    return np.load(path, allow_pickle=False)\n"


def sixteen_bits(channels: int, seed: int, high: int = 4000) -> np.ndarray:
    shape = (16, 20, channels)
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint16)


def save_arrays(folder: Path, arrays: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for index, array in enumerate(arrays):
        path = folder / f"{index}.tif"
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")


def test_a_16_bit_model_of_6_channels_is_measured_by_the_files_it_would_write(
    tmp_path: Path,
) -> None:
    a, b = ([sixteen_bits(6, seed) for seed in seeds] for seeds in (range(4), range(10, 14)))
    for folder, arrays in (("trainA", a), ("trainB", b), ("testA", a), ("testB", b)):
        save_arrays(tmp_path / "data" / folder, arrays)
    preprocess = PreprocessConfig(
        channels_a=6, channels_b=6, range_a=SIX_CHANNELS[0], range_b=SIX_CHANNELS[1]
    )
    options = {"in_channels": 6, "out_channels": 6, "preprocess": preprocess}
    model = save_model(tmp_path / "a_to_b.safetensors", source="a", target="b", **options)
    evaluation = evaluate(model, tmp_path / "data", config=TEXTURE, paired=True, device="cpu")
    metrics = by_name(evaluation.metrics["a_to_b"])
    high, translator = np.array(SIX_CHANNELS[1].high), load_translator(model)
    errors = []
    for source, target in zip(a, b, strict=True):
        written = translator.raster(Raster(source, depth="uint16"))
        assert written.pixels.dtype == np.uint16
        one, two = (pixels.clip(0, high) / high for pixels in (written.pixels, target))
        errors.append(one - two)
    expected = np.mean([-10 * np.log10(np.square(error).mean()) for error in errors])
    assert metrics["psnr"].value == pytest.approx(expected, rel=1e-5)
    assert metrics["l1"].value == pytest.approx(255 * np.abs(errors).mean(), rel=1e-5)
    assert metrics["fid"].value > 0
    assert sum("see channels 1, 2 and 3 of 6" in line for line in evaluation.warnings) == 1


def test_a_float_model_is_evaluated_through_a_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    random, data = np.random.default_rng(0), tmp_path / "data"
    for folder in ("trainA", "trainB", "testA", "testB"):
        (data / folder).mkdir(parents=True)
        for index in range(3):
            with (data / folder / f"{index}.volume").open("wb") as file:
                np.save(file, random.normal(0, 500, (16, 16)).astype(np.float32))
    (tmp_path / "mine.py").write_text(READER, encoding="utf-8")
    values = Range(depth="float32", low=(-1000.0,), high=(1000.0,), origin="set")
    preprocess = PreprocessConfig(channels_a=1, channels_b=1, range_a=values, range_b=values)
    options = {"in_channels": 1, "out_channels": 1, "preprocess": preprocess}
    for direction, source, target in (("a_to_b", "a", "b"), ("b_to_a", "b", "a")):
        path = tmp_path / "model" / f"{direction}.safetensors"
        save_model(path, direction=direction, source=source, target=target, **options)
    words = ["--model", str(tmp_path / "model"), "--data", str(data), "--features", "texture"]
    words += ["--lpips", "none", "--reader", f"{tmp_path}/mine.py:read", "--device", "cpu"]
    assert run_command(["evaluate", *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["metrics"]["b_to_a"]
    assert {row["name"]: row["fake"] for row in rows} == {"fid": 3, "cycle": 3}
    translate = [
        load_translator(tmp_path / "model", direction=each) for each in ("a_to_b", "b_to_a")
    ]
    errors = []
    for path in sorted((data / "testB").iterdir()):
        pixels = np.load(path, allow_pickle=False).clip(-1000, 1000)[:, :, None]
        there = translate[1].raster(Raster(pixels, depth="float32"))
        errors.append(np.abs(translate[0].raster(there).pixels - pixels).mean())
    measured = next(row["value"] for row in rows if row["name"] == "cycle")
    assert measured == pytest.approx(127.5 * np.mean(errors) / 1000, rel=1e-4)
    words = ["--real", str(data / "testA"), "--fake", str(data / "testB"), "--features", "texture"]
    words += ["--reader", f"{tmp_path}/mine.py:read", "--range=-1000:1000", "--json"]
    assert run_command(["evaluate", *words]) == 0
    folders = json.loads(capsys.readouterr().out)
    assert (folders["metrics"]["fake"][0]["fake"], folders["metrics"]["fake"][0]["real"]) == (3, 3)
    assert any("-1000:1000 are compared (as set)" in line for line in folders["warnings"])


def test_folders_of_16_bits_are_compared_in_a_range_that_is_set_or_found(tmp_path: Path) -> None:
    real = [sixteen_bits(6, seed, 2000) for seed in range(3)]
    save_arrays(tmp_path / "real", real)
    save_arrays(tmp_path / "fake", [array + 40 for array in real])
    folders = {"real": tmp_path / "real", "fake": tmp_path / "fake", "paired": True}
    evaluation = evaluate(**folders, range="0:4000", config=TEXTURE, device="cpu")
    metrics = by_name(evaluation.metrics["fake"])
    assert metrics["psnr"].value == pytest.approx(20 * np.log10(4000 / 40), rel=1e-5)
    assert metrics["l1"].value == pytest.approx(255 * 40 / 4000, rel=1e-5)
    assert any("0:4000 are compared (as set)" in line for line in evaluation.warnings)
    found = evaluate(**folders, config=TEXTURE, device="cpu")
    low, high = np.percentile(np.concatenate(real).reshape(-1, 6), (0.1, 99.9), axis=0)
    (line,) = [line for line in found.warnings if "are compared" in line]
    assert f"values from {low[0]:.6g}:{high[0]:.6g},{low[1]:.6g}:{high[1]:.6g}" in line
    assert f"the 0.1 and 99.9 percentiles of {tmp_path / 'real'}" in line
    assert by_name(found.metrics["fake"])["l1"].value == pytest.approx(255 * 40 / 2000, rel=0.02)
    shutil.rmtree(tmp_path / "fake")
    save_arrays(tmp_path / "fake", [array[:, :, :3] for array in real])
    with pytest.raises(UserError, match=r"0\.tif has 3 channels, but 6 are expected"):
        evaluate(**folders, config=TEXTURE, device="cpu")
    with pytest.raises(UserError, match="'4' is not a range"):
        evaluate(**folders, range="4", config=TEXTURE, device="cpu")


def test_each_page_of_a_folder_counts_as_one_image(tmp_path: Path) -> None:
    pages = np.stack([sixteen_bits(1, seed)[:, :, 0] for seed in range(4)])
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "all.tif", pages, photometric="minisblack")
    evaluation = evaluate(
        real=tmp_path / "real", fake=tmp_path / "fake", config=TEXTURE, device="cpu"
    )
    fid = by_name(evaluation.metrics["fake"])["fid"]
    assert (fid.fake, fid.real, round(fid.value, 6)) == (4, 4, 0)


def test_a_models_range_cannot_be_set(run: Path, animals: Path) -> None:
    with pytest.raises(UserError, match="`range` needs `real` and `fake`"):
        evaluate(run, animals, range="0:9", config=TEXTURE, device="cpu")
