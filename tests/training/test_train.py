"""Whole training runs: their files, their settings, and errors about these."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import transmute
from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX, TINY_PIX2PIX_METHOD
from tests.training.runs import RECIPE, assert_same, config
from transmute.config.data import PreprocessConfig, Range, SourceConfig
from transmute.config.networks import PatchGANConfig
from transmute.config.training import AdamConfig, StepConfig
from transmute.errors import UserError
from transmute.gpu import GPU, Build
from transmute.run import Run
from transmute.training.train import train


def test_a_run_folder_has_the_documented_files(finished: Path) -> None:
    run = Run(finished)
    assert sorted(path.name for path in finished.iterdir()) == [
        ".lock",
        "checkpoints",
        "environment.json",
        "metrics.jsonl",
        "models",
        "recipe.json",
        "report.html",
        "samples",
    ]
    assert run.checkpoints() == run.models() == [6, 8]
    assert run.samples() == [0, 4, 8]
    assert [row["step"] for row in run.metrics()] == [3, 6, 8]
    assert [row["images"] for row in run.metrics()] == [6, 12, 16]
    found = {"channels_a": 3, "channels_b": 3, "range_a": Range(), "range_b": Range()}
    recipe = RECIPE.replace(preprocess=RECIPE.preprocess.replace(**found))
    assert run.recipe() == recipe.model_dump(mode="json")
    facts = run.sessions()[0]
    assert facts["torch"] == torch.__version__
    assert facts["precision"] == "float32"
    assert {f"{name}.safetensors" for name in ("a_to_b", "b_to_a", "score_a", "score_b")} == {
        path.name for path in run.model_folder(8).iterdir()
    }


def test_a_bad_held_out_image_does_not_stop_training(animals: Path, tmp_path: Path) -> None:
    shutil.copytree(animals, tmp_path / "data")
    (tmp_path / "data" / "testA" / "0000.png").write_bytes(b"")
    train(config(tmp_path / "data", tmp_path / "run", RECIPE.replace(steps=1)))
    assert Run(tmp_path / "run").samples() == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_training_uses_names_that_are_not_utf_8_and_says_what_it_does_not_use(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, odd = tmp_path / b"f\xfcr".decode("utf-8", "surrogateescape"), b"\x1b\xfc.png"
    shutil.copytree(animals, data)
    first = data / "trainA" / "0000.png"
    first.rename(first.with_name(odd.decode("utf-8", "surrogateescape")))
    (data / "trainA" / "1.heic").touch()
    train(config(data, tmp_path / "run", RECIPE.replace(steps=1)))
    printed = capsys.readouterr().out
    assert r"f\xfcr/trainA: 1 file is not used: 1 .heic (not images that can be read)" in printed
    session = Run(tmp_path / "run").sessions()[0]
    assert "5 and 5 training images" in session["data"]
    (data / "trainB" / odd.decode("utf-8", "surrogateescape")).write_bytes(b"")
    with pytest.raises(UserError, match="1 images cannot be used"):
        train(config(data, tmp_path / "other", RECIPE))
    skipping = config(data, tmp_path / "other", RECIPE.replace(steps=1))
    train(skipping.replace(data=SourceConfig(skip_bad=True)))
    assert r"trainB/\x1b\xfc.png" in capsys.readouterr().out


def test_keep_bounds_checkpoints_and_models(animals: Path, tmp_path: Path) -> None:
    train(config(animals, tmp_path, keep=1))
    assert Run(tmp_path).checkpoints() == Run(tmp_path).models() == [8]


def test_epochs_count_passes_over_the_larger_domain_and_drive_the_schedule(
    animals: Path, tmp_path: Path
) -> None:
    recipe = TINY_CYCLEGAN.replace(
        steps=None, epochs=4, batch=1, schedule=StepConfig(every=0.5, factor=0.1)
    )
    train(config(animals, tmp_path, recipe, report_every=5))
    assert [(row["step"], row["rate"]) for row in Run(tmp_path).metrics()] == [
        (5, 1),
        (10, 1),
        (15, 0.1),
        (20, 0.1),
    ]


@pytest.mark.parametrize("mode", ["crop", "scale-width", "scale-width-and-crop", "none"])
def test_every_preprocessing_trains(animals: Path, tmp_path: Path, mode: str) -> None:
    recipe = TINY_CYCLEGAN.updated({"steps": 1, "preprocess": {"mode": mode}})
    train(config(animals, tmp_path, recipe))
    assert Run(tmp_path).checkpoints() == [1]


def test_pix2pix_trains_on_side_by_side_images_from_b_to_a(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    for index in range(3):
        Image.effect_noise((40, 20), 40 + index).convert("RGB").save(
            tmp_path / "data" / "train" / f"{index}.jpg"
        )
    recipe = TINY_PIX2PIX.replace(method=TINY_PIX2PIX_METHOD.replace(direction="b_to_a"), steps=2)
    train(config(tmp_path / "data", tmp_path / "run", recipe))
    (model,) = Run(tmp_path / "run").models_at().glob("*_to_*.safetensors")
    assert model.stem == "b_to_a"


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    animals: Path, tmp_path: Path
) -> None:
    recipe = TINY_CYCLEGAN.replace(steps=200, optimizer=AdamConfig(lr=1e18))
    train(config(animals, tmp_path, recipe.replace(steps=1), save_every=1))
    found = Run(tmp_path).recipe()["preprocess"]
    changed = recipe.updated({"preprocess": found})
    (tmp_path / "recipe.json").write_text(changed.model_dump_json(), encoding="utf-8")
    values = r"(loss|weight) [\w.]+ is (nan|inf|-inf|not finite) (at|by) step \d+"
    with pytest.raises(
        UserError, match=rf"{values}.*([Tt]ry a lower|To fix it, lower) `optimizer\.lr`"
    ):
        train(config(animals, tmp_path, recipe))
    assert Run(tmp_path).checkpoints() == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe": RECIPE.replace(size="18")},
            r"`size=18x18` is not a multiple of 4, which .* require\. Use 16x16 or 20x20",
        ),
        ({"recipe": RECIPE.replace(batch=6), "device": "cuda"}, "needs a GPU that torch can use"),
        (
            {
                "recipe": RECIPE.replace(
                    method=RECIPE.method.replace(discriminator=PatchGANConfig())
                )
            },
            r"too small for `method\.discriminator` \(patchgan\), which needs 24",
        ),
        ({"sync_batch_norm": True}, "works only with several GPUs"),
        ({"data": SourceConfig(max_images=1, a=Path("x"))}, "must be set together"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_written(
    animals: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match=message):
        train(config(animals, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_images_of_different_sizes_cannot_share_a_batch_or_a_history(
    animals: Path, tmp_path: Path
) -> None:
    for index, side in enumerate((16, 24)):
        for domain in "AB":
            (tmp_path / f"train{domain}").mkdir(exist_ok=True)
            Image.new("RGB", (side, side), "red").save(tmp_path / f"train{domain}" / f"{index}.png")
    recipe = TINY_CYCLEGAN.replace(preprocess=PreprocessConfig(mode="none"), steps=2)
    with pytest.raises(UserError, match=r"Use `batch=1`"):
        train(config(tmp_path, tmp_path / "run", recipe))
    with pytest.raises(UserError, match=r"Use `method\.history=0`"):
        train(config(tmp_path, tmp_path / "run", recipe.replace(batch=1)))
    train(
        config(
            tmp_path,
            tmp_path / "run",
            recipe.replace(batch=1, method=TINY_CYCLEGAN_METHOD.replace(history=0)),
        )
    )
    assert Run(tmp_path / "run").checkpoints() == [2]


def test_python_mirrors_the_command(animals: Path, tmp_path: Path, finished: Path) -> None:
    run = transmute.train(
        animals,
        run=tmp_path,
        recipe=RECIPE,
        report_every=3,
        sample_every=4,
        save_every=2,
        device="cpu",
        precision="float32",
    )
    assert_same(finished, run.folder)
    assert json.loads((tmp_path / "environment.json").read_text(encoding="utf-8"))["domains"] == [
        "plain",
        "striped",
    ]


def test_training_warns_of_a_gpu_that_is_not_used(
    animals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gpu = GPU("NVIDIA GeForce RTX 3060", driver="580.1", capability=(8, 6))
    monkeypatch.setattr("transmute.training.setup.find_gpu", lambda: gpu)
    monkeypatch.setattr("transmute.training.setup.Build.installed", lambda: Build("2.13.0+cpu"))
    short = RECIPE.replace(steps=1)
    for device, warns in (("auto", True), ("cpu", False)):
        train(config(animals, tmp_path / device, short, device=device))
        first = capsys.readouterr().out.splitlines()[0]
        assert first.startswith("warning: NVIDIA GeForce RTX 3060 is not used, because") is warns
