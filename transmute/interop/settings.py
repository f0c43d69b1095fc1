"""Transmute's settings for the options of pytorch-CycleGAN-and-pix2pix (and CUT)."""

import math
import re
from pathlib import Path
from typing import Any

from transmute.config.base import nested
from transmute.config.data import SourceConfig
from transmute.errors import UserError
from transmute.interop.options import OPTIONS, Options


def recipe_name(options: Options) -> str:
    """The name of the recipe that the model means.

    Raises:
        UserError: If the model cannot be trained.
    """
    model = options["model"]
    if model == "test":
        raise UserError(
            "--model test only translates. Use transmute-test, or choose one of: cycle_gan, "
            "pix2pix, colorization, cut"
        )
    if model == "cut" and options["CUT_mode"] == "FastCUT":
        return "fastcut"
    return {"cycle_gan": "cyclegan"}.get(model, model)


def recipe_changes(options: Options, *, from_epoch: int = 1) -> dict[str, Any]:
    """The nested changes to the recipe `recipe_name(options)` that the options mean.

    Args:
        options: The options.
        from_epoch: The first epoch to train, counted from 1. The learning rate starts at its value
            for that epoch.

    Raises:
        UserError: If an option has no counterpart.
    """
    epochs = options.num_epochs - from_epoch + 1
    if epochs < 1:
        raise UserError(
            f"--epoch_count {from_epoch} is after the last epoch, {epochs + from_epoch - 1}. "
            "Increase --n_epochs or --n_epochs_decay"
        )
    loss = {"lsgan": "least-squares", "wgangp": "wgan-gp"}.get(options["gan_mode"], "vanilla")
    settings: dict[str, Any] = {"epochs": epochs, "method.adversarial.name": loss} | {
        setting: options[name]
        for name, option in OPTIONS.items()
        if option.read_by(options["model"])
        for setting in option.settings.split()
    }
    settings |= _network_settings(options) | _image_settings(options)
    if loss == "wgan-gp":
        settings["method.adversarial.penalty"] = 0.0
    if options["model"] in ("pix2pix", "cut"):
        settings["method.direction"] = "b_to_a" if options["direction"] == "BtoA" else "a_to_b"
    if options["model"] == "cut":
        layers = options["nce_layers"]
        if not re.fullmatch(r"\d+(,\d+)*", layers):
            raise UserError(f"--nce_layers {layers} should be numbers separated by commas: 0,4,8")
        settings["method.layers"] = tuple(map(int, layers.split(",")))
        settings["preprocess.uncropped"] = min(1.0, options["n_epochs_decay"] / epochs)
    return nested(settings) | {"schedule": _schedule(options, epochs, from_epoch)}


def _network_settings(options: Options) -> dict[str, Any]:
    is_resnet, is_cut = options["netG"].startswith("resnet"), options["model"] == "cut"
    down = "antialiased" if is_cut and not options["no_antialias"] else "strided"
    up = "antialiased" if is_cut and not options["no_antialias_up"] else "transposed"
    norm_g, norm_d = ("normG", "normD") if is_cut else ("norm", "norm")
    settings = {
        "method.generator.name": "resnet" if is_resnet else "unet",
        "method.generator.norm": options[norm_g].removeprefix("sync"),
        "method.generator.dropout": not options["no_dropout"],
        "method.discriminator.name": "pixel" if options["netD"] == "pixel" else "patchgan",
        "method.discriminator.norm": options[norm_d].removeprefix("sync"),
    }
    if is_resnet:
        settings["method.generator.blocks"] = 6 if options["netG"] == "resnet_6blocks" else 9
        settings |= {"method.generator.downsampling": down, "method.generator.upsampling": up}
    else:
        settings["method.generator.depth"] = 7 if options["netG"] == "unet_128" else 8
    if options["netD"] != "pixel":
        layers = options["n_layers_D"] if options["netD"] == "n_layers" else 3
        settings |= {
            "method.discriminator.layers": layers,
            "method.discriminator.downsampling": down,
        }
    return settings


def _image_settings(options: Options) -> dict[str, Any]:
    load_size, default = options["load_size"], round(options["crop_size"] * 286 / 256)
    is_reversed = options["model"] != "cycle_gan" and options["direction"] == "BtoA"
    a, b = ("output_nc", "input_nc") if is_reversed else ("input_nc", "output_nc")
    is_color = options["model"] == "colorization"
    return {
        "preprocess.mode": options["preprocess"].replace("_", "-"),
        "preprocess.load_size": None if load_size == default else load_size,
        "preprocess.flip": not options["no_flip"],
        # The default, 3, is what images of 8 bits become here; others keep their channels.
        "preprocess.channels_a": None if is_color or options[a] == 3 else options[a],
        "preprocess.channels_b": None if is_color or options[b] == 3 else options[b],
    }


def _schedule(options: Options, epochs: int, from_epoch: int) -> dict[str, Any]:
    """The learning rate by the tool's formulas, from an epoch on.

    It changes before each epoch, also before the first. In versions with `--niter`, and in CUT, it
    changes after each epoch.
    """
    n_epochs, step_every = options["n_epochs"], options["lr_decay_iters"]
    if options["lr_policy"] == "step" and step_every > epochs:
        return {"name": "constant"}
    early = 0 if options.uses_niter or options["model"] == "cut" else 1
    decay = (epochs - max(0, n_epochs - from_epoch + 1)) / epochs
    schedules = {
        "linear": {"name": "linear", "decay": decay, "ahead": max(1, from_epoch - n_epochs)},
        "cosine": {"name": "cosine", "down": n_epochs / epochs},
        "step": {"name": "step", "every": min(1.0, step_every / epochs), "factor": 0.1},
        # Its plateau watches a value that is always 0. The first change of the rate records it.
        # After 5 epochs of patience, the rate falls to a fifth every 6 epochs.
        "plateau": {
            "name": "step",
            "every": min(1.0, 6 / epochs),
            "factor": 0.2,
            "early": early - 1,
        },
    }
    return {"early": early, **schedules[options["lr_policy"]]}


def device(options: Options) -> str:
    """The device that `--gpu_ids` means. Without it, a GPU is used if there is one.

    Raises:
        UserError: If it means several GPUs other than the first ones.
    """
    gpus = options["gpu_ids"].rstrip(",").split(",")
    if gpus == ["-1"]:
        return "cpu"
    if "gpu_ids" not in options.given:
        return "auto"
    first = [str(number) for number in range(len(gpus))]
    if len(gpus) > 1 and gpus != first:
        raise UserError(
            f"--gpu_ids {options['gpu_ids']} is not possible: several GPUs are always the first "
            f"ones. Set the environment variable CUDA_VISIBLE_DEVICES={','.join(gpus)}, and use "
            f"--gpu_ids {','.join(first)}"
        )
    return "cuda" if gpus[0] == "0" else f"cuda:{int(gpus[0])}"


def data_source(options: Options) -> tuple[Path | None, SourceConfig]:
    """The folder of the data set to train on, if it is not two folders, and how to read it.

    Raises:
        UserError: If the model cannot train on these folders.
    """
    root, phase, limit = Path(options["dataroot"]), options["phase"], options["max_dataset_size"]
    has_domain_folders = phase != "train"
    if has_domain_folders and options["model"] in ("pix2pix", "colorization"):
        raise UserError(
            f"--phase {phase} is not supported by this model: training takes images from "
            f"{root / 'train'}. Pass another --dataroot"
        )
    return None if has_domain_folders else root, SourceConfig(
        a=root / f"{phase}A" if has_domain_folders else None,
        b=root / f"{phase}B" if has_domain_folders else None,
        swap=options["direction"] == "BtoA" and options["model"] == "cycle_gan",
        side_by_side=options["side_by_side"],
        max_images=int(limit) if math.isfinite(limit) else None,
        workers=options["num_threads"] if "num_threads" in options.given else None,
    )


def train_settings(options: Options, *, num_images: int) -> dict[str, Any]:
    """Settings of a training run besides its recipe: paths, intervals and devices.

    Intervals count images there and steps here.

    Args:
        options: The options.
        num_images: Images in an epoch.

    Raises:
        UserError: If an option has no counterpart.
    """
    folder, source = data_source(options)
    batch, devices = options["batch_size"], options["gpu_ids"].rstrip(",").split(",")
    num_devices = max(count for count in range(1, len(devices) + 1) if batch % count == 0)
    save_every = max(1, round(options["save_latest_freq"] / batch))
    by_epoch = max(1, options["save_epoch_freq"] * num_images // batch)
    return {
        "folder": folder,
        "run": options.folder,
        "data": source,
        "report_every": max(1, round(options["print_freq"] / batch)),
        "sample_every": max(1, round(options["display_freq"] / batch)),
        "save_every": save_every,
        "keep_every": save_every if options["save_by_iter"] else by_epoch,
        "log": ("wandb",) if options["use_wandb"] else (),
        "device": device(options),
        "devices": num_devices,
        "sync_batch_norm": options["norm"] == "syncbatch" and num_devices > 1,
    }
