"""`transmute-train` and `transmute-test`: the command lines of pytorch-CycleGAN-and-pix2pix, run as they are written."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from transmute.cli.parsing import finished
from transmute.cli.train import kinds, nested, train
from transmute.interop.options import Options, flags, parse, recipe_changes, train_words
from transmute.run import Run
from transmute.settings import UserError


def train_main() -> None:
    """Runs `transmute-train` with the flags of train.py, and exits."""
    finished(lambda: train_as_they_do(sys.argv[1:]))


def test_main() -> None:
    """Runs `transmute-test` with the flags of test.py, and exits."""
    finished(lambda: test_as_they_do(sys.argv[1:]))


def train_as_they_do(arguments: list[str]) -> int:
    """Says which Transmute command the flags of train.py mean, and runs it; what it saves is also written as that tool's files."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: transmute-train --dataroot DIR [flags of train.py of pytorch-CycleGAN-and-pix2pix; docs/moving.md lists them]")
        return 0
    options = parse(arguments)
    first_epoch, start = _beginning(options)
    num_pictures = _num_pictures(options)
    words = _words(options, first_epoch, start, num_pictures)
    print(f"the same as: transmute train {shlex.join(words)}")
    if line := options.without_effect("training"):
        print(line)

    from transmute.interop.mirror import Mirror

    status = train(words, after_save=Mirror(options, num_pictures, first_epoch))
    if status:
        print("with your flags and --continue_train, transmute-train goes on, too")
    return status


def test_as_they_do(arguments: list[str]) -> int:
    """Translates as test.py does, and writes its page of results."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: transmute-test --dataroot DIR --name NAME [flags of test.py of pytorch-CycleGAN-and-pix2pix; docs/moving.md lists them]")
        return 0
    options = parse(arguments, test=True)
    if line := options.without_effect("testing"):
        print(line)

    from transmute.interop.results import write_results

    print(f"results: {write_results(options, print)}")
    return 0


def _beginning(options: Options) -> tuple[int, Path | None]:
    """The number of the run's first epoch, and the networks of that tool from which it starts."""
    from transmute.interop.checkpoint import run_options

    run = Run(options.folder)
    if not options["continue_train"]:
        if run.exists() or list(run.folder.glob("*_net_*.pth")):
            raise UserError(f"{run.folder} holds a training: add --continue_train to go on with it, or choose another --name")
        return options["epoch_count"], None
    if run.checkpoints() and options.given & {"epoch", "load_iter"}:
        raise UserError(f"{run.folder} goes on from its newest checkpoint: leave out --epoch and --load_iter")
    if run.checkpoints():  # it knows where it stopped, and was told where it began
        begun = run_options(run.folder).get("epoch_count", "1")
        return int(begun) if begun.isdecimal() else 1, None
    # A run that was killed before its first checkpoint begins again as it began.
    anew = run.exists() and not list(run.folder.glob("*_net_*.pth"))
    return options["epoch_count"], None if anew else _their_checkpoint(options)


def _words(options: Options, first_epoch: int, start: Path | None, num_pictures: int) -> list[str]:
    """The flags of `transmute train`."""
    from transmute.recipes import RECIPES, recipe_from

    run = Run(options.folder)
    name, changes = recipe_changes(options, from_epoch=first_epoch)
    wanted, base = recipe_from(name, None, changes), RECIPES[name]
    extra = ["--extend"] if run.exists() and run.read_json(run.recipe_file) != wanted.model_dump(mode="json") else []
    words: list[str] = ["--method", name]
    changed = True
    while changed:
        changed = False
        for place in kinds(base.model_dump()):
            kind = str(_at(wanted.model_dump(), place)["name"])
            if kind != _at(base.model_dump(), place)["name"]:
                base, changed = recipe_from(name, changes=nested(base.model_dump(), place, kind)), True
                words += [f"--{place}", kind]
                break
    words += flags(wanted.model_dump(), base.model_dump())
    paths = train_words(options, num_pictures=num_pictures)
    return [*paths, *words, *(["--from", str(start)] if start else []), *extra]


def _at(values: Any, place: str) -> Any:
    for key in place.split("."):
        values = values[key]
    return values


def _num_pictures(options: Options) -> int:
    """Pictures in an epoch."""
    from transmute.data.config import SourceConfig
    from transmute.data.layout import recognize
    from transmute.recipes import RECIPES

    method = RECIPES["cyclegan" if options["model"] == "cycle_gan" else str(options["model"])].method
    root, phase = Path(options["dataroot"]), options["phase"]
    source = SourceConfig() if phase == "train" else SourceConfig(a=root / f"{phase}A", b=root / f"{phase}B")
    data = recognize(root if phase == "train" else None, source, paired=method.paired, one_domain=method.one_domain)
    count = max(len(side) for side in data.train)
    return int(min(count, options["max_dataset_size"]))


def _their_checkpoint(options: Options) -> Path:
    """The networks of a run of that tool, imported beside it."""
    from transmute.interop.importer import import_file

    tag = f"iter_{options['load_iter']}" if options["load_iter"] else options["epoch"]
    imported = options.folder / "imported" / tag
    if not options.folder.is_dir():
        raise UserError(f"there is nothing to continue: {options.folder} does not exist; leave out --continue_train, or name the run with --name")
    shutil.rmtree(imported.parent, ignore_errors=True)  # of an attempt that came to nothing
    # A CycleGAN from B to A has its data exchanged; its networks keep their roles.
    print("\n".join(import_file(options.folder, imported, epoch=tag, swap=False if options["model"] == "cycle_gan" else None)))
    return imported if imported.exists() else imported.with_name(f"{tag}.safetensors")
