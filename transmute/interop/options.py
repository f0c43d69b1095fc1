"""The command lines of pytorch-CycleGAN-and-pix2pix (and of CUT) as those of Transmute: nothing is trained here."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from transmute.settings import UserError


@dataclass(frozen=True)
class Option:
    """One option of those tools, as options.csv has it; empty is none.

    Attributes:
        kind: text, int, float, truth (True or False follows), or flag (nothing follows).
        default, test_default: Of train.py; and of test.py, where it is another ("none": it follows from others).
        command: "test" for what train.py does not have.
        old_name: What it was called once.
        model: Those models to which alone it means something.
        idle_in: training or testing, where it does nothing here.
        choices: All that it may be.
    """

    name: str
    kind: str
    default: str
    test_default: str
    command: str
    old_name: str
    model: str
    idle_in: str
    choices: str

    def value(self, *, test: bool) -> Any:
        """The default of a command."""
        text = (self.test_default if test else "") or self.default
        return None if text == "none" or (not text and self.name == "dataroot") else KINDS[self.kind](text)


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise argparse.ArgumentTypeError(f"{word} is neither True nor False")
    return word.lower() in ("true", "yes", "1")


KINDS: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float, "truth": _truth, "flag": _truth}
with Path(__file__).with_name("options.csv").open(encoding="utf-8", newline="") as file:
    OPTIONS = {row["name"]: Option(**row) for row in csv.DictReader(file)}
OF_MODEL: dict[str, dict[str, Any]] = {
    "cycle_gan": {"no_dropout": True},
    "pix2pix": {"norm": "batch", "netG": "unet_256", "dataset_mode": "aligned", "pool_size": 0, "gan_mode": "vanilla"},
    "test": {"dataset_mode": "single"},
    "cut": {"no_dropout": True, "pool_size": 0, "init_type": "xavier", "n_epochs": 200, "n_epochs_decay": 200},
}
OF_MODEL["colorization"] = OF_MODEL["pix2pix"] | {"dataset_mode": "colorization", "input_nc": 1, "output_nc": 2}
FASTCUT = {"nce_idt": False, "lambda_NCE": 10.0, "flip_equivariance": True, "n_epochs": 150, "n_epochs_decay": 50}

OLD_FLAGS: dict[str, tuple[str, Any]] = {
    "no_lsgan": ("gan_mode", "vanilla"),
    "align_data": ("dataset_mode", "aligned"),
    "use_dropout": ("no_dropout", False),
}
OLD_VALUES = {("model", "one_direction_test"): "test", ("lr_policy", "lambda"): "linear", ("CUT_mode", "fastcut"): "FastCUT"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (these flags are those of pytorch-CycleGAN-and-pix2pix; docs/moving.md lists them)")


@dataclass(frozen=True)
class Options:
    """The options of one command.

    Attributes:
        values: All of them, with the model's defaults.
        given: Names of those that were given.
    """

    values: dict[str, Any]
    given: frozenset[str]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def folder(self) -> Path:
        """Where that tool keeps the run."""
        return Path(self["checkpoints_dir"]) / self["name"]

    def without_effect(self, phase: str) -> str | None:
        """A line that names the given options that do nothing here."""
        foreign = {name for name, option in OPTIONS.items() if option.model and self["model"] not in option.model.split()}
        useless = sorted(name for name in self.given if name in foreign or phase in OPTIONS[name].idle_in.split())
        return f"without effect here: {' '.join(f'--{name}' for name in useless)}" if useless else None


def parse(arguments: Sequence[str], *, test: bool = False) -> Options:
    """Reads the flags of train.py, or of test.py; old names, too.

    Raises:
        UserError: If a flag or a value is unknown, or --dataroot is missing.
    """
    known = {name: option for name, option in OPTIONS.items() if test or option.command != "test"}
    parser = _Parser(prog="transmute-test" if test else "transmute-train", argument_default=argparse.SUPPRESS)
    for name, option in known.items():
        names = [f"--{name}"] + ([f"--{option.old_name}"] if option.old_name else [])
        if option.kind == "flag":
            parser.add_argument(*names, dest=name, action="store_true")
        else:
            parser.add_argument(*names, dest=name, type=KINDS[option.kind], metavar="VALUE")
    for flag, (name, value) in OLD_FLAGS.items():
        parser.add_argument(f"--{flag}", dest=name, action="store_const", const=value)
    given = vars(parser.parse_args(list(arguments)))
    given = {name: OLD_VALUES.get((name, value), value) if isinstance(value, str) else value for name, value in given.items()}
    for name, value in given.items():
        choices = known[name].choices.split()
        if choices and value not in choices:
            raise UserError(f"--{name} {value} is not known: choose {' or '.join(choices)}")
    if "dataroot" not in given:
        raise UserError("--dataroot is missing: the folder of the data set")
    defaults = {name: option.value(test=test) for name, option in known.items()}
    if not test and "model" not in given and any(OPTIONS[name].model == "cut" for name in given):
        given["model"] = "cut"  # whose train.py has it as the default
    model = given.get("model", defaults["model"])
    defaults |= OF_MODEL[model] | (FASTCUT if model == "cut" and given.get("CUT_mode") == "FastCUT" else {})
    values: dict[str, Any] = defaults | given
    _require_sensible(values)
    try:
        values["name"] += f"_{values['suffix'].format(**values)}" if values["suffix"] else ""
    except (KeyError, ValueError, IndexError):
        raise UserError(f"--suffix {values['suffix']} names no option: {{model}}_{{netG}}_size{{load_size}} is an example") from None
    return Options(values, frozenset(given))


def _require_sensible(values: dict[str, Any]) -> None:
    """Raises a UserError for values of the right type that make no sense."""
    frequencies = ("save_epoch_freq", "save_latest_freq", "print_freq", "display_freq")
    for name in ("ngf", "ndf", "n_layers_D", "batch_size", "crop_size", "load_size", "max_dataset_size", *frequencies):
        if values.get(name) is not None and not values[name] >= 1:
            raise UserError(f"--{name} {values[name]} should be 1 or more")
    if not 0.01 <= values.get("aspect_ratio", 1) <= 100:
        raise UserError(f"--aspect_ratio {values['aspect_ratio']} should be between 0.01 and 100")
    if not re.fullmatch(r"-1|\d+(,\d+)*,?", values["gpu_ids"]):
        raise UserError(f"--gpu_ids {values['gpu_ids']} should be -1 for the CPU, or numbers with commas between")
    if not values["name"].strip() or ".." in Path(values["name"]).parts or not values["name"].isprintable():
        raise UserError(f"--name {values['name']!r} is no name for a folder under {values['checkpoints_dir']}")
    if values["model"] == "colorization" and values["direction"] == "BtoA":
        raise UserError("--model colorization goes from gray to color only: leave out --direction BtoA")


def recipe_changes(options: Options, *, from_epoch: int = 1) -> tuple[str, dict[str, Any]]:
    """The name of the recipe that these options mean, and what they change in it.

    Args:
        from_epoch: The first epoch that is trained (the tool counts from 1); the rate is what it would be then.

    Raises:
        UserError: If something has no counterpart.
    """
    o = options
    if o["model"] == "test":
        raise UserError("--model test only translates: use transmute-test, or choose cycle_gan, pix2pix, colorization or cut")
    one_way = o["model"] != "cycle_gan"
    name = "fastcut" if (o["model"], o["CUT_mode"]) == ("cut", "FastCUT") else "cyclegan" if o["model"] == "cycle_gan" else str(o["model"])
    norms = (o["normG"], o["normD"]) if name in ("cut", "fastcut") else (o["norm"], o["norm"])
    norm_g, norm_d = ("batch" if norm == "syncbatch" else norm for norm in norms)
    init = {"name": o["init_type"], "gain": o["init_gain"]}
    resnet = o["netG"].startswith("resnet")
    generator = {"width": o["ngf"], "norm": norm_g, "dropout": not o["no_dropout"], "init": init}
    generator |= {"name": "resnet", "blocks": int(o["netG"][7])} if resnet else {"name": "unet", "depth": 7 if o["netG"] == "unet_128" else 8}
    discriminator = {"width": o["ndf"], "norm": norm_d, "init": init, "name": "pixel" if o["netD"] == "pixel" else "patchgan"}
    if o["netD"] != "pixel":
        discriminator["layers"] = o["n_layers_D"] if o["netD"] == "n_layers" else 3
    method: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
    method["adversarial"] = {"lsgan": {"name": "least-squares"}, "wgangp": {"name": "wgan-gp", "penalty": 0.0}}.get(
        o["gan_mode"], {"name": "vanilla"}
    )
    match o["model"]:
        case "cycle_gan":
            method |= {"cycle_a": o["lambda_A"], "cycle_b": o["lambda_B"], "identity": o["lambda_identity"], "history": o["pool_size"]}
        case "pix2pix" | "colorization":
            method["l1"] = o["lambda_L1"]
        case _:
            generator |= {"downsampling": "strided" if o["no_antialias"] else "antialiased"} if resnet else {}
            generator |= {"upsampling": "transposed" if o["no_antialias_up"] else "antialiased"} if resnet else {}
            discriminator |= {"downsampling": generator.get("downsampling", "strided")} if o["netD"] != "pixel" else {}
            method |= {"fool": o["lambda_GAN"], "nce": o["lambda_NCE"], "identity": o["nce_idt"], "flip": o["flip_equivariance"]}
            method |= {"width": o["netF_nc"], "temperature": o["nce_T"], "patches": o["num_patches"]}
            if not re.fullmatch(r"\d+(,\d+)*", o["nce_layers"]):
                raise UserError(f"--nce_layers {o['nce_layers']} should be numbers with commas between: 0,4,8,12,16")
            method["layers"] = tuple(int(layer) for layer in o["nce_layers"].split(","))
    if one_way and o["model"] != "colorization":
        method["direction"] = "b_to_a" if o["direction"] == "BtoA" else "a_to_b"
    epochs = o["n_epochs"] + o["n_epochs_decay"] - from_epoch + 1
    if epochs < 1:
        raise UserError(f"--epoch_count {from_epoch} is after the last epoch, {epochs + from_epoch - 1}: raise --n_epochs or --n_epochs_decay")
    load = o["load_size"]
    changes: dict[str, Any] = {
        "method": method,
        "size": o["crop_size"],
        "batch": o["batch_size"],
        "epochs": epochs,
        "schedule": _schedule(o, epochs, from_epoch),
        "optimizer": {"lr": o["lr"], "beta1": o["beta1"], "beta2": o["beta2"]},
        "preprocess": {
            "mode": o["preprocess"].replace("_", "-"),
            "load_size": None if load == round(o["crop_size"] * 286 / 256) else load,
            "flip": not o["no_flip"],
            "serial": o["serial_batches"],
        },
    }
    if o["model"] == "cut":
        changes["preprocess"]["settled"] = min(1.0, o["n_epochs_decay"] / epochs)
    if o["model"] != "colorization":
        swapped = one_way and o["direction"] == "BtoA"
        changes["preprocess"] |= {"channels_b" if swapped else "channels_a": o["input_nc"], "channels_a" if swapped else "channels_b": o["output_nc"]}
        if not {o["input_nc"], o["output_nc"]} <= {1, 3}:
            raise UserError(f"--input_nc {o['input_nc']} and --output_nc {o['output_nc']}: pictures have 1 or 3 channels here")
    return name, changes


def _schedule(o: Options, epochs: int, from_epoch: int) -> dict[str, Any]:
    """The learning rate by the tool's formulas, from an epoch on."""
    constant = max(0, o["n_epochs"] - from_epoch + 1)
    match o["lr_policy"]:
        case "linear":
            ahead = 1 if from_epoch <= o["n_epochs"] + 1 else from_epoch - o["n_epochs"]
            return {"name": "linear", "decay": (epochs - constant) / epochs, "ahead": ahead}
        case "cosine":
            return {"name": "cosine", "down": o["n_epochs"] / epochs}
        case "step":
            return {"name": "step", "every": min(1.0, o["lr_decay_iters"] / epochs), "factor": 0.1}
    # Its plateau watches a figure that is always 0: after 5 epochs of patience the rate falls to a fifth, every 6 epochs.
    return {"name": "step", "every": min(1.0, 6 / epochs), "factor": 0.2}


def train_words(options: Options, *, num_pictures: int) -> list[str]:
    """The flags of `transmute train` that are no recipe: paths, frequencies (which count pictures there, steps here), devices.

    Args:
        num_pictures: In an epoch, for the frequency that counts epochs.
    """
    o, root = options, Path(options["dataroot"])
    words = [str(root)]
    if o["phase"] != "train":
        if o["model"] in ("pix2pix", "colorization"):
            raise UserError(f"--phase {o['phase']}: training takes pictures from {root / 'train'}; name another --dataroot")
        words = ["--data.a", str(root / f"{o['phase']}A"), "--data.b", str(root / f"{o['phase']}B")]
    words += ["--run", str(o.folder)]
    if o["direction"] == "BtoA" and o["model"] == "cycle_gan":
        words.append("--data.swap")
    if o["max_dataset_size"] != float("inf"):
        words += ["--data.max-pictures", str(int(o["max_dataset_size"]))]
    if "num_threads" in o.given:
        words += ["--data.workers", str(o["num_threads"])]
    for flag, name in (("--report-every", "print_freq"), ("--sample-every", "display_freq"), ("--save-every", "save_latest_freq")):
        words += [flag, str(max(1, round(o[name] / o["batch_size"])))]
    if o["save_by_iter"]:
        words += ["--keep-every", words[-1]]
    else:
        words += ["--keep-every", str(max(1, o["save_epoch_freq"] * num_pictures // o["batch_size"]))]
    devices = [one for one in str(o["gpu_ids"]).split(",") if one.strip()]
    if "-1" in devices:
        words += ["--device", "cpu"]
    elif (count := max(number for number in range(1, len(devices) + 1) if o["batch_size"] % number == 0)) > 1:
        words += ["--devices", str(count)]
        words += ["--sync-batch-norm"] if o["norm"] == "syncbatch" else []
    return words


def flags(value: Any, default: Any, place: str = "") -> list[str]:
    """The flags that make nested settings of their defaults, as `transmute train` takes them."""
    if isinstance(value, dict) and isinstance(default, dict):
        return [word for key in value for word in flags(value[key], default.get(key), f"{place}.{key}" if place else key)]
    if value == default:
        return []
    flag = f"--{place.replace('_', '-')}"
    if isinstance(value, bool):
        head, _, last = flag[2:].rpartition(".")
        return [flag if value else f"--{head}.no-{last}" if head else f"--no-{last}"]
    return [flag, *(str(one) for one in (value if isinstance(value, (list, tuple)) else [value]))]
