from __future__ import annotations

import pytest

from tests.interop.test_settings import recipe
from transmute.errors import UserError
from transmute.interop.options import OPTIONS, parse
from transmute.interop.settings import recipe_changes, recipe_name, train_settings


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
    # Except that versions with the new names change the learning rate earlier.
    assert recipe(old).updated({"schedule": {"early": 1}}) == recipe(new)
    assert (
        parse(
            ["--dataroot", "d", "--identity", "0.2", "--how_many", "3", "--which_epoch", "5"],
            test=True,
        )["num_test"]
        == 3
    )


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
        {name for name, option in OPTIONS.items() if option.group != "test"}
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
