"""`transmute data`: checks and writes data sets."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from transmute.cli.parsing import Command, as_flags, print_failures, say
from transmute.config.base import Argument, Size
from transmute.config.data import SourceConfig
from transmute.errors import counted, printable, shortened

_OTHER_COMMANDS = {
    "split": "transmute data split",
    "resize.mode": "transmute data resize --mode",
    "combine.resize": "transmute data combine --resize",
}
"""The flags that the advice of `data check` suggests, by setting."""


class CheckCommand(Command):
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
    side_by_side: bool = False
    """Accept side-by-side images of any shape, for training with --data.side-by-side."""
    reader: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Function that reads an image, for training with --data.reader."""
    pages: Literal["all", "first"] = "all"
    """Check all pages and frames of files that have several, or only the first."""
    max_pixels: Annotated[int, Argument("N")] = 1_000_000_000
    """Images with more pixels count as bad."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print one JSON object."""

    def execute(self) -> int:
        from transmute.data.audit import audit

        source = SourceConfig(**self.model_dump(exclude={"folder", "paired", "as_json"}))
        result = audit(self.folder, source, paired=self.paired)
        problems = sum(finding.level == "problem" for finding in result.findings)
        if self.as_json:
            values = {
                "problems": problems,
                "description": result.description,
                "subsets": [subset.summary() for subset in result.subsets],
                "findings": [
                    {**asdict(finding), "count": len(finding.files)} for finding in result.findings
                ],
            }
            print(json.dumps(values, indent=2))
            return min(problems, 1)
        print(printable(result.description))
        names = [printable(subset.name) for subset in result.subsets]
        for name, subset in zip(names, result.subsets, strict=True):
            say(f"  {name:{max(map(len, names))}} {subset}")
        for finding in result.findings:
            advice = as_flags(finding.advice, _OTHER_COMMANDS)
            files = shortened(finding.files, 10 if finding.level == "problem" else 3)
            lines = map(printable, (finding.message, advice, *map(as_flags, files)))
            print(f"\n{finding.level}: ", "\n  ".join(lines), sep="")
        remarks = counted(len(result.findings) - problems, "remark")
        print(f"\n{counted(problems, 'problem')}, {remarks}")
        return min(problems, 1)


class WriteCommand(Command):
    """Base of the commands that write images."""

    out: Annotated[Path, Argument("DIR")]
    """Folder to write to. Inputs are not changed."""
    overwrite: bool = False
    """Replace existing images."""

    def execute(self) -> int:
        from transmute.data.arrange import execute, plan_combine, plan_resize, plan_split

        plans = {CombineCommand: plan_combine, SplitCommand: plan_split, ResizeCommand: plan_resize}
        plan = plans[type(self)](**self.model_dump(exclude={"overwrite"}))
        problems = execute(plan, overwrite=self.overwrite)
        say(f"{counted(len(plan) - len(problems), 'image')} written to {self.out}")
        return print_failures(problems, len(plan), "written")


class CombineCommand(WriteCommand):
    """Joins images with matching names in two folders side by side (a left, b right), as for
    pix2pix. Subfolders such as train are kept.

    Depth, channels, alpha and pages are kept. The format is that of a if it is png, tif or npy.
    dcm, npz and jxl become tif, and all others png.
    """

    a: Annotated[Path, Argument("A", positional=True)]
    """Folder of domain a."""
    b: Annotated[Path, Argument("B", positional=True)]
    """Folder of domain b."""
    resize: bool = False
    """Resize b to the size of a where they differ. By default, such pairs are skipped."""


class SplitCommand(WriteCommand):
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


class ResizeCommand(WriteCommand):
    """Resizes all images of a folder, which makes training faster. Format, depth, channels, alpha,
    pages and metadata are kept. Formats that cannot be written (dcm, npz) become tif."""

    folder: Annotated[Path, Argument("DIR", positional=True)]
    """Folder of images. Subfolders and names are kept."""
    size: Annotated[Size, Argument("N|WxH")]
    """Size in pixels."""
    mode: Literal["resize", "scale-width", "crop"] = "resize"
    """resize: resize to `size`. scale-width: resize to the width of `size`, keeping proportions.
    crop: keep proportions, cover `size`, and crop the center."""
