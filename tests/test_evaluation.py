from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
from transmute.demo.animals import animal
from transmute.evaluation import Evaluator, Figure, Shown, warnings
from transmute.images import save_picture, to_tensor
from transmute.metrics.config import MetricsConfig
from transmute.run import Run
from transmute.settings import UserError
from transmute.training.config import AdamConfig, TrainConfig
from transmute.training.train import train
from transmute.weights import load_tensors

SQUEEZENET = SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"
TEXTURE = MetricsConfig(features="texture", lpips="none")


def evaluator(config: MetricsConfig = TEXTURE) -> Evaluator:
    return Evaluator(config, torch.device("cpu"))


def picture(seed: int, *, striped: bool = False, size: int = 32) -> Image.Image:
    return animal(np.random.default_rng(seed), striped=striped, size=size)[0]


def openers(count: int, *, first: int = 0, striped: bool = False) -> list[partial[Image.Image]]:
    return [partial(picture, seed, striped=striped) for seed in range(first, first + count)]


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


MINE = """
import sys
from dataclasses import dataclass
import torch

@dataclass
class Layer(torch.nn.Module):
    does: "str"
    def __post_init__(self):
        super().__init__()
    def __hash__(self):
        return id(self)
    def forward(self, x):
        if self.does == "breaks":
            raise RuntimeError("broken")
        return {"one_row": x.mean((0, 2, 3))[None], "no_numbers": x.mean((2, 3)) / 0 * 0, "fine": x.mean((2, 3))}[self.does]

def fails(): raise ValueError("no")
def leaves(): sys.exit(7)
def one_row(): return Layer("one_row")
def no_numbers(): return Layer("no_numbers")
def breaks(): return Layer("breaks")
def fine(): return Layer("fine")
"""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, striped, first in (("plain", False, 0), ("others", False, 100), ("striped", True, 0)):
        for seed in range(first, first + 12):
            save_picture(picture(seed, striped=striped), tmp_path / name / f"{seed - first:02}.png")
    return tmp_path


@pytest.fixture(scope="module")
def run(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(TrainConfig(folder=animals, run=folder, recipe=TINY_CYCLEGAN.replace(steps=1), device="cpu"))
    return folder


def test_a_folder_has_no_distance_to_itself(folders: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(folders / "plain")
    assert run_command(["evaluate", "--real", folder, "--fake", folder, "--paired", "--features", "texture", "--lpips", "none", "--json"]) == 0
    figures = {one["name"]: one["value"] for one in json.loads(capsys.readouterr().out)["figures"]["fake"]}
    assert figures["fid"] == pytest.approx(0, abs=1e-9)
    assert (figures["l1"], figures["psnr"], figures["ssim"]) == (0, 100, pytest.approx(1))


def test_other_pictures_of_a_domain_are_nearer_than_those_of_another() -> None:
    real, same, other = openers(12), openers(12, first=100), openers(12, striped=True)
    near, far = (by_name(evaluator().measure([Shown(opener()) for opener in fake], real)) for fake in (same, other))
    assert near["fid"].high < far["fid"].low
    assert near["kid"].low < 0.05 < far["kid"].low
    assert (far["fid"].fake, far["fid"].real, far["fid"].features) == (12, 12, "texture")


def test_figures_of_pairs_are_their_formulas() -> None:
    target, fake = Image.new("RGB", (16, 16), (100, 100, 100)), Image.new("RGB", (16, 16), (110, 90, 100))
    found = by_name(evaluator().measure([Shown(fake, target=target)], [lambda: target]))
    assert found["l1"].value == pytest.approx(20 / 3)
    assert found["psnr"].value == pytest.approx(10 * np.log10(255**2 / (200 / 3)))
    flat = by_name(
        evaluator().measure([Shown(Image.new("RGB", (16, 16), (122,) * 3), target=Image.new("RGB", (16, 16), (134,) * 3))], [lambda: target])
    )
    # Wang et al. (2004), equation 13, where nothing varies: (2 m n + c1) / (m^2 + n^2 + c1), with m and n in 0..255
    assert flat["ssim"].value == pytest.approx((2 * 122 * 134 + 2.55**2) / (122**2 + 134**2 + 2.55**2), rel=1e-6)
    assert (found["l1"].low, found["l1"].high, found["l1"].fake, found["l1"].real) == (found["l1"].value, found["l1"].value, 1, 0)
    assert "fid" not in found  # of one picture there is no covariance


def test_gray_translations_are_compared_with_gray_pictures() -> None:
    target = picture(0)
    found = by_name(evaluator().measure([Shown(target.convert("L"), source=target, target=target, back=target.convert("L"))], [lambda: target]))
    assert (found["l1"].value, found["psnr"].value, found["cycle"].value) == (0, 100, 0)


def test_cycle_and_change_compare_with_the_input() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights to test with are not here")
    source, other = picture(0, size=64), picture(1, size=64)
    measure = partial(evaluator(MetricsConfig(features=str(SQUEEZENET))).measure, reals=openers(2))
    same = by_name(measure([Shown(source, source, back=source)]))
    assert (same["cycle"].value, same["change"].value, same["structure"].value) == (0, 0, 0)
    changed = by_name(measure([Shown(other, source, back=other)]))
    assert changed["cycle"].value > 10
    assert changed["change"].value > 0.1
    assert changed["structure"].value > 0.001
    assert changed["structure"].features == "squeezenet of squeezenet1_1_imagenet.safetensors"
    twice = by_name(measure([Shown(source), Shown(source), Shown(other)]))
    assert twice["diversity"].value == pytest.approx(changed["change"].value / 2, rel=1e-5)
    assert twice["diversity_real"].real == 2


def test_label_maps_are_compared_class_by_class(tmp_path: Path) -> None:
    palette = tmp_path / "palette.yaml"
    palette.write_text('sky: "#0000ff"\nroad: "#808080"\n')
    truth = Image.new("RGB", (16, 16), (0, 0, 255))
    truth.paste((128, 128, 128), (0, 8, 16, 16))
    fake = Image.new("RGB", (16, 16), (10, 10, 240))  # all sky: half of the pixels are right
    config = TEXTURE.replace(palette=palette)
    found = by_name(evaluator(config).measure([Shown(fake, target=truth)] * 3, [lambda: truth]))
    assert (found["pixel_accuracy"].value, found["class_accuracy"].value, found["iou"].value) == (0.5, 0.5, 0.25)
    assert found["iou"].low == found["iou"].high == 0.25
    photo = by_name(evaluator(config).measure([Shown(picture(0), target=picture(0))], [lambda: truth]))
    assert "iou" not in photo


def test_a_segmenter_says_what_a_photo_shows(tmp_path: Path) -> None:
    (tmp_path / "palette.yaml").write_text('dark: "#000000"\nlight: "#ffffff"\n')
    by_light = "light = x.mean(1, keepdim=True)\n        return torch.cat([-light, light], 1)"
    kinds = (("ByLight", by_light), ("Wrong", "return x"))
    classes = [f"class {name}(torch.nn.Module):\n    def forward(self, x):\n        {body}\n" for name, body in kinds]
    (tmp_path / "mine.py").write_text("import torch\n" + "".join(classes))
    labels = Image.new("RGB", (16, 16))
    labels.paste((255, 255, 255), (0, 0, 4, 16))
    config = TEXTURE.replace(palette=tmp_path / "palette.yaml", segmenter=f"{tmp_path}/mine.py:ByLight")
    photo = Image.new("RGB", (16, 16), (40, 40, 40))
    photo.paste((200, 220, 200), (0, 0, 8, 16))
    found = by_name(evaluator(config).measure([Shown(photo, labels)], [lambda: photo]))
    assert found["pixel_accuracy"].value == 0.75
    with pytest.raises(UserError, match="a score for each class"):
        evaluator(config.replace(segmenter=f"{tmp_path}/mine.py:Wrong")).measure([Shown(photo, labels)], [lambda: photo])
    with pytest.raises(UserError, match="--palette"):
        evaluator(config.replace(palette=None))


def test_a_model_is_evaluated_both_ways(run: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "figures.json"
    assert run_command(["evaluate", "--model", str(run), "--data", str(animals), "--features", "texture", "--device", "cpu", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for part in ("plain to striped", "striped to plain", "Frechet", "fewer than 1,000 pictures (2 here)", "colors and edges"):
        assert part in said
    found = json.loads(out.read_text())
    assert (found["step"], found["split"]) == (1, "test")
    for direction in ("a_to_b", "b_to_a"):
        figures = {one["name"]: one for one in found["figures"][direction]}
        assert set(figures) == {"fid", "cycle"}
        assert figures["cycle"]["fake"] == 2


def test_a_translator_that_changes_nothing_has_no_cycle_error_and_the_distance_of_the_domains() -> None:
    class Same:
        def __call__(self, picture: Image.Image) -> Image.Image:
            return picture

    a, b = openers(8), openers(8, striped=True)
    found = evaluator().both_ways({"a_to_b": Same(), "b_to_a": Same()}, a, b, paired=False)  # pyright: ignore[reportArgumentType]
    there, back = by_name(found["a_to_b"]), by_name(found["b_to_a"])
    assert there["cycle"].value == back["cycle"].value == 0
    assert there["fid"].value == pytest.approx(back["fid"].value, rel=1e-9)
    alone = evaluator().both_ways({"a_to_b": Same()}, a, b, paired=True)  # pyright: ignore[reportArgumentType]
    assert "cycle" not in by_name(alone["a_to_b"])
    assert by_name(alone["a_to_b"])["l1"].value > 5


def test_pictures_are_chosen_evenly() -> None:
    chosen = evaluator(TEXTURE.replace(max_pictures=3)).chosen(openers(7))
    assert [opener.args[0] for opener in chosen] == [0, 3, 6]  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]


def test_paired_models_are_compared_pair_by_pair(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = tmp_path / "pairs"
    for phase in ("train", "test"):
        for index in range(4):
            both = Image.new("RGB", (32, 16))
            both.paste(picture(index, size=16), (0, 0))
            both.paste(picture(index, size=16, striped=True), (16, 0))
            save_picture(both, data / phase / f"{index}.png")
    train(TrainConfig(folder=data, run=tmp_path / "run", recipe=TINY_PIX2PIX.replace(steps=1), device="cpu"))
    capsys.readouterr()
    assert run_command(["evaluate", "--model", str(tmp_path / "run"), "--data", str(data), "--features", "texture", "--json"]) == 0
    figures = {one["name"]: one for one in json.loads(capsys.readouterr().out)["figures"]["a_to_b"]}
    assert {"fid", "kid", "l1", "psnr", "ssim"} == set(figures)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "either --model and --data, or --real and --fake"),
        (["--model", "x"], "either --model and --data"),
        (["--real", "x", "--fake", "y", "--model", "z"], "either --model and --data"),
        (["--real", "none", "--fake", "none"], "not a folder"),
        (["--real", "plain", "--fake", "empty"], "no pictures"),
        (["--real", "plain", "--fake", "striped", "--size", "training"], "--size training"),
        (["--real", "plain", "--fake", "striped", "--size", "0"], "a size is"),
        (["--real", "plain", "--fake", "striped", "--features", "horse"], "no features 'horse'"),
        (["--real", "plain", "--fake", "striped", "--max-pictures", "1"], "max_pictures"),
        (["--model", "none", "--data", "plain"], "no run folder or model file"),
        (["--model", "none", "--data", "plain", "--step", "last"], "newest, best or a number"),
        (["--real", "plain", "--fake", "striped", "--step", "3"], "belong to --model"),
        (["--real", "plain", "--fake", "striped", "--size", "9" * 20], "more than any picture has"),
        (["--real", "plain", "--fake", "striped", "--out", "plain/00.png"], "ends in .json"),
        (["--real", "plain", "--fake", "striped", "--out", "recipe.json"], "one of figures"),
        (["--real", "plain", "--fake", "fewer", "--paired"], "add --skip-bad"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py:fails"], "mine.py:fails failed: ValueError: no"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py:leaves"], "mine.py:leaves failed: SystemExit"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py:one_row"], r"gives \(1, 3\) for 12 pictures"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py:no_numbers"], "not finite"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py:breaks"], "failed on pictures of shape .* RuntimeError: broken"),
        (["--real", "plain", "--fake", "striped", "--features", "mine.py"], "FILE.py:NAME"),
    ],
)
def test_wrong_arguments_are_one_sentence(folders: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str) -> None:
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    (folders / "recipe.json").write_text("{}")
    shutil.copytree(folders / "plain", folders / "fewer")
    (folders / "fewer" / "00.png").unlink()
    (folders / "mine.py").write_text(MINE)
    with pytest.raises(UserError, match=problem):
        run_command(["evaluate", *(["--features", "texture"] if "--features" not in arguments else []), *arguments])


def test_what_is_left_out_is_said(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (folders / "two").mkdir()
    for name in ("00.png", "01.png"):
        shutil.copy(folders / "plain" / name, folders / "two" / name)
    (tmp_path / "palette.yaml").write_text('0: "#000000"\n1: "#ff00ff"\n')
    given = ["evaluate", "--real", str(folders / "plain"), "--fake", str(folders / "two"), "--features", "texture", "--lpips", "none"]
    assert run_command([*given, "--palette", str(tmp_path / "palette.yaml")]) == 0
    said = capsys.readouterr().out
    assert "KID four, but there are 2 and 12" in said
    assert "no label map was compared" in said


def test_pictures_too_small_for_lpips_are_left_out() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights to test with are not here")
    judge = evaluator(MetricsConfig(features=str(SQUEEZENET)))
    found = by_name(
        judge.measure([Shown(picture(seed, size=size), picture(seed, size=size)) for seed, size in ((0, 16), (1, 64), (2, 64))], openers(2))
    )
    assert found["change"].fake == 2
    assert found["structure"].fake == 3
    assert any("below 32 pixels" in note for note in judge.notes)


def test_a_folder_inside_the_other_counts_once(folders: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(folders / "striped", folders / "plain" / "translated")
    run_command(["evaluate", "--real", str(folders / "plain"), "--fake", str(folders / "plain" / "translated"), "--features", "texture", "--json"])
    fid = json.loads(capsys.readouterr().out)["figures"]["fake"][0]
    assert (fid["fake"], fid["real"]) == (12, 12)


def test_exchanged_domains_are_noticed(run: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    exchanged = tmp_path / "striped2plain"
    for phase in ("train", "test"):
        for domain, other in ("AB", "BA"):
            shutil.copytree(animals / f"{phase}{domain}", exchanged / f"{phase}{other}")
    given = ["evaluate", "--model", str(run), "--features", "texture", "--json", "--data"]
    with pytest.raises(UserError, match="exchange them with --swap"):
        run_command([*given, str(exchanged)])
    assert run_command([*given, str(exchanged), "--swap"]) == run_command([*given, str(animals)]) == 0
    first, second = (json.loads(text + "}")["figures"] for text in capsys.readouterr().out.split("\n}\n")[:2])
    assert first == second


def test_few_pictures_are_named_in_a_warning() -> None:
    figure = Figure("fid", 1.0, 0.5, 1.5, "inception", 999, 5000)
    assert "999 here" in warnings({"a_to_b": [figure]})[0]
    many = Figure("fid", 1.0, 0.5, 1.5, "inception", 1000, 5000)
    assert warnings({"a_to_b": [many]}) == []


def evaluated(animals: Path, folder: Path, **changes: object) -> Run:
    config = TrainConfig(
        folder=animals, run=folder, recipe=TINY_CYCLEGAN, device="cpu", evaluate_every=2, metrics=TEXTURE, best="cycle", save_every=4, keep=1
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
        "value": pytest.approx(np.mean([row["value"] for each in rows[0]["figures"].values() for row in each if row["name"] == "cycle"])),
        "better": "lower",
    }
    best = min(rows[1:], key=lambda row: row["best"]["value"])["step"]
    assert set(run.models()) == {best, 8}
    assert run.model_file(step="best").parent.name == str(best)
    from transmute.translation.model import load_model

    card, _ = load_model(run.model_file("a_to_b", "best"))
    expected = {
        f"{one['name']}{' (texture)' * bool(one['features'])}": one["value"]
        for row in rows
        if row["step"] == best
        for one in row["figures"]["a_to_b"]
    }
    assert card.metrics == expected
    assert card.step == best


def test_an_evaluation_sees_what_evaluate_sees_afterwards(animals: Path, tmp_path: Path) -> None:
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
    after = json.loads((tmp_path / "x.json").read_text())["figures"]
    during = run.evaluations()[-1]["figures"]
    assert after.keys() == during.keys()
    for direction in after:
        for one, two in zip(after[direction], during[direction], strict=True):
            assert one["name"] == two["name"]
            assert one["value"] == pytest.approx(two["value"], rel=1e-6)


def test_evaluations_do_not_change_what_is_learned(animals: Path, tmp_path: Path) -> None:
    with_them = evaluated(animals, tmp_path / "with")
    without = evaluated(animals, tmp_path / "without", evaluate_every=None)
    newest = [run.model_file("a_to_b").parent / "score_b.safetensors" for run in (with_them, without)]
    assert newest[0].read_bytes() == newest[1].read_bytes()
    assert without.evaluations() == []
    with pytest.raises(UserError, match="not evaluated in training"):
        without.model_file(step="best")


def test_a_training_ends_when_nothing_gets_better(animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
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


def test_a_resumed_training_remembers_its_evaluations(animals: Path, tmp_path: Path) -> None:
    plateau = TINY_CYCLEGAN.replace(schedule={"name": "plateau", "patience": 0, "factor": 0.5}, steps=8)
    whole = evaluated(animals, tmp_path / "whole", recipe=plateau, evaluate_every=1, best="cycle")
    seen = []

    class Killed(Exception):
        pass

    def kill(run: Run, step: int) -> None:
        seen.append(step)
        if step == 4:
            raise Killed

    config = TrainConfig(
        folder=animals, run=tmp_path / "part", recipe=plateau, device="cpu", evaluate_every=1, metrics=TEXTURE, best="cycle", save_every=4, keep=1
    )
    with pytest.raises(Killed):
        train(config, after_save=kill, evaluator=Evaluator)
    train(config, evaluator=Evaluator)
    part = Run(tmp_path / "part")
    assert part.evaluations() == whole.evaluations()
    assert [row["rate"] for row in part.metrics()] == [row["rate"] for row in whole.metrics()]
    assert part.model_file("a_to_b").read_bytes() == whole.model_file("a_to_b").read_bytes()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"evaluate_every": None, "patience": 2}, "give --evaluate-every too"),
        ({"evaluate_every": None, "recipe": TINY_CYCLEGAN.replace(schedule={"name": "plateau"})}, "give --evaluate-every too"),
        ({"best": "lpips"}, "choose fid or cycle"),
        ({"metrics": MetricsConfig(features="horse")}, "no features"),
    ],
)
def test_what_evaluations_lack_is_said_before_the_first_step(animals: Path, tmp_path: Path, changes: dict, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        evaluated(animals, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_training_that_dies_after_its_first_evaluation_can_be_continued(animals: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Dying(Evaluator):
        calls = 0

        def both_ways(self, *given: Any, **named: Any) -> dict[str, list[Figure]]:
            self.calls += 1
            if self.calls == 3:  # before the first step, at step 2, and now at step 4
                raise Killed
            return super().both_ways(*given, **named)

    config = TrainConfig(
        folder=animals, run=tmp_path / "run", recipe=TINY_CYCLEGAN, device="cpu", evaluate_every=2, metrics=TEXTURE, best="cycle", save_every=100
    )
    with pytest.raises(Killed):
        train(config, evaluator=Dying)
    assert Run(tmp_path / "run").checkpoints() == [2]
    train(config, evaluator=Evaluator)
    whole = evaluated(animals, tmp_path / "whole")
    assert Run(tmp_path / "run").evaluations() == whole.evaluations()
    assert Run(tmp_path / "run").model_file("a_to_b").read_bytes() == whole.model_file("a_to_b").read_bytes()


def test_figures_of_another_kind_are_not_compared(animals: Path, tmp_path: Path) -> None:
    run = evaluated(animals, tmp_path / "run", recipe=TINY_CYCLEGAN.replace(steps=4), best="fid")
    evaluated(animals, run.folder, best="cycle", extend=True)
    by_cycle = [row for row in run.evaluations() if row["best"]["name"] == "cycle"]
    best = run.best()
    assert best is not None
    assert best in by_cycle
    assert {row["step"] for row in by_cycle} == {6, 8}


def test_what_decides_over_a_training_cannot_be_changed_in_it(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plateau = TINY_CYCLEGAN.replace(schedule={"name": "plateau"})
    short = {"recipe": plateau.replace(steps=4), "best": "fid"}
    run = evaluated(animals, tmp_path / "run", **short)
    with pytest.raises(UserError, match="give --best fid"):
        evaluated(animals, run.folder, recipe=plateau, best="cycle", extend=True)
    (tmp_path / "mine.py").write_text(
        "import torch\ndef mean():\n    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
    )
    with pytest.raises(UserError, match="evaluated with texture features"):
        evaluated(animals, run.folder, recipe=plateau, best="fid", metrics=TEXTURE.replace(features=f"{tmp_path}/mine.py:mean"), extend=True)
    assert run.checkpoints() == [6]  # what was learned until the first evaluation is kept


def test_weights_that_are_not_finite_are_never_the_best(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finite"):
        evaluated(animals, tmp_path / "run", recipe=TINY_CYCLEGAN.replace(optimizer=AdamConfig(lr=1e30)), evaluate_every=1)
    models = Run(tmp_path / "run").models()
    assert models == [1]  # huge, but finite
    for path in Run(tmp_path / "run").model_folder(1).iterdir():
        assert all(torch.isfinite(tensor).all() for tensor in load_tensors(path)[0].values())


def test_two_processes_decide_alike(animals: Path, tmp_path: Path) -> None:
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
    words += ["--method.generator.width", "2", "--method.generator.blocks", "1", "--method.discriminator", "pixel", "--optimizer.lr", "1e-12"]
    words += ["--evaluate-every", "1", "--metrics.features", "texture", "--patience", "2", "--schedule", "plateau", "--schedule.patience", "0"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        code = [sys.executable, "-m", "transmute", *words, *more]
        return subprocess.run(code, capture_output=True, text=True, timeout=200, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})

    unmeasured = run("--best", "lpips")
    assert unmeasured.returncode == 2
    assert (
        unmeasured.stderr
        == "transmute: --best lpips cannot be measured on 2 and 2 pictures here: choose fid or cycle, or give what it needs (see --help)\n"
    )
    assert run("--best", "cycle").returncode == 0
    assert [row["step"] for row in Run(tmp_path / "run").evaluations()] == [0, 1, 2, 3]
    assert Run(tmp_path / "run").checkpoints() == [1, 3]


def test_ssim_is_that_of_pictures_in_0_to_255() -> None:
    one, two = picture(0, size=64), picture(1, size=64)
    levels = [127.5 * (to_tensor(each).double() + 1) for each in (one, two)]
    expected = structural_similarity_index_measure(levels[0], levels[1], data_range=255.0)
    assert by_name(evaluator().measure([Shown(one, target=two)], [lambda: two]))["ssim"].value == pytest.approx(float(expected), rel=1e-9)  # pyright: ignore[reportArgumentType]
