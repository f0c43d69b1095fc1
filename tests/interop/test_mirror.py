from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch

from transmute.cli.junyanz import run_test_py, run_train_py
from transmute.config.networks import PixelGANConfig, ResNetConfig
from transmute.errors import UserError
from transmute.images.decode import read_image
from transmute.images.ranges import to_tensor
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.layouts import JUNYANZ, Layout
from transmute.interop.mirror import Mirror
from transmute.interop.options import parse
from transmute.run import Run
from transmute.translation.model import ModelCard, read_networks

TINY = (
    "--ngf 2 --ndf 2 --crop_size 16 --load_size 18 --netG resnet_6blocks --netD pixel --gpu_ids -1 "
    "--n_epochs 1 --n_epochs_decay 1"
)


def test_training_writes_the_files_of_the_reference_and_testing_reads_them(
    tmp_path: Path,
    animals: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = (
        f"--dataroot {animals} --name h2z --model cycle_gan {TINY} --save_epoch_freq 1 "
        "--print_freq 1"
    )
    assert run_train_py([*flags.split(), "--display_id", "-1", "--no_html"]) == 0
    printed = capsys.readouterr().out
    assert "without effect here: --display_id --no_html" in printed
    files = {path.name for path in Path("checkpoints/h2z").iterdir()}
    assert {
        f"{tag}_net_{net}.pth"
        for tag in ("latest", "1", "2")
        for net in ("G_A", "G_B", "D_A", "D_B")
    } <= files
    assert {"train_opt.txt", "loss_log.txt", "web", "report.html"} <= files
    log = Path("checkpoints/h2z/loss_log.txt").read_text(encoding="utf-8").splitlines()
    assert log[1].startswith("(epoch: 1, iters: 1, ")
    assert log[-1].startswith("(epoch: 2, iters: 5, ")
    assert all(
        f" {name}: " in log[1]
        for name in ("D_A", "G_A", "cycle_A", "idt_A", "D_B", "G_B", "cycle_B", "idt_B")
    )
    # Each name means the same network as in pytorch-CycleGAN-and-pix2pix.
    ours = read_networks(Path("checkpoints/h2z"))
    theirs = read_checkpoint(Path("checkpoints/h2z")).networks
    assert all(
        torch.equal(value, theirs[role].state[key])
        for role, saved in ours.items()
        for key, value in saved.state.items()
    )

    assert (
        run_test_py(f"--dataroot {animals} --name h2z --model cycle_gan --crop_size 16".split())
        == 0
    )
    images = Path("results/h2z/test_latest/images")
    labels = ("real_A", "fake_B", "rec_A", "real_B", "fake_A", "rec_B")
    stems = sorted(path.stem for path in (animals / "testA").iterdir())
    assert {path.name for path in images.iterdir()} == {
        f"{stem}_{label}.png" for stem in stems for label in labels
    }
    page = (images.parent / "index.html").read_text(encoding="utf-8")
    assert all(f'src="images/{path.name}"' in page for path in images.iterdir())
    card = ours["a_to_b"].card
    assert isinstance(card, ModelCard)
    network = card.generator.build(card.in_channels, card.out_channels).eval()
    network.load_state_dict(ours["a_to_b"].state)
    with torch.no_grad():
        expected = network(to_tensor(read_image(images / f"{stems[0]}_real_A.png")))
    # Half a level of rounding in the file.
    assert (
        to_tensor(read_image(images / f"{stems[0]}_fake_B.png")) - expected
    ).abs().max() <= 0.5 / 127.5 + 1e-5

    capsys.readouterr()
    assert (
        run_test_py(
            (
                f"--dataroot {animals}/testA --name h2z --model test --no_dropout "
                "--num_test 1 --crop_size 16 --epoch 1"
            ).split()
        )
        == 0
    )
    assert "1_net_G_A.pth is used (see --model_suffix _A and _B)" in capsys.readouterr().out
    assert {path.name for path in Path("results/h2z/test_1/images").iterdir()} == {
        f"{stems[0]}_{label}.png" for label in ("real", "fake")
    }


def test_continuing_requires_its_flag_and_may_extend_the_run(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = f"--dataroot {animals} --name it --model cycle_gan {TINY}".split()
    assert run_train_py(flags) == 0
    before = Run(Path("checkpoints/it")).checkpoints()
    with pytest.raises(UserError, match=r"contains a run. Add --continue_train"):
        run_train_py(flags)
    assert Run(Path("checkpoints/it")).checkpoints() == before
    assert run_train_py([*flags, "--continue_train", "--epoch_count", "3", "--n_epochs", "2"]) == 0
    assert Run(Path("checkpoints/it")).checkpoints()[-1] == 15
    with pytest.raises(UserError, match="another recipe"):
        run_train_py([*flags, "--continue_train", "--lambda_A", "3"])


def test_the_same_command_continues_a_run_that_started_at_a_later_epoch(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = f"--dataroot {animals} --name it --model cycle_gan {TINY} --epoch_count 2".split()
    assert run_train_py(flags) == 0
    assert Run(Path("checkpoints/it")).checkpoints()[-1] == 5
    capsys.readouterr()
    assert run_train_py([*flags, "--continue_train", "--epoch_count", "3"]) == 0
    printed = capsys.readouterr().out
    assert "--extend" not in printed
    assert "at step 5 of 5\nfinished: open" in printed


def original_run(
    folder: Path, *, blocks: int = 6, **networks: float
) -> dict[str, dict[str, torch.Tensor]]:
    """A run of that tool with pixel discriminators, each network filled with one number."""
    generator = ResNetConfig(width=2, blocks=blocks)
    states = {}
    for name, value in networks.items():
        is_generator = name.startswith("G")
        config = generator if is_generator else PixelGANConfig(width=2)
        layout = Layout(JUNYANZ, config, 3, 3 if is_generator else 0)
        states[name] = {
            layout.names[ours]: torch.full_like(tensor, value)
            for ours, tensor in layout.build().state_dict().items()
        }
        for tag in ("latest", "1"):
            torch.save(states[name], folder / f"{tag}_net_{name}.pth")
    return states


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_continued_reference_run_keeps_its_files(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("checkpoints/old")
    line = (
        f"--dataroot {animals} --name old --model cycle_gan --continue_train --epoch_count "
        f"2 --lr 1e-30 --save_epoch_freq 1 {TINY}"
    )
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="contains no checkpoint of a known tool"):
        run_train_py(line.split())
    states = original_run(folder, G_A=0.01, G_B=0.02, D_A=0.03, D_B=0.04)
    (folder / "train_opt.txt").write_text(f"     direction: {direction}   \n", encoding="utf-8")
    (folder / "loss_log.txt").write_text("earlier lines\n", encoding="utf-8")
    assert run_train_py([*line.split(), "--direction", direction]) == 0
    assert Run(folder).checkpoints()[-1] == 5  # one epoch was left
    for name, before in states.items():
        for tag in ("latest", "1", "2"):
            after = torch.load(folder / f"{tag}_net_{name}.pth", weights_only=True)
            assert all(torch.equal(value, after[key]) for key, value in before.items()), (tag, name)
    log = (folder / "loss_log.txt").read_text(encoding="utf-8")
    assert log.startswith("earlier lines\n=====")
    assert "(epoch: 2, iters: " in log
    # Generators keep their direction if the data is exchanged.
    model = read_networks(folder)["a_to_b"].state["layers.1.weight"]
    assert model.unique().item() == pytest.approx(0.01)


def test_a_continued_run_killed_before_its_first_save_starts_again_from_its_networks(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("checkpoints/old")
    folder.mkdir(parents=True)
    states = original_run(folder, G_A=0.01, G_B=0.02, D_A=0.03, D_B=0.04)
    (folder / "train_opt.txt").write_text("  epoch_count: 1   \n", encoding="utf-8")
    line = (
        f"--dataroot {animals} --name old --model cycle_gan --continue_train --epoch_count "
        f"2 --lr 1e-30 {TINY}"
    )

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transmute.training.train._loop", killed)
        with pytest.raises(KeyboardInterrupt):
            run_train_py(line.split())
    assert Run(folder).was_started()
    assert not Run(folder).checkpoints()
    assert run_train_py(line.split()) == 0
    assert Run(folder).checkpoints()[-1] == 5  # epoch 2 of 2
    after = torch.load(folder / "latest_net_G_A.pth", weights_only=True)
    assert all(torch.equal(value, after[key]) for key, value in states["G_A"].items())


def test_a_single_generator_is_continued(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/one").mkdir(parents=True)
    original_run(Path("checkpoints/one"), G_A=0.01)
    line = f"--dataroot {animals} --name one --model cycle_gan --continue_train --lr 1e-30 {TINY}"
    assert run_train_py(line.split()) == 0
    assert "new: b_to_a, score_a, score_b" in capsys.readouterr().out


def test_epochs_that_are_not_multiples_of_the_batch_have_files(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        f"--dataroot {animals} --name it --model cycle_gan {TINY} --batch_size 2 "
        "--save_epoch_freq 1 --n_epochs 4 --n_epochs_decay 0"
    )
    assert run_train_py(line.split()) == 0
    assert {path.name for path in Path("checkpoints/it").glob("*_net_G_A.pth")} == {
        f"{tag}_net_G_A.pth" for tag in ("latest", 1, 2, 3, 4)
    }


def test_files_by_iteration_count_images(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        f"--dataroot {animals} --name it --model cycle_gan {TINY} --batch_size 2 "
        "--save_by_iter --save_latest_freq 4"
    )
    assert run_train_py(line.split()) == 0
    assert {path.name for path in Path("checkpoints/it").glob("*_net_G_A.pth")} == {
        f"{tag}_net_G_A.pth" for tag in ("latest", "iter_4", "iter_8", "iter_10")
    }


def test_the_log_contains_discriminator_losses_before_halving(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = TINY.replace("18", "16")  # not in the path, which may contain this number
    line = f"--dataroot {pairs} --name p --model pix2pix {tiny} --print_freq 1"
    assert run_train_py(line.split()) == 0
    row = Run(Path("checkpoints/p")).metrics()[-1]
    last = Path("checkpoints/p/loss_log.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert f"D_real: {2 * row['discriminator_real']:.3f}" in last
    assert f"G_L1: {row['l1']:.3f}" in last


LOSS_LINE = re.compile(
    r"\(epoch: \d+, iters: \d+, time: \d+\.\d{3}, data: \d+\.\d{3}\) "
    r"D_A: \d+\.\d{3} G_A: \d+\.\d{3} cycle_A: \d+\.\d{3} idt_A: \d+\.\d{3} "
    r"D_B: \d+\.\d{3} G_B: \d+\.\d{3} cycle_B: \d+\.\d{3} idt_B: \d+\.\d{3} "
)
EPOCH_LINE = re.compile(r"End of epoch \d+ / \d+ \t Time Taken: \d+ sec")


def test_lines_are_printed_and_logged_as_in_the_reference_from_the_first_epoch_on(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    logged_before_a_save: list[str] = []

    def after_save(mirror: Mirror, run: Run, step: int) -> None:
        logged_before_a_save.append((run.folder / "loss_log.txt").read_text(encoding="utf-8"))

    monkeypatch.setattr(Mirror, "after_save", after_save)
    line = f"--dataroot {animals} --name it --model cycle_gan {TINY} --print_freq 2"
    assert run_train_py([*line.split(), "--save_latest_freq", "9"]) == 0
    printed = capsys.readouterr().out.splitlines()
    losses = [line for line in printed if LOSS_LINE.fullmatch(line)]
    assert [line.partition(", time")[0] for line in losses] == [
        f"(epoch: {epoch}, iters: {iters}" for epoch, iters in ((1, 2), (1, 4), (2, 1), (2, 3))
    ] + ["(epoch: 2, iters: 5"]
    ends = [line for line in printed if EPOCH_LINE.fullmatch(line)]
    assert [line.partition(" \t")[0] for line in ends] == [
        "End of epoch 1 / 2",
        "End of epoch 2 / 2",
    ]
    assert printed.index(losses[1]) < printed.index(ends[0]) < printed.index(losses[2])
    assert not any(line.startswith("step ") for line in printed)
    # At the first save, in step 9, all earlier reports are in the log.
    assert [log.splitlines()[1:] for log in logged_before_a_save] == [losses[:4], losses]


def test_a_resumed_run_logs_no_step_twice_and_keeps_the_log_of_the_reference(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"--dataroot {animals} --name it --model cycle_gan {TINY} --print_freq 1"
    flags = [*line.split(), "--save_latest_freq", "3", "--save_epoch_freq", "9"]
    log = Path("checkpoints/it/loss_log.txt")
    log.parent.mkdir(parents=True)
    log.write_text("earlier lines\n", encoding="utf-8")

    def killed(mirror: Mirror, run: Run, step: int) -> None:
        if step == 5:  # after the report of step 5, and the checkpoint of step 3
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "after_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run_train_py(flags)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2 + 5
    assert run_train_py([*flags, "--continue_train"]) == 0
    earlier, header, *lines = log.read_text(encoding="utf-8").splitlines()
    assert (earlier, header[:5]) == ("earlier lines", "=====")
    assert [line.partition(", time")[0] for line in lines] == [
        f"(epoch: {epoch}, iters: {iters}" for epoch in (1, 2) for iters in (1, 2, 3, 4, 5)
    ]


def test_the_last_epoch_ends_if_a_part_of_a_batch_is_left(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"--dataroot {animals} --name it --model cycle_gan {TINY} --batch_size 2"
    flags = [*line.split(), "--save_epoch_freq", "1", "--n_epochs", "2"]
    assert run_train_py(flags) == 0  # 3 epochs of 5 images are 7 steps
    assert capsys.readouterr().out.count("End of epoch ") == 3
    assert Path("checkpoints/it/3_net_G_A.pth").exists()


def test_epochs_are_kept_once_as_files_of_the_reference(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"--dataroot {animals} --name it --model cycle_gan {TINY} --save_epoch_freq 1"
    assert run_train_py([*line.split(), "--n_epochs", "4"]) == 0
    tags = {path.name.split("_")[0] for path in Path("checkpoints/it").glob("*_net_G_A.pth")}
    assert tags == {"latest", "1", "2", "3", "4", "5"}
    run = Run(Path("checkpoints/it"))
    assert run.models() == run.checkpoints() == [20, 25]


def test_the_observer_can_be_sent_to_a_process() -> None:
    mirror = Mirror(parse(["--dataroot", "d"]), num_images=5, first_epoch=2)
    assert pickle.loads(pickle.dumps(mirror)) == mirror


@pytest.mark.parametrize("start", ["new", "networks", "run"])
@pytest.mark.parametrize("name", ["niter", "n_epochs"])
def test_each_epoch_has_the_rate_of_the_reference_in_new_and_continued_runs(
    tmp_path: Path, animals: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, tiny = Path("checkpoints/it"), TINY.partition("--n_epochs")[0]
    command = f"--dataroot {animals} --name it --model cycle_gan {tiny} --print_freq 5".split()
    first = 1
    if start == "networks":
        folder.mkdir(parents=True)
        original_run(folder, G_A=0.01, G_B=0.02, D_A=0.03, D_B=0.04)
        first = 2
        command += ["--continue_train", "--epoch_count", "2"]
    elif start == "run":
        assert run_train_py([*command, f"--{name}", "2", f"--{name}_decay", "0"]) == 0
        command += ["--continue_train"]
    assert run_train_py([*command, f"--{name}", "2", f"--{name}_decay", "2"]) == 0
    shift = 1 if name == "n_epochs" else 0
    expected = [1 - max(0, epoch + shift - 2) / 3 for epoch in range(first, 5)]
    found = [row["rate"] for row in Run(folder).metrics()]
    trained_before = 2 if start == "run" else 0
    assert found[trained_before:] == pytest.approx(expected[trained_before:], abs=1e-12)
    assert len(found) == len(expected)
