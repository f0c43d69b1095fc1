from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.interop.test_importer import tiny_resnet
from transmute.cli.junyanz import run_test_py, run_train_py
from transmute.config.networks import PixelGANConfig, ResNetConfig
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.images import to_tensor
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.layouts import JUNYANZ, Layout
from transmute.interop.options import OPTIONS, parse
from transmute.interop.settings import recipe_changes, recipe_name, train_settings
from transmute.recipes import RECIPES
from transmute.run import Run
from transmute.training.schedule import learning_rate_factor
from transmute.translation.model import ModelCard, read_networks

TINY = (
    "--ngf 2 --ndf 2 --crop_size 16 --load_size 18 --netG resnet_6blocks --netD pixel --gpu_ids -1 "
    "--n_epochs 1 --n_epochs_decay 1"
)


def recipe(line: str, from_epoch: int = 1) -> Recipe:
    options = parse(f"--dataroot d {line}".split())
    return RECIPES[recipe_name(options)].updated(recipe_changes(options, from_epoch=from_epoch))


@pytest.fixture
def pairs(tmp_path: Path, animals: Path) -> Path:
    """Side by side images, 16 px each."""
    for phase in ("train", "test"):
        (tmp_path / "pairs" / phase).mkdir(parents=True)
        for index, (a, b) in enumerate(
            zip(
                sorted((animals / f"{phase}A").iterdir()),
                sorted((animals / f"{phase}B").iterdir()),
                strict=True,
            )
        ):
            both = Image.new("RGB", (32, 16))
            both.paste(Image.open(a), (0, 0))
            both.paste(Image.open(b), (16, 0))
            both.save(tmp_path / "pairs" / phase / f"{index}.png")
    return tmp_path / "pairs"


def test_the_default_flags_of_a_model_are_its_recipe() -> None:
    for model, name in (
        ("cycle_gan", "cyclegan"),
        ("pix2pix", "pix2pix"),
        ("colorization", "colorization"),
        ("cut", "cut"),
    ):
        assert recipe(f"--model {model}") == RECIPES[name], model
    assert recipe("--model cut --CUT_mode FastCUT") == RECIPES["fastcut"]
    assert recipe("--model pix2pix --direction BtoA") == RECIPES["facades"]


def test_earlier_names_mean_the_same_as_new_ones() -> None:
    old = (
        "--model pix2pix --which_direction BtoA --which_model_netG resnet_6blocks "
        "--which_model_netD pixel --loadSize 100 --fineSize 90 --niter 3 "
    )
    old += (
        "--niter_decay 4 --batchSize 2 --resize_or_crop crop --no_lsgan --align_data "
        "--use_dropout --lr_policy lambda"
    )
    new = (
        "--model pix2pix --direction BtoA --netG resnet_6blocks --netD pixel --load_size "
        "100 --crop_size 90 --n_epochs 3 --n_epochs_decay 4 "
    )
    new += (
        "--batch_size 2 --preprocess crop --gan_mode vanilla --dataset_mode aligned "
        "--lr_policy linear"
    )
    assert recipe(old) == recipe(new)
    assert (
        parse(
            ["--dataroot", "d", "--identity", "0.2", "--how_many", "3", "--which_epoch", "5"],
            test=True,
        )["num_test"]
        == 3
    )


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        ("--netG unet_256", "method.generator", {"name": "unet", "depth": 8}),
        ("--netG unet_128", "method.generator", {"name": "unet", "depth": 7}),
        (
            "--netG resnet_6blocks",
            "method.generator",
            {"name": "resnet", "blocks": 6, "dropout": False},
        ),
        (
            "--netD n_layers --n_layers_D 5",
            "method.discriminator",
            {"name": "patchgan", "layers": 5},
        ),
        ("--n_layers_D 5", "method.discriminator", {"layers": 3}),  # counts only with n_layers
        ("--netD pixel --norm batch", "method.discriminator", {"name": "pixel", "norm": "batch"}),
        ("--norm syncbatch", "method.generator", {"norm": "batch"}),
        ("--norm none", "method.generator", {"norm": "none"}),
        ("--gan_mode wgangp", "method.adversarial", {"name": "wgan-gp", "penalty": 0}),
        ("--gan_mode vanilla", "method.adversarial", {"name": "vanilla"}),
        (
            "--init_type orthogonal --init_gain 0.1",
            "method.generator.init",
            {"name": "orthogonal", "gain": 0.1},
        ),
        (
            "--lambda_A 3 --lambda_B 4 --lambda_identity 0 --pool_size 7",
            "method",
            {"cycle_a": 3, "cycle_b": 4, "identity": 0, "history": 7},
        ),
        ("--ngf 32 --ndf 16", "method.discriminator", {"width": 16}),
        ("--input_nc 1 --output_nc 1", "preprocess", {"channels_a": 1, "channels_b": 1}),
        (
            "--model pix2pix --direction BtoA --input_nc 1",
            "preprocess",
            {"channels_a": 3, "channels_b": 1},
        ),
        (
            "--model pix2pix --no_dropout",
            "method.generator",
            {"dropout": False, "name": "unet", "norm": "batch"},
        ),
        (
            "--model pix2pix --netG resnet_9blocks",
            "method.generator",
            {"dropout": True, "name": "resnet", "norm": "batch"},
        ),
        ("--model pix2pix --lambda_L1 5", "method", {"l1": 5}),
        (
            "--preprocess scale_width_and_crop --load_size 1024 --crop_size 360",
            "preprocess",
            {"mode": "scale-width-and-crop", "load_size": "1024x1024"},
        ),
        ("--no_flip --serial_batches", "preprocess", {"flip": False, "sequential": True}),
        ("--lr 0.001 --beta1 0.9", "optimizer", {"lr": 0.001, "beta1": 0.9, "beta2": 0.999}),
        (
            "--model cut --nce_idt False --nce_layers 0,4 --lambda_GAN 2 --netF_nc 8",
            "method",
            {"identity": False, "layers": (0, 4), "gan": 2, "width": 8},
        ),
        (
            "--model cut --no_antialias",
            "method.generator",
            {"downsampling": "strided", "upsampling": "antialiased"},
        ),
    ],
)
def test_each_flag_has_its_meaning(line: str, place: str, value: dict) -> None:
    found = recipe(line).model_dump()
    for key in place.split("."):
        found = found[key]
    assert {key: found[key] for key in value} == value


@pytest.mark.parametrize(
    ("n_epochs", "decay", "from_epoch"),
    [(100, 100, 1), (5, 3, 1), (5, 3, 4), (5, 3, 6), (5, 3, 7), (2, 0, 1), (1, 9, 5)],
)
def test_the_linear_schedule_is_that_of_the_reference_from_any_epoch(
    n_epochs: int, decay: int, from_epoch: int
) -> None:
    ours = recipe(f"--n_epochs {n_epochs} --n_epochs_decay {decay}", from_epoch)
    theirs = [
        1 - max(0, epoch + from_epoch - n_epochs) / (decay + 1)
        for epoch in range(n_epochs + decay - from_epoch + 1)
    ]
    assert [
        learning_rate_factor(ours.schedule, epoch, ours.epochs) for epoch in range(ours.epochs)
    ] == pytest.approx(theirs, abs=1e-12)


def test_the_other_schedules_are_those_of_torch() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for line, scheduler in (
        ("--lr_policy cosine", torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)),
        (
            "--lr_policy step --lr_decay_iters 30",
            torch.optim.lr_scheduler.StepLR(
                torch.optim.SGD([weight], lr=1.0), step_size=30, gamma=0.1
            ),
        ),
    ):
        ours, theirs = recipe(line), []
        for _ in range(200):
            theirs.append(scheduler.get_last_lr()[0])
            scheduler.optimizer.step()
            scheduler.step()
        assert [
            learning_rate_factor(ours.schedule, epoch, 200) for epoch in range(200)
        ] == pytest.approx(theirs, abs=1e-9), line


@pytest.mark.parametrize(
    "line",
    [
        (
            "--model cycle_gan --norm batch --netG unet_128 --netD n_layers --n_layers_D "
            "2 --lr_policy cosine --gan_mode wgangp --no_flip"
        ),
        (
            "--model pix2pix --direction BtoA --netG resnet_6blocks --netD pixel "
            "--no_dropout --lr_policy step --lambda_L1 7 --init_type kaiming"
        ),
        (
            "--model cut --CUT_mode FastCUT --nce_layers 0,4,8 --flip_equivariance False "
            "--nce_idt True --batch_size 2 --preprocess scale_width"
        ),
        "--model colorization --lr 0.1 --lr_policy plateau",
    ],
)
def test_the_printed_command_means_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    animals: Path,
    pairs: Path,
    tmp_path: Path,
    line: str,
) -> None:
    configs: list[TrainConfig] = []
    monkeypatch.setattr(
        "transmute.training.train.train",
        lambda config, after_save, evaluator, show: configs.append(config),
    )
    data = animals if "cycle_gan" in line or "cut" in line else pairs
    run_train_py(
        (
            f"--dataroot {data} --checkpoints_dir {tmp_path}/c --name it --print_freq 10 "
            f"--save_epoch_freq 3 {line}"
        ).split()
    )
    printed = capsys.readouterr().out.splitlines()[0]
    assert printed.startswith("the same as: transmute train ")
    assert configs[0].recipe == recipe(line)
    assert configs[0].run == tmp_path / "c" / "it"
    batch = configs[0].recipe.batch
    assert (configs[0].report_every, configs[0].save_every, configs[0].keep_every) == (
        10 // batch,
        5000 // batch,
        3 * 5 // batch,
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
    log = Path("checkpoints/h2z/loss_log.txt").read_text().splitlines()
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
    page = (images.parent / "index.html").read_text()
    assert all(f'src="images/{path.name}"' in page for path in images.iterdir())
    card = ours["a_to_b"].card
    assert isinstance(card, ModelCard)
    network = card.generator.build(card.in_channels, card.out_channels).eval()
    network.load_state_dict(ours["a_to_b"].state)
    with torch.no_grad():
        expected = network(to_tensor(Image.open(images / f"{stems[0]}_real_A.png")))
    # Half a level of rounding in the file.
    assert (
        to_tensor(Image.open(images / f"{stems[0]}_fake_B.png")) - expected
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
    (folder / "train_opt.txt").write_text(f"     direction: {direction}   \n")
    (folder / "loss_log.txt").write_text("earlier lines\n")
    assert run_train_py([*line.split(), "--direction", direction]) == 0
    assert Run(folder).checkpoints()[-1] == 5  # one epoch was left
    for name, before in states.items():
        for tag in ("latest", "1", "2"):
            after = torch.load(folder / f"{tag}_net_{name}.pth", weights_only=True)
            assert all(torch.equal(value, after[key]) for key, value in before.items()), (tag, name)
    log = (folder / "loss_log.txt").read_text()
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
    (folder / "train_opt.txt").write_text("  epoch_count: 1   \n")
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
    assert Run(folder).exists()
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
    page = Path("results/it/test_latest/index.html").read_text()
    assert 'src="images/a%231%2050%25_real.png"' in page


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--dataroot d --modell pix2pix", "unrecognized arguments: --modell"),
        (
            "--dataroot d --model pix3pix",
            "--model pix3pix is unknown. Choose one of: cycle_gan, pix2pix",
        ),
        ("--model pix2pix", "--dataroot is missing"),
        ("--dataroot d --model test", "--model test only translates. Use transmute-test"),
        ("--dataroot d --input_nc 4", "Images have 1 or 3 channels"),
        ("--dataroot d --n_epochs 1 --n_epochs_decay 1 --epoch_count 9", "after the last epoch"),
        ("--dataroot d --batch_size two", "invalid int value: 'two'"),
        (
            "--dataroot d --model cut --nce_layers 0,x",
            "--nce_layers 0,x should be numbers separated by commas",
        ),
        ("--dataroot d --ngf 0", "--ngf 0 should be 1 or more"),
        ("--dataroot d --save_epoch_freq 0", "--save_epoch_freq 0 should be 1 or more"),
        ("--dataroot d --max_dataset_size nan", "--max_dataset_size nan should be 1 or more"),
        ("--dataroot d --gpu_ids x", "--gpu_ids x should be -1"),
        ("--dataroot d --name ../x", "is not a folder name"),
        ("--dataroot d --suffix {foo}", "--suffix {foo} contains no option"),
        ("--dataroot d --model colorization --direction BtoA", "only translates gray to color"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(line: str, message: str) -> None:
    def read() -> None:
        options = parse(line.split())
        recipe_name(options)
        recipe_changes(options, from_epoch=options["epoch_count"])

    with pytest.raises(UserError, match=message) as error:
        read()
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_error_lists_existing_ones(tmp_path: Path, animals: Path) -> None:
    (tmp_path / "c").mkdir()
    torch.save(tiny_resnet(), tmp_path / "c" / "5_net_G_A.pth")
    with pytest.raises(
        UserError, match=r"there is no .*latest_net_G\.pth: .* contains 5_net_G_A\.pth"
    ):
        run_test_py(f"--dataroot {animals}/testA --checkpoints_dir {tmp_path} --name c".split())


OTHER_VALUES = {
    "model": "pix2pix",
    "CUT_mode": "FastCUT",
    "gpu_ids": "0,1",
    "direction": "BtoA",
    "netG": "unet_128",
    "netD": "pixel",
}
OTHER_VALUES |= {
    "norm": "batch",
    "normG": "batch",
    "normD": "batch",
    "init_type": "xavier",
    "preprocess": "crop",
    "gan_mode": "vanilla",
}
OTHER_VALUES |= {
    "lr_policy": "step",
    "nce_layers": "0,4",
    "input_nc": "1",
    "output_nc": "1",
    "save_epoch_freq": "7",
    "phase": "test",
    "dataset_mode": "aligned",
}
# Read when training continues; netF has only one choice.
ELSEWHERE = {"epoch", "load_iter", "continue_train", "epoch_count", "netF"}


@pytest.mark.parametrize(
    "name",
    sorted(
        {name for name, option in OPTIONS.items() if option.command != "test"}
        - ELSEWHERE
        - {"dataroot"}
    ),
)
def test_an_option_changes_the_command_or_is_named_as_without_effect(name: str) -> None:
    def command(line: str) -> tuple:
        options = parse(f"--dataroot d {line}".split())
        return recipe_name(options), recipe_changes(options), train_settings(options, num_images=10)

    other = {"text": "it", "int": "7", "float": "7", "truth": "False", "flag": ""}
    value = OTHER_VALUES.get(name) or other[OPTIONS[name].kind]
    value = "True" if name == "flip_equivariance" else value
    extra = {
        "n_layers_D": "--netD n_layers",
        "lr_decay_iters": "--lr_policy step",
        "gpu_ids": "--batch_size 2",
    }.get(name, "")
    models = ("cycle_gan", "cut") if name == "phase" else ("cycle_gan", "pix2pix", "cut")
    lines = [f"--model {model} {extra}" for model in models]
    changes = [command(line) != command(f"{line} --{name} {value}") for line in lines]
    assert any(changes) != ("training" in OPTIONS[name].idle_in)


def test_a_flag_that_only_cut_has_implies_cut() -> None:
    assert parse(["--dataroot", "d", "--CUT_mode", "FastCUT"])["model"] == "cut"
    assert (
        parse(["--dataroot", "d", "--CUT_mode", "FastCUT", "--model", "cycle_gan"])["model"]
        == "cycle_gan"
    )
    assert parse(["--dataroot", "d"])["model"] == "cycle_gan"


def test_a_cyclegan_from_b_to_a_exchanges_its_data() -> None:
    for model, swap in (("cycle_gan", True), ("pix2pix", False)):
        options = parse(["--dataroot", "d", "--direction", "BtoA", "--model", model])
        assert train_settings(options, num_images=5)["data"].swap is swap


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
    line = f"--dataroot {pairs} --name p --model pix2pix {TINY} --print_freq 1".replace("18", "16")
    assert run_train_py(line.split()) == 0
    row = Run(Path("checkpoints/p")).metrics()[-1]
    last = Path("checkpoints/p/loss_log.txt").read_text().splitlines()[-1]
    assert f"D_real: {2 * row['discriminator_real']:.3f}" in last
    assert f"G_L1: {row['l1']:.3f}" in last
