"""Evaluations in training runs, and what depends on them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import TINY_CYCLEGAN
from tests.metrics.test_evaluator import TEXTURE
from transmute.cli import run_command
from transmute.config.data import SourceConfig
from transmute.config.metrics import MetricsConfig
from transmute.config.training import AdamConfig, TrainConfig
from transmute.errors import UserError
from transmute.evaluation import Evaluator, evaluate
from transmute.images.ranges import displayed_part
from transmute.metrics.metric import Metric
from transmute.report.page import page_data
from transmute.run import Run
from transmute.training.train import train
from transmute.weights import load_tensors


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
    assert train(config) is None
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
    after = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["metrics"]
    during = run.evaluations()[-1]["metrics"]
    assert after.keys() == during.keys()
    for direction in after:
        for one, two in zip(after[direction], during[direction], strict=True):
            assert one["name"] == two["name"]
            assert one["value"] == pytest.approx(two["value"], rel=1e-6)


@pytest.mark.parametrize(("kind", "channels"), [(np.uint16, 6), (np.float32, 1), (np.float32, 2)])
def test_runs_on_other_depths_and_channels_are_evaluated_and_say_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture, kind: type, channels: int
) -> None:
    random = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for index in range(2):
            array = random.integers(0, 3000, (16, 16, channels)).astype(kind)
            np.save(tmp_path / "data" / folder / f"{index}.npy", array)
    reader = tmp_path / "mine.py"
    reader.write_text("import numpy\nread = numpy.load\n", encoding="utf-8")
    run = evaluated(
        tmp_path / "data",
        tmp_path / "run",
        recipe=TINY_CYCLEGAN.replace(steps=2),
        data=SourceConfig(reader=f"{reader}:read"),
    )
    part = displayed_part(channels)
    assert (f"b: samples, FID, KID and LPIPS use {part}" in capsys.readouterr().out) is bool(part)
    assert (f"samples of a show {part}" in page_data([run])["runs"][0]["summary"]) is bool(part)
    during = {metric["name"]: metric for metric in run.evaluations()[-1]["metrics"]["a_to_b"]}
    assert set(during) == {"fid", "cycle"}
    after = evaluate(
        run.folder,
        tmp_path / "data",
        reader=f"{reader}:read",
        config=TEXTURE,
        size="training",
        device="cpu",
    )
    for metric in after.metrics["a_to_b"]:
        assert metric.value == pytest.approx(during[metric.name]["value"], rel=1e-5)
    with Image.open(run.sample_file(2)) as sheet:
        assert sheet.mode == "RGB"


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

    class Killed(Exception):
        pass

    class Killer:
        def after_step(self, run: Run, step: int) -> None: ...

        def after_report(self, run: Run, row: dict[str, Any]) -> None: ...

        def after_save(self, run: Run, step: int) -> None:
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
        train(config, Killer())
    train(config)
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
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    class Dying(Evaluator):
        calls = 0

        def measure_directions(self, *arguments: Any, **keywords: Any) -> dict[str, list[Metric]]:
            self.calls += 1
            if self.calls == 3:  # before the first step, at step 2, and now at step 4
                raise Killed
            return super().measure_directions(*arguments, **keywords)

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
    with monkeypatch.context() as patch:
        patch.setattr("transmute.training.evaluations.Evaluator", Dying)
        with pytest.raises(Killed):
            train(config)
    assert Run(tmp_path / "run").checkpoints() == [2]
    train(config)
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
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n",
        encoding="utf-8",
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
            encoding="utf-8",
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


class NotFinite(Evaluator):
    """Measures NaN after the first evaluation."""

    evaluations = 0

    def measure_directions(self, *arguments: Any, **keywords: Any) -> dict[str, list[Metric]]:
        measured = super().measure_directions(*arguments, **keywords)
        self.evaluations += 1
        if self.evaluations == 1:
            return measured
        return {
            direction: [replace(metric, value=math.nan) for metric in metrics]
            for direction, metrics in measured.items()
        }


def test_the_value_just_measured_is_printed_even_if_it_is_not_finite(
    animals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("transmute.training.evaluations.Evaluator", NotFinite)
    config = TrainConfig(
        folder=animals,
        run=tmp_path,
        recipe=TINY_CYCLEGAN.replace(steps=2),
        device="cpu",
        evaluate_every=2,
        metrics=TEXTURE,
        best="cycle",
    )
    assert train(config) is None
    assert "step 2: cycle nan\n" in capsys.readouterr().out
    assert Run(tmp_path).best() is None


def test_bad_held_out_images_stop_a_training_with_evaluations_before_its_first_step(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(animals, data)
    deep, broken = sorted((data / "testA").iterdir())[0], sorted((data / "testB").iterdir())[1]
    Image.fromarray(np.zeros((16, 16), np.float32)).save(deep.with_suffix(".tif"))
    broken.write_bytes(broken.read_bytes()[:60])
    settings = {
        "folder": data,
        "recipe": TINY_CYCLEGAN.replace(steps=1),
        "device": "cpu",
        "metrics": MetricsConfig(features="texture"),
        "evaluate_every": 1,
        "best": "cycle",
    }
    with pytest.raises(UserError, match="2 held-out images cannot be used") as error:
        train(TrainConfig(run=tmp_path / "run", **settings))
    assert f"{deep.stem}.tif has values of type float32" in str(error.value)
    assert f"{broken.name} cannot be read" in str(error.value)
    assert not (tmp_path / "run").exists()
    config = TrainConfig(run=tmp_path / "run", data=SourceConfig(skip_bad=True), **settings)
    assert train(config) is None
    assert "not in the samples: " in capsys.readouterr().out


@pytest.mark.parametrize("lr", [2e-4, 0.3])
def test_a_best_step_that_is_worse_than_the_untrained_networks_is_reported_as_worse(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lr: float
) -> None:
    recipe = TINY_CYCLEGAN.replace(optimizer=AdamConfig(lr=lr))
    run = evaluated(animals, tmp_path / "run", recipe=recipe)
    untrained, *trained = (row["best"]["value"] for row in run.evaluations())
    assert (min(trained) > untrained) == (lr == 0.3)
    said = capsys.readouterr().out
    worse = f", but worse than {untrained:.4g} before training" if lr == 0.3 else ""
    step = 2 * (1 + trained.index(min(trained)))
    assert f"best by cycle: step {step}{worse}\n" in said
    assert f"step 2: cycle {trained[0]:.4g}, the best so far" in said
    assert ("the best so far, but worse" in said) == (lr == 0.3)
