"""`transmute-train` and `transmute-test`: command lines of pytorch-CycleGAN-and-pix2pix."""

import shlex
import shutil
import sys
from pathlib import Path

from transmute.cli.junyanz_help import help_text
from transmute.cli.models import pull_command, require_data
from transmute.cli.parsing import (
    as_flags,
    flags_of,
    known_flags,
    print_failures,
    run_and_exit,
    say,
)
from transmute.cli.runs import TrainCommand
from transmute.config.base import Kind
from transmute.config.training import Recipe, TrainConfig
from transmute.errors import UserError, printable
from transmute.interop.options import Options, parse
from transmute.interop.settings import (
    data_source,
    device,
    recipe_changes,
    recipe_name,
    train_settings,
)
from transmute.recipes import RECIPES, with_kinds
from transmute.run import Run

_FLAGS = {"data.side_by_side": "--side_by_side"}
"""Flags of both commands that are not that tool's, by setting."""


def train_main() -> None:
    """Runs `transmute-train` with the flags of train.py, and exits."""
    run_and_exit(lambda: run_train_py(sys.argv[1:]))


def test_main() -> None:
    """Runs `transmute-test` with the flags of test.py, and exits."""
    run_and_exit(lambda: run_test_py(sys.argv[1:]))


def main() -> None:
    """Runs `python -m transmute.cli.junyanz`, followed by train or test and flags, and exits."""
    run_and_exit(lambda: _run_script(sys.argv[1:]))


def _run_script(words: list[str]) -> int:
    commands = {"train": run_train_py, "test": run_test_py}
    if not words or words[0] not in commands:
        raise UserError("usage: python -m transmute.cli.junyanz train|test --dataroot DIR [flags]")
    return commands[words[0]](words[1:])


def run_train_py(arguments: list[str]) -> int:
    """Trains with the flags of train.py.

    Prints the equivalent `transmute train` command. Every checkpoint is also written in the format
    of that tool, and losses are printed in its format.
    """
    options = _options(arguments, "train")

    from transmute.data.layout import recognize
    from transmute.interop.mirror import Mirror

    first_epoch, start = _starting_point(options)
    method = RECIPES[recipe_name(options)].method
    known_flags.set(
        {flag.setting: f"transmute train {flag.name}" for flag in flags_of(TrainConfig())} | _FLAGS
    )
    data = recognize(*data_source(options), paired=method.paired, one_domain=method.one_domain)
    num_images = max(map(len, data.train))
    argv = _train_arguments(options, first_epoch, start, num_images)
    say(f"the same as: transmute train {shlex.join(argv)}")
    status = TrainCommand.parsed(argv, "train").execute(Mirror(options, num_images, first_epoch))
    if status:
        print("transmute-train with the same flags and --continue_train resumes this run")
    return status or 0


def run_test_py(arguments: list[str]) -> int:
    """Translates a test set like test.py, and writes the same results page."""
    options = _options(arguments, "test")
    _require_pretrained(options)
    known_flags.set(_FLAGS)

    from transmute.interop.results import write_results

    page, problems, total = write_results(options, lambda line: print(printable(line)))
    print(f"results: {printable(str(page))}")
    return print_failures(problems, total, "translated")


def _options(arguments: list[str], command: str) -> Options:
    """Parses the flags of train.py or test.py, and prints those without effect."""
    if not arguments:
        print(
            f"usage: transmute-{command} --dataroot DIR [flags of {command}.py of "
            f"pytorch-CycleGAN-and-pix2pix]\ntransmute-{command} --help lists them"
        )
        sys.exit(0)
    if {"-h", "--help"} & set(arguments):
        print(help_text(command))
        sys.exit(0)
    options = parse(arguments, test=command == "test")
    _require_gpu(options)
    if idle := options.without_effect(f"{command}ing"):
        print(f"without effect here: {' '.join(idle)}")
    require_data(Path(options["dataroot"]), paired=options["dataset_mode"] == "aligned")
    return options


def _require_pretrained(options: Options) -> None:
    """Raises an error with the command that downloads a published generator if it is missing."""
    is_unet = options["netG"].startswith("unet")
    command = pull_command(options.folder, paired=is_unet, model=True)
    if (
        command
        and options["model"] in ("test", "pix2pix")
        and options.tag == "latest"
        and not any(options.folder.glob("latest_net_G*.pth"))
    ):
        raise UserError(
            f"there is no {options.folder / 'latest_net_G.pth'}. Download this model: {command}"
        )


def _require_gpu(options: Options) -> None:
    """Raises a UserError if the command names a GPU that cannot be used."""
    from transmute.device import select_device

    try:
        select_device(device(options))
    except UserError as error:
        raise UserError(
            f"--gpu_ids {options['gpu_ids']} is not possible (-1 is the CPU): {error}"
        ) from None


def _starting_point(options: Options) -> tuple[int, Path | None]:
    """Returns the number of the run's first epoch and the path of the initial networks."""
    from transmute.interop.checkpoint import read_options

    run = Run(options.folder)
    has_networks = any(run.folder.glob("*_net_*.pth"))
    if not options["continue_train"]:
        if run.was_started() or has_networks:
            raise UserError(
                f"{run.folder} contains a run. Add --continue_train to resume it, or choose "
                "another --name"
            )
    elif run.checkpoints():
        if options.given & {"epoch", "load_iter"}:
            raise UserError(
                f"{run.folder} resumes from its newest checkpoint. Remove --epoch and --load_iter"
            )
        first_epoch = read_options(run.folder).get("epoch_count", "1")
        return int(first_epoch) if first_epoch.isdecimal() else 1, None
    # A run that was killed before its first checkpoint starts like the first time.
    elif has_networks or not run.was_started():
        return options["epoch_count"], _imported_networks(options)
    return options["epoch_count"], None


def _imported_networks(options: Options) -> Path:
    """Imports the networks of the run (as .pth files) to a folder inside it."""
    from transmute.interop.importer import import_weights

    imported = options.folder / "imported" / options.tag
    if not options.folder.is_dir():
        raise UserError(
            f"there is no run to resume: {options.folder} does not exist. Remove "
            "--continue_train, or choose the run with --name"
        )
    shutil.rmtree(imported.parent, ignore_errors=True)  # of an earlier attempt that failed
    imported.mkdir(parents=True)
    # With BtoA, CycleGAN exchanges the domains of its data, so its networks are not exchanged.
    swap = False if options["model"] == "cycle_gan" else None
    print(
        *map(as_flags, import_weights(options.folder, imported, epoch=options.tag, swap=swap)),
        sep="\n",
    )
    return imported


def _train_arguments(
    options: Options, first_epoch: int, start: Path | None, num_images: int
) -> list[str]:
    """The equivalent arguments of `transmute train`."""
    name, run = recipe_name(options), Run(options.folder)
    recipe = RECIPES[name].updated(recipe_changes(options, from_epoch=first_epoch))
    changed = run.was_started() and bool(recipe.changes_from(run.recipe()))
    settings = train_settings(options, num_images=num_images)
    config = TrainConfig(recipe=recipe, start=start, extend=changed, **settings)
    kinds = dict(sorted(_kinds(recipe).items() - _kinds(RECIPES[name]).items()))
    base = TrainConfig(recipe=with_kinds(RECIPES[name], kinds))
    words = []
    for before, flag in zip(flags_of(base), flags_of(config), strict=True):
        if flag.value != before.value and not isinstance(flag.value, Kind):
            words += [before.name] if before.name.startswith("--") else []
            values = flag.value if isinstance(flag.value, tuple) else [flag.value]
            words += [] if isinstance(flag.value, bool) else map(str, values)
    for setting, kind in {"method": name, **kinds}.items():
        words += [f"--{setting}", kind]
    return words


def _kinds(recipe: Recipe) -> dict[str, str]:
    """The kinds that a recipe chooses, by setting."""
    flags = flags_of(recipe)
    return {flag.setting: flag.value.name for flag in flags if isinstance(flag.value, Kind)}


if __name__ == "__main__":
    main()
