"""`transmute import` and `export`: other tools' weights in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from transmute.cli.parsing import parsed
from transmute.settings import Settings


class ImportArguments(Settings):
    """Turns a checkpoint of CycleGAN/pix2pix (junyanz), CUT, PyTorch-GAN or mmgeneration into model files of Transmute."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A .pth file, or the folder of a run with all its networks."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE|DIR")] = None
    """A .safetensors file for one network, a folder for several; None is named after PATH, in the working directory."""
    source: str | None = None
    """What domain a is called; None takes what the checkpoint says."""
    target: str | None = None
    """What domain b is called."""
    epoch: str | None = None
    """Which checkpoint of a folder: latest, 20, iter_5000; None takes latest, else the newest."""
    order: Literal["rgb", "bgr"] | None = None
    """Colors in which the networks work; None is bgr for mmgeneration and rgb for all others."""
    own_statistics: bool | None = None
    """Translate with each picture's own batch statistics (as those tools' test scripts do without --eval), or with the file's
    running ones; None takes a picture's own where train_opt.txt tells of training with one picture a step."""


class ExportArguments(Settings):
    """Writes models as other tools have them: the way back from `transmute import`."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|PATH")]
    """A run, a model file, or a folder of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder to write to."""
    format: Literal["junyanz", "safetensors"] = "junyanz"
    """junyanz: latest_net_G_A.pth and the like, which CUT takes too where the networks are antialiased; safetensors: copies of the model files."""
    tag: str = "latest"
    """In place of latest: an epoch."""
    overwrite: bool = False
    """Replace files that are there."""


def export_models(arguments: list[str]) -> int:
    """Exports models."""
    given = parsed(ExportArguments, arguments, "export")

    from transmute.interop.exporter import export

    print("\n".join(map(str, export(given.path, given.out, tag=given.tag, plain=given.format == "safetensors", overwrite=given.overwrite))))
    return 0


def import_models(arguments: list[str]) -> int:
    """Imports a checkpoint."""
    given = parsed(ImportArguments, arguments, "import")

    from transmute.interop.importer import import_file

    lines = import_file(
        given.path,
        given.out,
        source=given.source,
        target=given.target,
        epoch=given.epoch,
        order=given.order,
        own_statistics=given.own_statistics,
    )
    print("\n".join(lines))
    return 0
