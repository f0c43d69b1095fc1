"""The command lines of pytorch-CycleGAN-and-pix2pix (and CUT)."""

import argparse
import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from transmute.errors import UserError


@dataclass(frozen=True)
class Option:
    """An option of those tools: a row of options.csv, in which empty fields do not apply.

    Attributes:
        kind: text, int, float, truth (True or False follows) or flag (nothing follows).
        default: Default in both scripts, unless `TEST_DEFAULTS` has another for test.py.
        group: base, train, test or model: the commands or models that have it.
        old_name: Its earlier name.
        model: The models that read it, if not all do.
        idle_in: training or testing, where it has no effect here.
        choices: All possible values.
        minimum: Smallest value.
        settings: Settings of a recipe that are set to the unchanged value.
        transmute: What `transmute train`, or the named command, has instead.
        meaning: A sentence without a full stop.
    """

    name: str
    kind: str
    default: str
    group: str
    old_name: str
    model: str
    idle_in: str
    choices: str
    minimum: str
    settings: str
    transmute: str
    meaning: str

    def is_idle_in(self, phase: str) -> bool:
        """Whether it has no effect here in training or testing."""
        trains = self.group in ("train", "model")
        return phase in self.idle_in.split() or (trains and phase == "testing")

    def read_by(self, model: str) -> bool:
        """Whether a model reads it."""
        return not self.model or model in self.model.split()


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise argparse.ArgumentTypeError(f"{word} is neither True nor False")
    return word.lower() in ("true", "yes", "1")


KINDS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "int": int,
    "float": float,
    "truth": _truth,
    "flag": _truth,
}
with Path(__file__).with_name("options.csv").open(encoding="utf-8", newline="") as file:
    OPTIONS = {row["name"]: Option(**row) for row in csv.DictReader(file)}

TEST_DEFAULTS = {"model": "test", "phase": "test", "load_size": None}
"""Defaults of test.py that differ from options.csv. Without `load_size`, it is `crop_size`."""
_PIX2PIX_DEFAULTS = {
    "norm": "batch",
    "netG": "unet_256",
    "dataset_mode": "aligned",
    "pool_size": 0,
    "gan_mode": "vanilla",
}
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "cycle_gan": {"no_dropout": True},
    "pix2pix": _PIX2PIX_DEFAULTS,
    "colorization": _PIX2PIX_DEFAULTS
    | {"dataset_mode": "colorization", "input_nc": 1, "output_nc": 2},
    "test": {"dataset_mode": "single"},
    "cut": {
        "no_dropout": True,
        "pool_size": 0,
        "init_type": "xavier",
        "n_epochs": 200,
        "n_epochs_decay": 200,
    },
}
"""Defaults of each model that differ from options.csv."""
FASTCUT_DEFAULTS = {
    "nce_idt": False,
    "lambda_NCE": 10.0,
    "flip_equivariance": True,
    "n_epochs": 150,
    "n_epochs_decay": 50,
}
OLD_FLAGS: dict[str, tuple[str, Any]] = {
    "no_lsgan": ("gan_mode", "vanilla"),
    "align_data": ("dataset_mode", "aligned"),
    "use_dropout": ("no_dropout", False),
}
"""Earlier flags, with the option and value that each of them means."""
OLD_VALUES: dict[tuple[str, str], Any] = {
    ("model", "one_direction_test"): "test",
    ("lr_policy", "lambda"): "linear",
    ("CUT_mode", "fastcut"): "FastCUT",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"{message} (these are the flags of pytorch-CycleGAN-and-pix2pix; --help lists them)"
        )


@dataclass(frozen=True)
class Options:
    """The options of one command.

    Attributes:
        values: All options by name, with the model's defaults.
        given: Names of the options in the command.
        uses_niter: Whether the command has the names --niter or --niter_decay of versions up to
            2020, which change the learning rate at the end of an epoch.
    """

    values: dict[str, Any]
    given: frozenset[str]
    uses_niter: bool

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def folder(self) -> Path:
        """The folder in which that tool keeps the run."""
        return Path(self["checkpoints_dir"]) / self["name"]

    @property
    def num_epochs(self) -> int:
        """Number of the last epoch."""
        return self["n_epochs"] + self["n_epochs_decay"]

    @property
    def tag(self) -> str:
        """Beginning of the names of the files to read."""
        return f"iter_{self['load_iter']}" if self["load_iter"] else self["epoch"]

    def without_effect(self, phase: str) -> list[str]:
        """The flags in the command that have no effect here.

        Args:
            phase: training or testing.
        """
        return [
            f"--{name}"
            for name in sorted(self.given)
            if OPTIONS[name].is_idle_in(phase) or not OPTIONS[name].read_by(self["model"])
        ]


def parse(arguments: Sequence[str], *, test: bool = False) -> Options:
    """Parses the flags of train.py or test.py, including their earlier names.

    Raises:
        UserError: If a flag or a value is unknown, or --dataroot is missing.
    """
    known = {name: option for name, option in OPTIONS.items() if test or option.group != "test"}
    given: dict[str, Any] = vars(_parser(known).parse_args(list(arguments)))
    for name, value in given.items():
        given[name] = value = OLD_VALUES.get((name, str(value)), value)
        choices, minimum = known[name].choices.split(), known[name].minimum
        if choices and value not in choices:
            raise UserError(f"--{name} {value} is unknown. Choose one of: {', '.join(choices)}")
        if minimum and not value >= float(minimum):
            raise UserError(f"--{name} {value} should be {minimum} or more")
    # In CUT's train.py, cut is the default model.
    if not test and "model" not in given and any(OPTIONS[name].model == "cut" for name in given):
        given["model"] = "cut"
    values = {name: KINDS[option.kind](option.default) for name, option in known.items()}
    values |= (TEST_DEFAULTS if test else {}) | given
    is_fastcut = values["model"] == "cut" and values["CUT_mode"] == "FastCUT"
    values |= MODEL_DEFAULTS[values["model"]] | (FASTCUT_DEFAULTS if is_fastcut else {}) | given
    _require_consistent(values)
    if values["suffix"]:
        try:
            values["name"] += f"_{values['suffix'].format(**values)}"
        except (KeyError, ValueError, IndexError):
            raise UserError(
                f"--suffix {values['suffix']} contains no option. An example is "
                "{model}_{netG}_size{load_size}"
            ) from None
    uses_niter = any(word.startswith("--niter") for word in arguments)
    return Options(values, frozenset(given), uses_niter)


def _parser(options: Mapping[str, Option]) -> argparse.ArgumentParser:
    parser = _Parser(argument_default=argparse.SUPPRESS, add_help=False)
    for name, option in options.items():
        names = [f"--{known}" for known in (name, option.old_name) if known]
        value: dict[str, Any] = (
            {"action": "store_true"} if option.kind == "flag" else {"type": KINDS[option.kind]}
        )
        parser.add_argument(*names, dest=name, **value)
    for flag, (name, value) in OLD_FLAGS.items():
        parser.add_argument(f"--{flag}", dest=name, action="store_const", const=value)
    return parser


def _require_consistent(values: dict[str, Any]) -> None:
    """Raises a UserError for values that make no sense."""
    name, ratio, gpus = values["name"], values.get("aspect_ratio", 1), values["gpu_ids"]
    is_path = not name.strip() or ".." in Path(name).parts or not name.isprintable()
    problems = {
        "--dataroot is missing. It is the folder of the data set": not values["dataroot"],
        f"--aspect_ratio {ratio} should be between 0.01 and 100": not 0.01 <= ratio <= 100,
        f"--gpu_ids {gpus} should be -1 for the CPU, or numbers separated by commas": (
            not re.fullmatch(r"-1|\d+(,\d+)*,?", gpus)
        ),
        f"--name {name!r} is not a folder name in {values['checkpoints_dir']}": is_path,
        "--model colorization only translates gray to color. Remove --direction BtoA": (
            values["model"] == "colorization" and values["direction"] == "BtoA"
        ),
    }
    for problem, applies in problems.items():
        if applies:
            raise UserError(problem)
