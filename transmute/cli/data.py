"""`transmute data`: what one does with pictures before training."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from transmute.cli.parsing import dispatched, parsed
from transmute.cli.pull import pull_data
from transmute.settings import Settings, Size, UserError

if TYPE_CHECKING:
    from transmute.data.arrange import Work

HELP = """usage: transmute data COMMAND ...

Looks at data sets, and makes them.

  transmute data check DIR                    all that is wrong or odd: damaged, doubled, gray, unmatched pictures, ...
  transmute data combine A B --out DIR        pairs of two folders, side by side in one picture each
  transmute data split DIR --out DIR          some pictures held out, the others to train with
  transmute data resize DIR --size N --out DIR    a tree of smaller pictures
  transmute data pull [NAME]                  list published data sets, or fetch one

transmute data COMMAND --help says more."""


class CheckArguments(Settings):
    """Looks at every picture of a data set. Exits with 1 if there are problems from which training or its results would suffer."""

    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None
    """Data set, in any layout that can be trained on."""
    a: Path | None = None
    """Folder of domain a, in place of DIR."""
    b: Path | None = None
    """Folder of domain b."""
    paired: bool = False
    """Pictures of equal name belong together; those side by side in one file always do."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object."""


def check(arguments: list[str]) -> int:
    """Prints what is in a data set and what is wrong with it."""
    given = parsed(CheckArguments, arguments, "data check")

    from transmute.data.doctor import examine

    try:
        found = examine(given.folder, a=given.a, b=given.b, paired=given.paired)
    except UserError as error:  # which speaks of the flags of training
        raise UserError(str(error).replace("--data.", "--")) from None
    problems = sum(finding.level == "problem" for finding in found.findings)
    if given.as_json:
        print(json.dumps({"problems": problems} | asdict(found), indent=2))
        return 1 if problems else 0
    print(found.description)
    width = max(len(part.name) for part in found.parts)
    for part in found.parts:
        print(f"  {part.name:{width}} {part}")
    for finding in found.findings:
        print(f"\n{finding.level}: {finding.what}\n  {finding.advice}")
        rest = [f"... and {finding.count - len(finding.files)} more"] if 0 < len(finding.files) < finding.count else []
        print("".join(f"    {line}\n" for line in finding.files + rest), end="")
    print(f"\n{problems} problems, {len(found.findings) - problems} remarks")
    return 1 if problems else 0


class WriteArguments(Settings, ABC):
    """What all commands that write have in common."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder to write to; what is read stays as it is."""
    overwrite: bool = False
    """Replace pictures that are there."""

    @abstractmethod
    def plan(self) -> Work:
        """What is to be written."""


class CombineArguments(WriteArguments):
    """Joins the pictures of equal name in two folders side by side, a left and b right, as pix2pix takes them; subfolders such as train are kept.

    Written in the format of a where that is lossless (png, bmp, tif, ppm), else as png.
    """

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Folder of domain a."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Folder of domain b."""
    resize: bool = False
    """Resize b to the size of a where they differ, instead of leaving such pairs out."""

    def plan(self) -> Work:
        from transmute.data.arrange import plan_combine

        return plan_combine(self.a, self.b, self.out, resize=self.resize)


class SplitArguments(WriteArguments):
    """Copies a data set without held-out pictures into one that has some: trainA trainB testA testB, or train test of pairs side by side."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Two folders of pictures, in any layout that can be trained on; or, with --paired, side by side pictures."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Share of the pictures to hold out."""
    seed: int = Field(default=0, ge=0)
    """Seed of the choice."""
    paired: bool = False
    """Pictures of equal name stay together."""
    link: bool = False
    """Make hard links instead of copies."""

    def plan(self) -> Work:
        from transmute.data.arrange import plan_split

        return plan_split(self.folder, self.out, share=self.test, seed=self.seed, paired=self.paired, link=self.link)


class ResizeArguments(WriteArguments):
    """Writes a tree of pictures at another size, so that training decodes less; as training sees them, in 8 bits and with white for transparency."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Pictures; their tree and names are kept."""
    size: Annotated[Size, tyro.conf.arg(metavar="N|WxH")]
    """Pixels."""
    mode: Literal["resize", "scale-width", "crop"] = "resize"
    """Resize to the size; make as wide, the height in proportion; or resize until the size is covered and cut out the middle."""

    def plan(self) -> Work:
        from transmute.data.arrange import plan_resize

        return plan_resize(self.folder, self.out, size=self.size, mode=self.mode)


def write(settings: type[WriteArguments], command: str, arguments: list[str]) -> int:
    """Writes pictures, and says at the end which could not be."""
    given = parsed(settings, arguments, command)

    from transmute.data.arrange import carry_out

    work = given.plan()
    problems = carry_out(work, overwrite=given.overwrite)
    print(f"{len(work) - len(problems)} pictures written to {given.out}")
    if problems:
        lines = [*problems, f"{len(problems)} of {len(work)} pictures could not be written"]
        print("\n".join(f"transmute: {line}" for line in lines), file=sys.stderr)
    return 1 if problems else 0


DATA_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "check": check,
    "combine": partial(write, CombineArguments, "data combine"),
    "split": partial(write, SplitArguments, "data split"),
    "resize": partial(write, ResizeArguments, "data resize"),
    "pull": pull_data,
}


def data(arguments: list[str]) -> int:
    """Runs the command that the first word names."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    return dispatched(DATA_COMMANDS, arguments, prefix="data ")
