from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from transmute.cli.junyanz import run_train_py
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError
from transmute.interop.options import parse
from transmute.interop.settings import recipe_changes, recipe_name, train_settings
from transmute.recipes import RECIPES
from transmute.training.schedule import learning_rate_factor


def recipe(line: str, from_epoch: int = 1) -> Recipe:
    options = parse(f"--dataroot d {line}".split())
    return RECIPES[recipe_name(options)].updated(recipe_changes(options, from_epoch=from_epoch))


def test_the_default_flags_of_a_model_are_its_recipe() -> None:
    since_2020 = {"schedule": {"early": 1}}
    for model, name in (
        ("cycle_gan", "cyclegan"),
        ("pix2pix", "pix2pix"),
        ("colorization", "colorization"),
    ):
        assert recipe(f"--model {model} --niter 100") == RECIPES[name], model
        assert recipe(f"--model {model}") == RECIPES[name].updated(since_2020), model
    assert recipe("--model cut") == RECIPES["cut"]
    assert recipe("--model cut --CUT_mode FastCUT") == RECIPES["fastcut"]
    assert recipe("--model pix2pix --direction BtoA --niter_decay 100") == RECIPES["facades"]


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
            {"channels_a": None, "channels_b": 1},
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


def rates(line: str, from_epoch: int = 1) -> list[float]:
    """The factor of the learning rate in each epoch."""
    found = recipe(line, from_epoch)
    return [learning_rate_factor(found.schedule, now, found.epochs) for now in range(found.epochs)]


@pytest.mark.parametrize(
    ("n_epochs", "decay", "from_epoch"),
    [
        (100, 100, 1),
        (5, 3, 1),
        (5, 3, 4),
        (5, 3, 6),
        (5, 3, 7),
        (5, 3, 8),
        (2, 0, 1),
        (1, 9, 5),
        (0, 4, 1),
    ],
)
def test_the_linear_rate_is_that_of_the_generation_whose_names_are_used(
    n_epochs: int, decay: int, from_epoch: int
) -> None:
    def theirs(first: int) -> list[float]:
        epochs = range(1, n_epochs + decay - from_epoch + 2)
        return [
            1 - max(0, first + epoch - 1 + from_epoch - n_epochs) / (decay + 1) for epoch in epochs
        ]

    old, new = theirs(0), theirs(1)  # the rate changes after, or before an epoch
    lengths = f"{n_epochs} --niter_decay {decay}", f"{n_epochs} --n_epochs_decay {decay}"
    assert rates(f"--niter {lengths[0]}", from_epoch) == pytest.approx(old, abs=1e-12)
    assert rates(f"--n_epochs {lengths[0]}", from_epoch) == pytest.approx(old, abs=1e-12)
    assert rates(f"--n_epochs {lengths[1]}", from_epoch) == pytest.approx(new, abs=1e-12)
    assert new[-1] == 0
    # CUT's train.py has the new names, and changes the rate after an epoch.
    assert rates(f"--model cut --n_epochs {lengths[1]}", from_epoch) == pytest.approx(
        old, abs=1e-12
    )


@pytest.mark.parametrize("from_epoch", [1, 40])
@pytest.mark.parametrize(
    "policy", ["cosine", "step", "step --lr_decay_iters 300", "plateau", "plateau --model cut"]
)
def test_the_other_schedules_are_those_of_torch_in_every_epoch(
    policy: str, from_epoch: int
) -> None:
    def theirs(*, before: bool) -> list[float]:
        lr, factors = torch.optim.lr_scheduler, []
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        iters = 300 if "300" in policy else 50
        scheduler = {
            "cosine": lambda: lr.CosineAnnealingLR(optimizer, T_max=100),
            "step": lambda: lr.StepLR(optimizer, step_size=iters, gamma=0.1),
            "plateau": lambda: lr.ReduceLROnPlateau(
                optimizer, factor=0.2, threshold=0.01, patience=5, eps=0
            ),
        }[policy.split()[0]]()
        step = partial(scheduler.step, *([0] if "plateau" in policy else []))
        for _ in range(200 - from_epoch + 1):
            optimizer.step()  # torch warns about a scheduler before it
            if before:
                step()
            factors.append(optimizer.param_groups[0]["lr"])
            if not before:
                step()
        return factors

    line = f"--lr_policy {policy} --n_epochs 100 --n_epochs_decay 100"
    is_cut = "cut" in policy
    assert rates(line, from_epoch) == pytest.approx(theirs(before=not is_cut), abs=1e-9)
    line = line.replace("n_epochs", "niter")
    assert rates(line, from_epoch) == pytest.approx(theirs(before=False), abs=1e-9)


@pytest.mark.parametrize(
    ("line", "device", "devices"),
    [
        ("", "auto", 1),
        ("--gpu_ids 0", "cuda", 1),
        ("--gpu_ids 0,", "cuda", 1),
        ("--gpu_ids 1", "cuda:1", 1),
        ("--gpu_ids 0,1 --batch_size 2", "cuda", 2),
        ("--gpu_ids -1", "cpu", 1),
    ],
)
def test_gpu_ids_choose_the_device(line: str, device: str, devices: int) -> None:
    settings = train_settings(parse(f"--dataroot d {line}".split()), num_images=5)
    assert (settings["device"], settings["devices"]) == (device, devices)


def test_several_gpus_are_the_first_ones() -> None:
    options = parse(["--dataroot", "d", "--gpu_ids", "2,3", "--batch_size", "2"])
    with pytest.raises(UserError, match=r"CUDA_VISIBLE_DEVICES=2,3, and use --gpu_ids 0,1"):
        train_settings(options, num_images=5)


def test_weights_and_biases_is_the_logger_of_transmute() -> None:
    for line, log in (("", ()), ("--use_wandb", ("wandb",))):
        options = parse(f"--dataroot d {line}".split())
        assert train_settings(options, num_images=5)["log"] == log
        assert options.without_effect("training") == []


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
        lambda config, observer, show: configs.append(config),
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


def test_a_cyclegan_from_b_to_a_exchanges_its_data() -> None:
    for model, swap in (("cycle_gan", True), ("pix2pix", False)):
        options = parse(["--dataroot", "d", "--direction", "BtoA", "--model", model])
        assert train_settings(options, num_images=5)["data"].swap is swap
