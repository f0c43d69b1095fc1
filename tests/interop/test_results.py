from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.interop.test_checkpoint import tiny_resnet
from tests.interop.test_mirror import original_run
from transmute.cli.junyanz import run_test_py, run_train_py, train_main
from transmute.errors import UserError
from transmute.interop.options import parse
from transmute.interop.settings import data_source


def test_results_from_b_to_a_start_with_b(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/it").mkdir(parents=True)
    original_run(Path("checkpoints/it"), G_A=0.01, G_B=0.02)
    line = (
        f"--dataroot {animals} --name it --model cycle_gan --direction BtoA --crop_size 16 "
        "--max_dataset_size 1 --aspect_ratio 2"
    )
    assert run_test_py(line.split()) == 0
    stem = min(path.stem for path in (animals / "testB").iterdir())
    shown = Image.open(f"results/it/test_latest/images/{stem}_real_A.png")
    expected = (
        Image.open(animals / "testB" / f"{stem}.png")
        .convert("RGB")
        .resize((32, 16), Image.Resampling.BICUBIC)
    )
    assert shown.tobytes() == expected.tobytes()
    assert len(list(Path("results/it/test_latest/images").iterdir())) == 6


def test_special_characters_in_file_names_are_escaped_in_addresses(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/it").mkdir(parents=True)
    original_run(Path("checkpoints/it"), G=0.01)
    Path("odd").mkdir()
    Image.new("RGB", (16, 16)).save("odd/a#1 50%.png")
    assert run_test_py(["--dataroot", "odd", "--name", "it", "--crop_size", "16"]) == 0
    page = Path("results/it/test_latest/index.html").read_text(encoding="utf-8")
    assert 'src="images/a%231%2050%25_real.png"' in page


def test_images_of_one_name_have_results_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/it").mkdir(parents=True)
    original_run(Path("checkpoints/it"), G=0.01)
    long = "n" * 251
    for name in ("0.png", "0.jpg", "x/0.png", f"{long}.png", "\n\x1b.png"):
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(Path("images", name))
    Path("images/0.heic").touch()
    assert run_test_py(["--dataroot", "images", "--name", "it", "--crop_size", "16"]) == 0
    results = Path("results/it/test_latest")
    stems = ["0", "0_2", "x/0", "n" * 200, "\n\x1b"]
    assert {path.relative_to(results / "images").as_posix() for path in results.rglob("*.png")} == {
        f"{stem}_{label}.png" for stem in stems for label in ("real", "fake")
    }
    page = (results / "index.html").read_text(encoding="utf-8")
    for url in ("images/0_2_real.png", "images/x/0_fake.png", "images/%0A%1B_real.png"):
        assert f'src="{url}"' in page
    assert r"<h3>\n\x1b</h3>" in page
    printed = capsys.readouterr().out
    assert "images: 1 file is not used: 1 .heic (not images that can be read)\n" in printed
    assert "\x1b" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_results_have_names_that_are_not_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/it").mkdir(parents=True)
    original_run(Path("checkpoints/it"), G=0.01)
    Path("odd").mkdir()
    Image.new("RGB", (16, 16)).save(b"odd/f\xfcr.png".decode("utf-8", "surrogateescape"))
    assert run_test_py(["--dataroot", "odd", "--name", "it", "--crop_size", "16"]) == 0
    page = Path("results/it/test_latest/index.html").read_text(encoding="utf-8")
    assert 'src="images/f%FCr_real.png"' in page


def test_paired_results_have_dropout_and_per_image_statistics_unless_eval(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        "--name p --model pix2pix --direction BtoA --netG unet_128 --ngf 2 --ndf 2 "
        "--crop_size 128 --load_size 128 --gpu_ids -1 --n_epochs 1"
    )
    assert (
        run_train_py([*f"--dataroot {pairs} {line} --n_epochs_decay 0".split(), "--netD", "pixel"])
        == 0
    )
    images = Path("results/p/test_latest/images")

    def fake(*more: str) -> bytes:
        assert (
            run_test_py(
                [
                    *(
                        f"--dataroot {pairs} --name p --model pix2pix --direction BtoA "
                        "--crop_size 128 --num_test 1"
                    ).split(),
                    *more,
                ]
            )
            == 0
        )
        assert {path.name for path in images.iterdir()} == {
            "0_real_A.png",
            "0_fake_B.png",
            "0_real_B.png",
        }
        return (images / "0_fake_B.png").read_bytes()

    assert fake() != fake()
    assert fake("--eval") == fake("--eval")
    assert fake("--no_dropout") == fake("--no_dropout")
    assert fake("--no_dropout") != fake("--eval")


def results(folder: Path, model: str, flags: str, **scales: float) -> tuple[int, set[str], str]:
    """The exit status, the names of the written images, and the page of transmute-test."""
    run = folder / "checkpoints" / "it"
    run.mkdir(parents=True, exist_ok=True)
    original_run(run, blocks=6, **scales)
    words = f"--name it --model {model} --crop_size 16 --checkpoints_dir {folder}/checkpoints "
    status = run_test_py(f"{words} --results_dir {folder}/results {flags}".split())
    written = folder / "results/it/test_latest"
    names = {path.name for path in (written / "images").glob("*")}
    return status, names, (written / "index.html").read_text(encoding="utf-8")


def test_broken_images_are_listed_after_the_others_are_translated(
    tmp_path: Path, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(animals, data)
    stems = sorted(path.stem for path in (data / "testA").iterdir())
    whole = (data / "testA" / f"{stems[0]}.png").read_bytes()
    (data / "testA" / f"{stems[0]}.png").write_bytes(whole[:60])
    (data / "testB" / "text.png").write_text("not an image", encoding="utf-8")
    status, names, page = results(tmp_path, "cycle_gan", f"--dataroot {data}", G_A=0.01, G_B=0.02)
    assert status == 1
    assert {re.sub(r".*?_((real|fake|rec)_.)\.png", r"\1", name) for name in names} == {
        *("real_A", "fake_B", "rec_A", "real_B", "fake_A", "rec_B")
    }
    assert f"<h3>{stems[1]}</h3>" in page
    assert f"<h3>{stems[0]}</h3>" not in page
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"transmute: .*testA.{stems[0]}\.png cannot be read: .*", lines[0])
    assert re.fullmatch(r"transmute: .*testB.text\.png is not an image that can be read", lines[1])
    assert lines[2:] == ["transmute: 2 of 5 images could not be translated"]


def test_an_image_too_small_for_the_generator_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "data/large.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "data/small.png")
    flags = f"--dataroot {tmp_path}/data --preprocess none"
    status, names, _ = results(tmp_path, "test", flags, G=0.01)
    assert (status, names) == (1, {"large_real.png", "large_fake.png"})
    assert "small.png is 4x4 after preprocessing, too small" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "scales", "labels"),
    [
        ("test", {"G": 0.01}, {"real", "fake"}),
        ("pix2pix", {"G": 0.01}, {"real_A", "fake_B"}),
        ("cycle_gan", {"G_A": 0.01, "G_B": 0.02}, {"real_A", "fake_B", "rec_A"}),
    ],
)
def test_a_single_folder_has_no_ground_truth(
    tmp_path: Path, model: str, scales: dict[str, float], labels: set[str]
) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "data/x.png")
    flags = f"--dataroot {tmp_path}/data --dataset_mode single"
    _, names, page = results(tmp_path, model, flags, **scales)
    assert names == {f"x_{label}.png" for label in labels}
    assert page.count("<figure>") == len(labels)


def test_single_images_are_not_cut_in_two_unless_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/test").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data/test/lone.png")
    Image.new("RGB", (96, 64)).save(tmp_path / "data/test/pair.png")
    flags = f"--dataroot {tmp_path}/data --dataset_mode aligned"
    status, names, _ = results(tmp_path, "pix2pix", flags, G=0.01)
    labels = ("real_A", "fake_B", "real_B")
    assert (status, names) == (1, {f"pair_{label}.png" for label in labels})
    lines = capsys.readouterr().err.splitlines()
    assert "lone.png is 64x64, which is not the shape of two images side by side" in lines[0]
    assert lines[0].endswith(
        "set --side_by_side. To translate whole images, use --dataset_mode single --model test"
    )
    assert lines[1:] == ["transmute: 1 of 2 images could not be translated"]
    status, names, _ = results(tmp_path, "pix2pix", f"{flags} --side_by_side", G=0.01)
    assert (status, len(names)) == (0, 6)


def test_training_with_that_tools_flags_does_not_cut_single_images_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/train").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save("data/train/lone.png")
    words = ["transmute-train", "--dataroot", "data", "--model", "pix2pix", "--gpu_ids", "-1"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="2"):
        train_main()
    error = capsys.readouterr().err
    assert "lone.png is 64x64, which is not the shape of two images side by side" in error
    assert "If it is a pair side by side, set --side_by_side. Expected: " in error
    assert data_source(parse([*words[1:], "--side_by_side"]))[1].side_by_side


def test_a_missing_checkpoint_error_lists_existing_ones(tmp_path: Path, animals: Path) -> None:
    (tmp_path / "c").mkdir()
    torch.save(tiny_resnet(), tmp_path / "c" / "5_net_G_A.pth")
    with pytest.raises(
        UserError, match=r"there is no .*latest_net_G\.pth: .* contains 5_net_G_A\.pth"
    ):
        run_test_py(f"--dataroot {animals}/testA --checkpoints_dir {tmp_path} --name c".split())
