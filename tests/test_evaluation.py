from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.conftest import SHARED, TINY_CYCLEGAN, TINY_PIX2PIX
from transmute.cli import run_command
from transmute.config.metrics import MetricsConfig
from transmute.config.training import AdamConfig, TrainConfig
from transmute.demo.animals import animal
from transmute.errors import UserError
from transmute.evaluation import Evaluator, evaluate_folders, evaluate_model, warnings
from transmute.images import save_image, to_tensor
from transmute.metrics.evaluator import evenly_spaced
from transmute.metrics.metric import Metric
from transmute.metrics.translated import Translated
from transmute.run import Run
from transmute.training.train import train
from transmute.weights import load_tensors

SQUEEZENET = SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"
TEXTURE = MetricsConfig(features="texture", lpips="none")


def evaluator(config: MetricsConfig = TEXTURE) -> Evaluator:
    return Evaluator(config, torch.device("cpu"))


def image(seed: int, *, striped: bool = False, size: int = 32) -> Image.Image:
    return animal(np.random.default_rng(seed), striped=striped, size=size)[0]


def openers(count: int, *, first: int = 0, striped: bool = False) -> list[partial[Image.Image]]:
    return [partial(image, seed, striped=striped) for seed in range(first, first + count)]


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def interval(metric: Metric) -> tuple[float, float]:
    assert metric.low is not None
    assert metric.high is not None
    return metric.low, metric.high


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


def test_images_of_the_same_domain_are_closer_than_those_of_another() -> None:
    real, same, other = openers(12), openers(12, first=100), openers(12, striped=True)
    near, far = (
        by_name(evaluator().measure([Translated(opener()) for opener in fake], real))
        for fake in (same, other)
    )
    assert interval(near["fid"])[1] < interval(far["fid"])[0]
    assert interval(near["kid"])[0] < 0.05 < interval(far["kid"])[0]
    assert (far["fid"].fake, far["fid"].real, far["fid"].features) == (12, 12, "texture")


def test_metrics_of_pairs_equal_their_formulas() -> None:
    target, fake = (
        Image.new("RGB", (16, 16), (100, 100, 100)),
        Image.new("RGB", (16, 16), (110, 90, 100)),
    )
    measured = by_name(evaluator().measure([Translated(fake, target=target)], [lambda: target]))
    assert measured["l1"].value == pytest.approx(20 / 3)
    assert measured["psnr"].value == pytest.approx(10 * np.log10(255**2 / (200 / 3)))
    flat = by_name(
        evaluator().measure(
            [
                Translated(
                    Image.new("RGB", (16, 16), (122,) * 3),
                    target=Image.new("RGB", (16, 16), (134,) * 3),
                )
            ],
            [lambda: target],
        )
    )
    # Wang et al. (2004), equation 13, without variance: (2 m n + c1) / (m^2 + n^2 + c1), with m
    # and n in 0..255.
    assert flat["ssim"].value == pytest.approx(
        (2 * 122 * 134 + 2.55**2) / (122**2 + 134**2 + 2.55**2), rel=1e-6
    )
    assert (measured["l1"].low, measured["l1"].high, measured["l1"].fake, measured["l1"].real) == (
        measured["l1"].value,
        measured["l1"].value,
        1,
        0,
    )
    assert "fid" not in measured  # a single image has no covariance


def test_gray_translations_are_compared_with_gray_images() -> None:
    target = image(0)
    measured = by_name(
        evaluator().measure(
            [
                Translated(
                    target.convert("L"), source=target, target=target, back=target.convert("L")
                )
            ],
            [lambda: target],
        )
    )
    assert (measured["l1"].value, measured["psnr"].value, measured["cycle"].value) == (0, 100, 0)


def test_cycle_and_change_compare_with_the_input() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights for tests are missing")
    source, other = image(0, size=64), image(1, size=64)
    measure = partial(evaluator(MetricsConfig(features=str(SQUEEZENET))).measure, reals=openers(2))
    same = by_name(measure([Translated(source, source, back=source)]))
    assert (same["cycle"].value, same["change"].value, same["structure"].value) == (0, 0, 0)
    changed = by_name(measure([Translated(other, source, back=other)]))
    assert changed["cycle"].value > 10
    assert changed["change"].value > 0.1
    assert changed["structure"].value > 0.001
    assert changed["structure"].features == "squeezenet of squeezenet1_1_imagenet.safetensors"
    twice = by_name(measure([Translated(source), Translated(source), Translated(other)]))
    assert twice["diversity"].value == pytest.approx(changed["change"].value / 2, rel=1e-5)
    assert twice["diversity_real"].real == 2


def test_label_maps_are_compared_class_by_class(tmp_path: Path) -> None:
    palette = tmp_path / "palette.yaml"
    palette.write_text('sky: "#0000ff"\nroad: "#808080"\n')
    truth = Image.new("RGB", (16, 16), (0, 0, 255))
    truth.paste((128, 128, 128), (0, 8, 16, 16))
    fake = Image.new("RGB", (16, 16), (10, 10, 240))  # all sky, so half of the pixels are correct
    config = TEXTURE.replace(palette=palette)
    measured = by_name(
        evaluator(config).measure([Translated(fake, target=truth)] * 3, [lambda: truth])
    )
    assert (
        measured["pixel_accuracy"].value,
        measured["class_accuracy"].value,
        measured["iou"].value,
    ) == (
        0.5,
        0.5,
        0.25,
    )
    assert measured["iou"].low == measured["iou"].high == 0.25
    photo = by_name(
        evaluator(config).measure([Translated(image(0), target=image(0))], [lambda: truth])
    )
    assert "iou" not in photo


def test_a_segmenter_compares_photos_with_their_label_maps(tmp_path: Path) -> None:
    (tmp_path / "palette.yaml").write_text('dark: "#000000"\nlight: "#ffffff"\n')
    by_light = "light = x.mean(1, keepdim=True)\n        return torch.cat([-light, light], 1)"
    kinds = (("ByLight", by_light), ("Wrong", "return x"))
    classes = [
        f"class {name}(torch.nn.Module):\n    def forward(self, x):\n        {body}\n"
        for name, body in kinds
    ]
    (tmp_path / "mine.py").write_text("import torch\n" + "".join(classes))
    labels = Image.new("RGB", (16, 16))
    labels.paste((255, 255, 255), (0, 0, 4, 16))
    config = TEXTURE.replace(
        palette=tmp_path / "palette.yaml", segmenter=f"{tmp_path}/mine.py:ByLight"
    )
    photo = Image.new("RGB", (16, 16), (40, 40, 40))
    photo.paste((200, 220, 200), (0, 0, 8, 16))
    measured = by_name(evaluator(config).measure([Translated(photo, labels)], [lambda: photo]))
    assert measured["pixel_accuracy"].value == 0.75
    with pytest.raises(UserError, match="a score for each class of the palette"):
        evaluator(config.replace(segmenter=f"{tmp_path}/mine.py:Wrong")).measure(
            [Translated(photo, labels)], [lambda: photo]
        )
    with pytest.raises(UserError, match=r"Set `metrics\.palette` too"):
        evaluator(config.replace(palette=None))


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
    measured = json.loads(out.read_text())
    assert (measured["step"], measured["split"]) == (1, "test")
    for direction in ("a_to_b", "b_to_a"):
        metrics = {row["name"]: row for row in measured["metrics"][direction]}
        assert set(metrics) == {"fid", "cycle"}
        assert metrics["cycle"]["fake"] == 2


def test_the_identity_has_no_cycle_error_and_the_distance_of_the_domains() -> None:
    def identity(image: Image.Image) -> Image.Image:
        return image

    a, b = openers(8), openers(8, striped=True)
    translators = {"a_to_b": identity, "b_to_a": identity}
    metrics = evaluator().both_directions(translators, a, b, paired=False)
    a_to_b, b_to_a = by_name(metrics["a_to_b"]), by_name(metrics["b_to_a"])
    assert a_to_b["cycle"].value == b_to_a["cycle"].value == 0
    assert a_to_b["fid"].value == pytest.approx(b_to_a["fid"].value, rel=1e-9)
    one_direction = evaluator().both_directions({"a_to_b": identity}, a, b, paired=True)
    assert "cycle" not in by_name(one_direction["a_to_b"])
    assert by_name(one_direction["a_to_b"])["l1"].value > 5


def test_images_are_subsampled_evenly() -> None:
    assert list(evenly_spaced(range(7), 3)) == [0, 3, 6]
    assert list(evenly_spaced(range(7), None)) == list(range(7))
    assert list(evenly_spaced(range(2), 3)) == [0, 1]


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
            "`split`, `swap` and `generator` need a `model`",
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
    (folders / "recipe.json").write_text("{}")
    shutil.copytree(folders / "plain", folders / "fewer")
    (folders / "fewer" / "00.png").unlink()
    (folders / "mine.py").write_text(NETWORKS)
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
    (tmp_path / "palette.yaml").write_text('0: "#000000"\n1: "#ff00ff"\n')
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


def test_images_too_small_for_lpips_are_left_out() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights for tests are missing")
    measuring = evaluator(MetricsConfig(features=str(SQUEEZENET)))
    measured = by_name(
        measuring.measure(
            [
                Translated(image(seed, size=size), image(seed, size=size))
                for seed, size in ((0, 16), (1, 64), (2, 64))
            ],
            openers(2),
        )
    )
    assert measured["change"].fake == 2
    assert measured["structure"].fake == 3
    assert any("below 32 pixels" in note for note in measuring.notes)


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


def evaluated(animals: Path, folder: Path, **changes: object) -> Run:
    config = TrainConfig(
        folder=animals,
        run=folder,
        recipe=TINY_CYCLEGAN,
        device="cpu",
        evaluate_every=2,
        metrics=TEXTURE,
        best="cycle",
        save_every=4,
        keep=1,
    ).replace(**changes)
    assert train(config, evaluator=Evaluator) is None
    return Run(folder)


def test_training_evaluates_and_keeps_the_best_models(animals: Path, tmp_path: Path) -> None:
    run = evaluated(animals, tmp_path / "run")
    rows = run.evaluations()
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8]
    assert rows[0]["best"] == {
        "name": "cycle",
        "features": "",
        "value": pytest.approx(
            np.mean(
                [
                    row["value"]
                    for each in rows[0]["metrics"].values()
                    for row in each
                    if row["name"] == "cycle"
                ]
            )
        ),
        "better": "lower",
    }
    best = min(rows[1:], key=lambda row: row["best"]["value"])["step"]
    assert set(run.models()) == {best, 8}
    assert run.models_at("best").name == str(best)
    from transmute.translation.model import load_model

    card, _ = load_model(run.models_at("best") / "a_to_b.safetensors")
    expected = {
        f"{metric['name']}{' (texture)' * bool(metric['features'])}": metric["value"]
        for row in rows
        if row["step"] == best
        for metric in row["metrics"]["a_to_b"]
    }
    assert card.metrics == expected
    assert card.step == best


def test_evaluate_measures_the_same_as_an_evaluation_in_training(
    animals: Path, tmp_path: Path
) -> None:
    run = evaluated(animals, tmp_path / "run")
    assert (
        run_command(
            [
                "evaluate",
                "--model",
                str(run.folder),
                "--data",
                str(animals),
                "--features",
                "texture",
                "--out",
                str(tmp_path / "x.json"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    after = json.loads((tmp_path / "x.json").read_text())["metrics"]
    during = run.evaluations()[-1]["metrics"]
    assert after.keys() == during.keys()
    for direction in after:
        for one, two in zip(after[direction], during[direction], strict=True):
            assert one["name"] == two["name"]
            assert one["value"] == pytest.approx(two["value"], rel=1e-6)


def test_evaluations_do_not_change_the_training(animals: Path, tmp_path: Path) -> None:
    with_them = evaluated(animals, tmp_path / "with")
    without = evaluated(animals, tmp_path / "without", evaluate_every=None)
    newest = [run.models_at() / "score_b.safetensors" for run in (with_them, without)]
    assert newest[0].read_bytes() == newest[1].read_bytes()
    assert without.evaluations() == []
    with pytest.raises(UserError, match="not evaluated during training"):
        without.models_at("best")


def test_a_training_ends_when_evaluations_stop_improving(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    frozen = TINY_CYCLEGAN.replace(optimizer=TINY_CYCLEGAN.optimizer.replace(lr=1e-12))
    run = evaluated(animals, tmp_path / "run", recipe=frozen, patience=2, evaluate_every=1)
    steps = [row["step"] for row in run.evaluations()]
    assert steps == [0, 1, 2, 3]
    assert run.checkpoints() == [3]
    assert "ended at step 3 of 8" in capsys.readouterr().out
    evaluated(animals, tmp_path / "run", recipe=frozen, patience=2, evaluate_every=1)
    assert [row["step"] for row in run.evaluations()] == steps  # it stays ended
    evaluated(animals, tmp_path / "run", recipe=frozen, evaluate_every=1)
    assert run.evaluations()[-1]["step"] == 8


def test_a_resumed_training_keeps_its_evaluations(animals: Path, tmp_path: Path) -> None:
    plateau = TINY_CYCLEGAN.replace(
        schedule={"name": "plateau", "patience": 0, "factor": 0.5}, steps=8
    )
    whole = evaluated(animals, tmp_path / "whole", recipe=plateau, evaluate_every=1, best="cycle")
    saved = []

    class Killed(Exception):
        pass

    def kill(run: Run, step: int) -> None:
        saved.append(step)
        if step == 4:
            raise Killed

    config = TrainConfig(
        folder=animals,
        run=tmp_path / "part",
        recipe=plateau,
        device="cpu",
        evaluate_every=1,
        metrics=TEXTURE,
        best="cycle",
        save_every=4,
        keep=1,
    )
    with pytest.raises(Killed):
        train(config, after_save=kill, evaluator=Evaluator)
    train(config, evaluator=Evaluator)
    part = Run(tmp_path / "part")
    assert part.evaluations() == whole.evaluations()
    assert [row["rate"] for row in part.metrics()] == [row["rate"] for row in whole.metrics()]
    assert (part.models_at() / "a_to_b.safetensors").read_bytes() == (
        whole.models_at() / "a_to_b.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"evaluate_every": None, "patience": 2}, "Set `evaluate_every` too"),
        (
            {"evaluate_every": None, "recipe": TINY_CYCLEGAN.replace(schedule={"name": "plateau"})},
            "Set `evaluate_every` too",
        ),
        ({"best": "lpips"}, "Choose one of: fid, cycle"),
        ({"metrics": MetricsConfig(features="horse")}, "neither a feature network nor a file"),
    ],
)
def test_a_training_that_cannot_be_evaluated_does_not_start(
    animals: Path, tmp_path: Path, changes: dict, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        evaluated(animals, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_training_that_dies_after_its_first_evaluation_can_be_resumed(
    animals: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    class Dying(Evaluator):
        calls = 0

        def both_directions(self, *arguments: Any, **keywords: Any) -> dict[str, list[Metric]]:
            self.calls += 1
            if self.calls == 3:  # before the first step, at step 2, and now at step 4
                raise Killed
            return super().both_directions(*arguments, **keywords)

    config = TrainConfig(
        folder=animals,
        run=tmp_path / "run",
        recipe=TINY_CYCLEGAN,
        device="cpu",
        evaluate_every=2,
        metrics=TEXTURE,
        best="cycle",
        save_every=100,
    )
    with pytest.raises(Killed):
        train(config, evaluator=Dying)
    assert Run(tmp_path / "run").checkpoints() == [2]
    train(config, evaluator=Evaluator)
    whole = evaluated(animals, tmp_path / "whole")
    assert Run(tmp_path / "run").evaluations() == whole.evaluations()
    assert (Run(tmp_path / "run").models_at() / "a_to_b.safetensors").read_bytes() == (
        whole.models_at() / "a_to_b.safetensors"
    ).read_bytes()


def test_different_metrics_are_not_compared(animals: Path, tmp_path: Path) -> None:
    run = evaluated(animals, tmp_path / "run", recipe=TINY_CYCLEGAN.replace(steps=4), best="fid")
    evaluated(animals, run.folder, best="cycle", extend=True)
    by_cycle = [row for row in run.evaluations() if row["best"]["name"] == "cycle"]
    best = run.best()
    assert best is not None
    assert best in by_cycle
    assert {row["step"] for row in by_cycle} == {6, 8}


def test_the_metric_that_controls_a_training_cannot_be_changed(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plateau = TINY_CYCLEGAN.replace(schedule={"name": "plateau"})
    short = {"recipe": plateau.replace(steps=4), "best": "fid"}
    run = evaluated(animals, tmp_path / "run", **short)
    with pytest.raises(UserError, match="Set `best=fid`"):
        evaluated(animals, run.folder, recipe=plateau, best="cycle", extend=True)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef mean():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    with pytest.raises(UserError, match="evaluated with texture features"):
        evaluated(
            animals,
            run.folder,
            recipe=plateau,
            best="fid",
            metrics=TEXTURE.replace(features=f"{tmp_path}/mine.py:mean"),
            extend=True,
        )
    assert run.checkpoints() == [6]  # the progress before the first evaluation is kept


def test_weights_that_are_not_finite_are_never_kept_as_the_best(
    animals: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="not finite"):
        evaluated(
            animals,
            tmp_path / "run",
            recipe=TINY_CYCLEGAN.replace(optimizer=AdamConfig(lr=1e30)),
            evaluate_every=1,
        )
    models = Run(tmp_path / "run").models()
    assert models == [1]  # huge, but finite
    for path in Run(tmp_path / "run").model_folder(1).iterdir():
        assert all(torch.isfinite(tensor).all() for tensor in load_tensors(path)[0].values())


def test_two_processes_make_the_same_decisions(animals: Path, tmp_path: Path) -> None:
    words = [
        "train",
        str(animals),
        "--run",
        str(tmp_path / "run"),
        "--devices",
        "2",
        "--device",
        "cpu",
        "--size",
        "16",
        "--batch",
        "2",
        "--steps",
        "8",
    ]
    words += [
        "--method.generator.width",
        "2",
        "--method.generator.blocks",
        "1",
        "--method.discriminator",
        "pixel",
        "--optimizer.lr",
        "1e-12",
    ]
    words += [
        "--evaluate-every",
        "1",
        "--metrics.features",
        "texture",
        "--patience",
        "2",
        "--schedule",
        "plateau",
        "--schedule.patience",
        "0",
    ]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        code = [sys.executable, "-m", "transmute", *words, *more]
        return subprocess.run(
            code,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    unmeasured = run("--best", "lpips")
    assert unmeasured.returncode == 2
    assert (
        unmeasured.stderr
        == "transmute: --best lpips cannot be measured on 2 images of a and 2 of b. Choose one of: "
        "fid, cycle. Or provide what lpips needs\n"
    )
    assert run("--best", "cycle").returncode == 0
    assert [row["step"] for row in Run(tmp_path / "run").evaluations()] == [0, 1, 2, 3]
    assert Run(tmp_path / "run").checkpoints() == [1, 3]


def test_ssim_equals_that_of_images_in_0_to_255() -> None:
    one, two = image(0, size=64), image(1, size=64)
    levels = [127.5 * (to_tensor(each).double() + 1) for each in (one, two)]
    expected = structural_similarity_index_measure(levels[0], levels[1], data_range=255.0)
    assert isinstance(expected, torch.Tensor)
    metrics = by_name(evaluator().measure([Translated(one, target=two)], [lambda: two]))
    assert metrics["ssim"].value == pytest.approx(expected.item(), rel=1e-9)


CUSTOM = """
def brightness(fakes, reals):
    means = [image.convert("L").resize((1, 1), 4).getpixel((0, 0)) for image in fakes]
    return sum(means) / len(means)
brightness.better = "higher"

def count_difference(fakes, reals): return abs(len(fakes) - len(reals))
def fails(fakes, reals): raise ValueError("no")
def infinite(fakes, reals): return float("inf")
def fid(fakes, reals): return 0
def wrong(fakes, reals): return 0
wrong.better = "best"
number = 3
"""


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    path = tmp_path / "custom.py"
    path.write_text(CUSTOM)
    return path


def test_the_users_own_metrics_are_measured_next_to_the_others(
    folders: Path, custom: Path, capsys: pytest.CaptureFixture
) -> None:
    references = tuple(f"{custom}:{name}" for name in ("brightness", "count_difference"))
    (folders / "plain" / "00.png").unlink()
    evaluation = evaluate_folders(
        folders / "plain",
        folders / "striped",
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


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("fails", "the metric fails failed: ValueError: no"),
        ("infinite", "the metric infinite returned inf. It must return a finite number"),
        ("fid", "there is already a metric fid"),
        ("wrong", r"wrong\.better is 'best'. Set it to 'lower' or 'higher'"),
        ("number", "number is not a function"),
        ("missing", "does not define missing"),
    ],
)
def test_the_error_about_a_wrong_metric_says_what_is_wrong(
    custom: Path, name: str, problem: str
) -> None:
    config = TEXTURE.replace(custom=(f"{custom}:{name}",))
    with pytest.raises(UserError, match=problem):
        evaluator(config).measure([Translated(image(0))], openers(1))


def test_models_can_be_compared_by_the_users_own_metrics(custom: Path) -> None:
    measuring = evaluator(TEXTURE.replace(custom=(f"{custom}:brightness", f"{custom}:fails")))
    names = measuring.measurable(paired=False, both_directions=False, counts=(2, 2))
    assert names == ["fid", "brightness", "fails"]
    assert measuring.better("brightness") == "higher"
    assert measuring.better("fails") == measuring.better("fid") == "lower"
    assert measuring.better("diversity") is None


def test_evaluate_model_returns_what_evaluate_prints(
    run: Path, animals: Path, capsys: pytest.CaptureFixture
) -> None:
    evaluation = evaluate_model(run, animals, config=TEXTURE, size="training", device="cpu")
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
        evaluate_model(run, animals, config=TEXTURE, step="last", device="cpu")
