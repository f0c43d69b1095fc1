"""Transmute's settings for the options of pytorch-CycleGAN-and-pix2pix (and CUT)."""

import math
import re
from pathlib import Path
from typing import Any

from transmute.config.base import flattened, nested
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
    epochs = options["n_epochs"] + options["n_epochs_decay"] - from_epoch + 1
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
    blurs_down = is_cut and is_resnet and not options["no_antialias"]
    blurs_up = is_cut and not options["no_antialias_up"]
    downsampling = {"downsampling": "antialiased" if blurs_down else "strided"}
    resnet = {
        "name": "resnet",
        "blocks": 6 if "6blocks" in options["netG"] else 9,
        "upsampling": "antialiased" if blurs_up else "transposed",
        **downsampling,
    }
    unet = {"name": "unet", "depth": 7 if options["netG"] == "unet_128" else 8}
    layers = options["n_layers_D"] if options["netD"] == "n_layers" else 3
    patchgan = {"name": "patchgan", "layers": layers, **downsampling}
    norms = ("normG", "normD") if is_cut else ("norm", "norm")
    norm_g, norm_d = (options[name].removeprefix("sync") for name in norms)
    method = {
        "generator": resnet if is_resnet else unet,
        "discriminator": {"name": "pixel"} if options["netD"] == "pixel" else patchgan,
    }
    return flattened({"method": method}) | {
        "method.generator.norm": norm_g,
        "method.generator.dropout": not options["no_dropout"],
        "method.discriminator.norm": norm_d,
    }


def _image_settings(options: Options) -> dict[str, Any]:
    load_size, default = options["load_size"], round(options["crop_size"] * 286 / 256)
    is_reversed = options["model"] != "cycle_gan" and options["direction"] == "BtoA"
    a, b = ("output_nc", "input_nc") if is_reversed else ("input_nc", "output_nc")
    is_color = options["model"] == "colorization"
    if not is_color and not {options[a], options[b]} <= {1, 3}:
        raise UserError(
            f"--input_nc {options['input_nc']} and --output_nc {options['output_nc']} are not "
            "supported. Images have 1 or 3 channels here"
        )
    return {
        "preprocess.mode": options["preprocess"].replace("_", "-"),
        "preprocess.load_size": None if load_size == default else load_size,
        "preprocess.flip": not options["no_flip"],
        "preprocess.channels_a": 3 if is_color else options[a],
        "preprocess.channels_b": 3 if is_color else options[b],
    }


def _schedule(options: Options, epochs: int, from_epoch: int) -> dict[str, Any]:
    """The learning rate by the tool's formulas, from an epoch on."""
    n_epochs = options["n_epochs"]
    match options["lr_policy"]:
        case "linear":
            constant = max(0, n_epochs - from_epoch + 1)
            ahead = 1 if from_epoch <= n_epochs + 1 else from_epoch - n_epochs
            return {"name": "linear", "decay": (epochs - constant) / epochs, "ahead": ahead}
        case "cosine":
            return {"name": "cosine", "down": n_epochs / epochs}
        case "step":
            every = min(1.0, options["lr_decay_iters"] / epochs)
            return {"name": "step", "every": every, "factor": 0.1}
    # Its plateau watches a value that is always 0. After 5 epochs of patience, the rate falls to a
    # fifth every 6 epochs.
    return {"name": "step", "every": min(1.0, 6 / epochs), "factor": 0.2}


def train_settings(options: Options, *, num_images: int) -> dict[str, Any]:
    """Settings of a training run besides its recipe: paths, intervals and devices, by full name.

    Intervals count images there and steps here.

    Args:
        options: The options.
        num_images: Images in an epoch.

    Raises:
        UserError: If an option has no counterpart.
    """
    root, phase, batch = Path(options["dataroot"]), options["phase"], options["batch_size"]
    has_domain_folders = phase != "train"
    if has_domain_folders and options["model"] in ("pix2pix", "colorization"):
        raise UserError(
            f"--phase {phase} is not supported by this model: training takes images from "
            f"{root / 'train'}. Pass another --dataroot"
        )
    limit, devices = options["max_dataset_size"], options["gpu_ids"].rstrip(",").split(",")
    num_devices = max(count for count in range(1, len(devices) + 1) if batch % count == 0)
    save_every = max(1, round(options["save_latest_freq"] / batch))
    by_epoch = max(1, options["save_epoch_freq"] * num_images // batch)
    return {
        "folder": None if has_domain_folders else root,
        "run": options.folder,
        "data.a": root / f"{phase}A" if has_domain_folders else None,
        "data.b": root / f"{phase}B" if has_domain_folders else None,
        "data.swap": options["direction"] == "BtoA" and options["model"] == "cycle_gan",
        "data.max_images": int(limit) if math.isfinite(limit) else None,
        "data.workers": options["num_threads"] if "num_threads" in options.given else None,
        "report_every": max(1, round(options["print_freq"] / batch)),
        "sample_every": max(1, round(options["display_freq"] / batch)),
        "save_every": save_every,
        "keep_every": save_every if options["save_by_iter"] else by_epoch,
        "device": "cpu" if "-1" in devices else "auto",
        "devices": num_devices,
        "sync_batch_norm": options["norm"] == "syncbatch" and num_devices > 1,
    }
