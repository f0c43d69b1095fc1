"""`transmute-train` and `transmute-test`: the command lines of pytorch-CycleGAN-and-pix2pix, run as they are written."""

from __future__ import annotations

import shlex
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
    words = _words(options)
    print(f"the same as: transmute train {shlex.join(words)}")
    if line := options.without_effect("training"):
        print(line)

    from transmute.interop.mirror import Mirror

    return train(words, after_save=Mirror(options, _num_pictures(options)))


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


def _words(options: Options) -> list[str]:
    """The flags of `transmute train`."""
    from transmute.recipes import RECIPES, recipe_from

    run, start, from_epoch, extra = Run(options.folder), None, options["epoch_count"], []
    if run.exists() and not options["continue_train"]:
        raise UserError(f"{run.folder} holds a training: add --continue_train to go on with it, or choose another --name")
    if run.exists():
        from_epoch = 1  # the run knows where it stopped
    elif options["continue_train"]:
        start, from_epoch = _their_checkpoint(options), max(1, from_epoch)
    name, changes = recipe_changes(options, from_epoch=from_epoch)
    wanted, base = recipe_from(name, None, changes), RECIPES[name]
    if run.exists():
        before = run.read_json(run.recipe_file)
        now = wanted.model_dump(mode="json")
        extra = ["--extend"] if any(before.get(key) != now[key] for key in ("epochs", "steps", "schedule")) else []
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
    paths = train_words(options, num_pictures=_num_pictures(options))
    return [paths[0], *words, *paths[1:], *(["--from", str(start)] if start else []), *extra]


def _at(values: Any, place: str) -> Any:
    for key in place.split("."):
        values = values[key]
    return values


def _num_pictures(options: Options) -> int | None:
    """Pictures in an epoch, where the data set is there already to be counted."""
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
    if not imported.exists():
        if not options.folder.is_dir():
            raise UserError(f"there is nothing to continue: {options.folder} does not exist; leave out --continue_train, or name the run with --name")
        print("\n".join(import_file(options.folder, imported, epoch=tag)))
    return imported
