"""`transmute data`: checks and writes data sets."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transmute.cli.models import pull_data
from transmute.cli.parsing import as_flags, dispatch, parse
from transmute.config.base import Argument, Settings, Size
from transmute.errors import shortened

HELP = """usage: transmute data COMMAND ...

Checks and writes data sets.

  transmute data check DIR                    find damaged, duplicate or unpaired images
  transmute data combine A B --out DIR        join pairs of images side by side
  transmute data split DIR --out DIR          hold out images for evaluation
  transmute data resize DIR --size N --out DIR
                                              write smaller images
  transmute data pull [NAME]                  list or download data sets

transmute data COMMAND --help lists a command's flags."""

_OTHER_COMMANDS = {
    "split": "transmute data split",
    "resize.mode": "transmute data resize --mode",
    "combine.resize": "transmute data combine --resize",
}
"""The flags that the advice of `data check` suggests, by setting."""


class CheckArguments(Settings):
    """Checks every image of a data set. Exits with 1 if there are problems that harm training or
    its evaluation."""

    folder: Annotated[Path | None, Argument("DIR", positional=True)] = None
    """Data set, in any layout that `transmute train` accepts."""
    a: Path | None = None
    """Folder of domain a, instead of DIR."""
    b: Path | None = None
    """Folder of domain b."""
    paired: bool = False
    """Match the images of the two folders by name. Side-by-side images are always paired."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print one JSON object."""


def check(arguments: list[str]) -> int:
    """Prints what a data set contains and what is wrong with it."""
    config = parse(CheckArguments, arguments, "data check")

    from transmute.data.audit import audit

    result = audit(config.folder, a=config.a, b=config.b, paired=config.paired)
    problems = sum(finding.level == "problem" for finding in result.findings)
    if config.as_json:
        values = {
            "problems": problems,
            "description": result.description,
            "subsets": [subset.summary() for subset in result.subsets],
            "findings": [
                {**asdict(finding), "count": len(finding.files)} for finding in result.findings
            ],
        }
        print(json.dumps(values, indent=2))
    else:
        print(result.description)
        width = max(len(subset.name) for subset in result.subsets)
        sys.stdout.writelines(f"  {subset.name:{width}} {subset}\n" for subset in result.subsets)
        for finding in result.findings:
            lines = [as_flags(finding.advice, _OTHER_COMMANDS), *shortened(finding.files, 10)]
            print(f"\n{finding.level}: {finding.message}", *lines, sep="\n  ")
        print(f"\n{problems} problems, {len(result.findings) - problems} remarks")
    return min(problems, 1)


class WriteArguments(Settings):
    """Settings of all commands that write images."""

    out: Annotated[Path, Argument("DIR")]
    """Folder to write to. Inputs are not changed."""
    overwrite: bool = False
    """Replace existing images."""


class CombineArguments(WriteArguments):
    """Joins images with matching names in two folders side by side (a left, b right), as for
    pix2pix. Subfolders such as train are kept.

    The format is that of a if it is lossless (png, bmp, tif, ppm), else png.
    """

    a: Annotated[Path, Argument("A", positional=True)]
    """Folder of domain a."""
    b: Annotated[Path, Argument("B", positional=True)]
    """Folder of domain b."""
    resize: bool = False
    """Resize b to the size of a where they differ. By default, such pairs are skipped."""


class SplitArguments(WriteArguments):
    """Copies a data set and holds out some of its images. The copy has the folders trainA, trainB,
    testA and testB, or train and test for side-by-side images."""

    folder: Annotated[Path, Argument("DIR", positional=True)]
    """Two folders of images, in any layout that `transmute train` accepts. With `paired`, also
    side-by-side images."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the images to hold out."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random choice."""
    paired: bool = False
    """Hold out both images of each pair."""
    link: bool = False
    """Make hard links instead of copies."""


class ResizeArguments(WriteArguments):
    """Resizes all images of a folder, which makes training faster. The written images have 8 bits
    per channel and a white background instead of transparent pixels, as in training."""

    folder: Annotated[Path, Argument("DIR", positional=True)]
    """Folder of images. Subfolders and names are kept."""
    size: Annotated[Size, Argument("N|WxH")]
    """Size in pixels."""
    mode: Literal["resize", "scale-width", "crop"] = "resize"
    """resize: resize to `size`. scale-width: resize to the width of `size`, keeping proportions.
    crop: keep proportions, cover `size`, and crop the center."""


def write(settings: type[WriteArguments], command: str, arguments: list[str]) -> int:
    """Writes images, and reports those that could not be written."""
    config = parse(settings, arguments, command)

    from transmute.data.arrange import execute, plan_combine, plan_resize, plan_split

    plans = {"data combine": plan_combine, "data split": plan_split, "data resize": plan_resize}
    plan = plans[command](**config.model_dump(exclude={"overwrite"}))
    problems = execute(plan, overwrite=config.overwrite)
    print(f"{len(plan) - len(problems)} images written to {config.out}")
    if problems:
        problems.append(f"{len(problems)} of {len(plan)} images could not be written")
        print("\n".join(f"transmute: {line}" for line in problems), file=sys.stderr)
    return 1 if problems else 0


DATA_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "check": check,
    "combine": partial(write, CombineArguments, "data combine"),
    "split": partial(write, SplitArguments, "data split"),
    "resize": partial(write, ResizeArguments, "data resize"),
    "pull": pull_data,
}


def data(arguments: list[str]) -> int:
    """Runs the command named by the first argument."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    return dispatch(DATA_COMMANDS, arguments, prefix="data ")
