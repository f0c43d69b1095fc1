"""Whole training runs: resumed, killed, stopped, in two processes, and diverged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import transmute
from tests.conftest import TINY_CYCLEGAN, TINY_CYCLEGAN_METHOD, TINY_PIX2PIX, TINY_PIX2PIX_METHOD
from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.config.networks import PatchGANConfig
from transmute.config.training import AdamConfig, Recipe, StepConfig, TrainConfig
from transmute.errors import UserError
from transmute.run import Run
from transmute.training.train import train
from transmute.weights import load_tensors

RECIPE = TINY_CYCLEGAN.replace(
    optimizer=AdamConfig(ema=0.9, clip=10.0, accumulate=2),
    preprocess=PreprocessConfig(load_size="18"),
)


TRAINING = """
import sys
import torch
from transmute.config.training import TrainConfig
from transmute.training.train import train
torch.set_num_threads(1)
stopped = train(TrainConfig.model_validate_json(sys.argv[1]))
sys.exit(128 + stopped if stopped else 0)
"""


def config(folder: Path, run: Path, recipe: Recipe = RECIPE, **changes) -> TrainConfig:
    settings = {
        "report_every": 3,
        "sample_every": 4,
        "save_every": 2,
        "keep": 2,
        "device": "cpu",
        "precision": "float32",
    } | changes
    return TrainConfig(folder=folder, run=run, recipe=recipe, **settings)


def command(settings: TrainConfig) -> list[str]:
    """A Python process that trains with these settings."""
    return [sys.executable, "-c", TRAINING, settings.model_dump_json()]


def rows(run: Path) -> list[dict]:
    """Rows of metrics.jsonl without speeds, and without symptoms.

    Symptoms depend on earlier checks, which a resumed run does not repeat.
    """
    speeds = ("images_per_second", "load_milliseconds", "symptoms")
    return [
        {key: value for key, value in row.items() if key not in speeds}
        for row in Run(run).metrics()
    ]


def assert_same(one: Path, other: Path) -> None:
    """Checks that two runs have bit-identical checkpoints, metrics, samples and models."""
    assert Run(one).checkpoints() == Run(other).checkpoints()
    for step in Run(one).checkpoints():
        (expected, _), (found, _) = (
            load_tensors(Run(run).checkpoint_file(step)) for run in (one, other)
        )
        assert expected.keys() == found.keys()
        assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert [list(row.items()) for row in rows(one)] == [list(row.items()) for row in rows(other)]
    assert Run(one).samples() == Run(other).samples()
    assert all(
        Run(one).sample_file(step).read_bytes() == Run(other).sample_file(step).read_bytes()
        for step in Run(one).samples()
    )
    for step in Run(one).models():
        for path in Run(one).model_folder(step).iterdir():
            assert path.read_bytes() == (Run(other).model_folder(step) / path.name).read_bytes()


@pytest.fixture(scope="module")
def finished(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of eight steps."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(config(animals, run)) is None
    return run


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
    assert run.read_json(run.recipe_file) == RECIPE.model_dump(mode="json")
    facts = run.read_json(run.environment_file)["sessions"][0]
    assert facts["torch"] == torch.__version__
    assert facts["precision"] == "float32"
    assert {f"{name}.safetensors" for name in ("a_to_b", "b_to_a", "score_a", "score_b")} == {
        path.name for path in run.model_folder(8).iterdir()
    }


def test_training_a_finished_run_only_adds_a_session_and_updates_the_page(
    finished: Path, animals: Path
) -> None:
    def contents() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for path in finished.rglob("*")
            if path.is_file() and path.name not in ("environment.json", "report.html")
        }

    before = contents()
    Run(finished).report_file.write_text('http-equiv="refresh"')
    assert train(config(animals, finished)) is None
    assert contents() == before
    assert "refresh" not in Run(finished).report_file.read_text()
    assert len(Run(finished).sessions()) == 2


class Killed(BaseException):
    """Ends a training run as abruptly as a signal, at a chosen moment."""


@pytest.mark.parametrize(
    "moment",
    [
        "step 1",
        "step 5",
        "save_tensors 1",
        "save_tensors 4",
        "save_tensors 6",
        "checkpoint 1",
        "checkpoint 3",
        "append 1",
        "save_image 2",
        "keep_newest 2",
    ],
)
def test_a_run_that_dies_at_any_moment_and_resumes_equals_an_uninterrupted_one(
    finished: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    what, number = moment.split()
    target = {
        "step": "transmute.training.trainer.Trainer.step",
        "save_tensors": "transmute.translation.model.save_tensors",
        "checkpoint": "transmute.training.checkpoint.save_tensors",
        "append": "transmute.run.Run.append",
        "save_image": "transmute.training.reporting.save_image",
        "keep_newest": "transmute.run.Run.keep_newest",
    }[what]
    calls = 0
    module, _, name = target.rpartition(".")
    owner = __import__("pkgutil").resolve_name(module)
    original = vars(owner)[name]

    def dying(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == int(number):
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            train(config(animals, tmp_path / "run"))
    train(config(animals, tmp_path / "run"))
    assert_same(finished, tmp_path / "run")


LONGER = RECIPE.replace(steps=60)


@pytest.fixture(scope="module")
def longer(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of sixty steps."""
    run = tmp_path_factory.mktemp("runs") / "longer"
    train(config(animals, run, LONGER))
    return run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.07, 0.2])
def test_a_run_killed_by_sigkill_and_resumed_equals_an_uninterrupted_one(
    longer: Path, animals: Path, tmp_path: Path, delay: float
) -> None:
    settings = config(animals, tmp_path / "run", LONGER)
    process = subprocess.Popen(command(settings), stdout=subprocess.DEVNULL)
    while not Run(tmp_path / "run").checkpoints() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    train(settings)
    assert_same(longer, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_resume_from_a_checkpoint_that_is_complete_on_both(
    animals: Path, tmp_path: Path
) -> None:
    """Covers rank state: image histories, dropout, batch norm, loss averages, and blur kernels."""
    generator = TINY_CYCLEGAN_METHOD.generator.replace(
        norm="batch", dropout=True, upsampling="antialiased", downsampling="antialiased"
    )
    recipe = TINY_CYCLEGAN.replace(method=RECIPE.method.replace(generator=generator), steps=6)
    settings = config(animals, tmp_path / "whole", recipe, devices=2, report_every=4, save_every=3)
    subprocess.run(command(settings), check=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    damaged = Run(tmp_path / "again").checkpoint_file(6, rank=1)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    result = subprocess.run(
        command(settings.replace(run=tmp_path / "again")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "checkpoint 6 is unusable (on another rank)" in result.stdout
    assert "resumed at step 3 of 6" in result.stdout
    assert_same(tmp_path / "whole", tmp_path / "again")
    (expected, _), (found, _) = (
        load_tensors(Run(tmp_path / name).checkpoint_file(6, rank=1)) for name in ("whole", "again")
    )
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_exits_cleanly_and_resumes(
    animals: Path, tmp_path: Path, number: signal.Signals
) -> None:
    recipe = RECIPE.replace(steps=40)
    settings = config(animals, tmp_path / "run", recipe, save_every=1000)
    process = subprocess.Popen(
        command(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not Run(tmp_path / "run").metrics() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    out, error = process.communicate()
    assert process.returncode == 128 + number
    assert re.search(r"stopped at step \d+ of 40 and saved", out)
    assert error == ""
    train(settings)
    train(config(animals, tmp_path / "whole", recipe, save_every=1000))
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    (expected, _), (found, _) = (load_tensors(one.checkpoint_file(40)) for one in (whole, run))
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert rows(run.folder) == rows(whole.folder)


def test_a_damaged_checkpoint_is_reported_and_an_older_one_used(
    finished: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(animals, tmp_path / "run")
    train(settings)
    newest = Run(tmp_path / "run").checkpoint_file(8)
    newest.write_bytes(newest.read_bytes()[:-100])
    train(settings)
    said = capsys.readouterr().out
    assert re.search(
        r"checkpoint 8 is unusable \(.*8\.safetensors .*damaged.*; trying an older one", said
    )
    assert "resumed at step 6 of 8" in said
    assert_same(finished, tmp_path / "run")


def test_another_recipe_on_an_existing_run_is_an_error_that_lists_the_differences(
    finished: Path, animals: Path
) -> None:
    other = RECIPE.replace(batch=4, optimizer=RECIPE.optimizer.replace(lr=1e-3))
    with pytest.raises(UserError, match=r"batch: 2 -> 4; optimizer.lr: 0.0002 -> 0.001"):
        train(config(animals, finished, other))


def test_a_run_that_cannot_be_resumed_is_left_unchanged(
    animals: Path, tmp_path: Path, finished: Path
) -> None:
    def refused(name: str, message: str) -> None:
        before = sorted(path for path in (tmp_path / name).rglob("*"))
        with pytest.raises(UserError, match=message):
            train(config(animals, tmp_path / name))
        assert [
            path
            for path in before
            if path.exists() or path.with_name(f"{path.name}.damaged").exists()
        ] == before

    for name in ("damaged", "models", "recipe"):
        shutil.copytree(finished, tmp_path / name)
    for step in (6, 8):
        Run(tmp_path / "damaged").checkpoint_file(step).write_bytes(b"")
    shutil.rmtree(tmp_path / "models" / "checkpoints")
    (tmp_path / "recipe" / "recipe.json").unlink()
    refused("damaged", "its checkpoints are all damaged")
    refused("models", "it has models but no checkpoint")
    refused("recipe", "contains training files but no recipe.json, so it cannot be resumed")


def test_a_lost_environment_file_loses_nothing_else(
    finished: Path, animals: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "environment.json").unlink()
    train(config(animals, tmp_path / "run"))
    assert_same(finished, tmp_path / "run")


def test_a_bad_held_out_image_does_not_stop_training(animals: Path, tmp_path: Path) -> None:
    shutil.copytree(animals, tmp_path / "data")
    (tmp_path / "data" / "testA" / "0000.png").write_bytes(b"")
    train(config(tmp_path / "data", tmp_path / "run", RECIPE.replace(steps=1)))
    assert Run(tmp_path / "run").samples() == [0, 1]


def test_a_truncated_last_row_of_metrics_is_ignored(
    finished: Path, animals: Path, tmp_path: Path
) -> None:
    settings = config(animals, tmp_path / "run")
    train(settings)
    for name in ("checkpoints", "models"):
        for path in (tmp_path / "run" / name).glob("8*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "pict')
    train(settings)
    assert_same(finished, tmp_path / "run")


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
    recipe = TINY_CYCLEGAN.replace(steps=1, preprocess=PreprocessConfig(mode=mode))  # pyright: ignore
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
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
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


def is_dead_bias(key: str) -> bool:
    """Whether an instance norm follows, which cancels the bias.

    Its gradient is rounding error, which Adam scales up to full steps.
    """
    last = {"a_to_b": 18, "b_to_a": 18, "score_a": 5, "score_b": 5}
    _, network, _, *place, kind = key.split(".")
    first_of_judge = network.startswith("score") and place == ["0"]
    return kind == "bias" and not first_of_judge and place != [str(last[network])]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["--devices", "torchrun"])
def test_two_processes_with_half_the_batch_equal_one_with_the_whole(
    animals: Path, tmp_path: Path, launcher: str
) -> None:
    recipe = TINY_CYCLEGAN.replace(method=TINY_CYCLEGAN_METHOD.replace(history=0), steps=4)
    train(config(animals, tmp_path / "one", recipe))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if launcher == "torchrun":
        script = tmp_path / "script.py"
        script.write_text(TRAINING)
        starter = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            str(script),
        ]
        arguments = [*starter, config(animals, tmp_path / "two", recipe).model_dump_json()]
    else:
        arguments = command(config(animals, tmp_path / "two", recipe, devices=2))
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (expected, _), (found, header) = (
        load_tensors(Run(tmp_path / name).checkpoint_file(4)) for name in ("one", "two")
    )
    assert header["processes"] == 2
    compared = [
        key
        for key in expected
        if key.startswith("method.") and "past" not in key and not is_dead_bias(key)
    ]
    assert len(compared) > 20
    for key in compared:
        assert (found[key] - expected[key]).abs().max() <= 1e-6, key
    for ours, theirs in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5)


@pytest.mark.slow
def test_two_processes_print_an_error_as_one_sentence(animals: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        str(animals),
        "--run",
        str(tmp_path / "run"),
        "--devices",
        "2",
        "--batch",
        "3",
        "--device",
        "cpu",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "transmute", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert re.fullmatch(
        r"transmute: a batch of 3 cannot be divided among 2 processes.*\n", result.stderr
    )
    assert not (tmp_path / "run").exists()


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
    assert json.loads((tmp_path / "environment.json").read_text())["domains"] == [
        "plain",
        "striped",
    ]
