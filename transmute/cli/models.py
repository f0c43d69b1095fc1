"""`transmute import`, `export`, `pull` and `data pull`: models and data sets of other tools."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from transmute.cli.parsing import as_flags, parse
from transmute.config.base import Argument, Settings
from transmute.download import download
from transmute.errors import UserError
from transmute.interop.published import DATA_SETS, MODELS, Published, find

_COLUMNS = "{:41} {:9} {:20} {:26} {}"
"""Columns of the list of published files."""

_DOWNLOADS = (
    "The download is kept in ~/.cache/transmute, or in the folder set by the environment "
    "variable TRANSMUTE_HOME. TRANSMUTE_MIRROR=URL replaces the scheme and host of the URLs. "
    "Without a network connection, the error says which file to download and where to put it."
)
"""Last sentences of the help of `pull` and `data pull`."""


class ImportArguments(Settings):
    """Converts a checkpoint of CycleGAN/pix2pix (junyanz), CUT, PyTorch-GAN or mmgeneration."""

    path: Annotated[Path, Argument("PATH", positional=True)]
    """A .pth file, or the folder of a run with all of its networks."""
    out: Annotated[Path | None, Argument("FILE|DIR")] = None
    """A .safetensors file for one network, or a folder for one or several. If omitted, a name like
    that of PATH, in the working directory."""
    source: str | None = None
    """Name of domain a. If omitted, the name in the checkpoint."""
    target: str | None = None
    """Name of domain b. If omitted, the name in the checkpoint."""
    epoch: str | None = None
    """Which checkpoint in a folder to use, such as latest, 20 or iter_5000. If omitted, latest, or
    else the newest."""
    order: Literal["rgb", "bgr"] | None = None
    """Channel order of the networks. If omitted, bgr for mmgeneration and rgb for all others."""
    per_image_statistics: Annotated[bool | None, Argument("True|False")] = None
    """True normalizes each image with its own batch statistics, as other tools' test scripts do
    without --eval. False uses the running statistics in the checkpoint. If omitted, True if
    train_opt.txt says that the batch size was 1."""


class ExportArguments(Settings):
    """Writes models as files of other tools, the reverse of transmute import."""

    path: Annotated[Path, Argument("RUN|PATH", positional=True)]
    """A run, a model file, or a folder of them."""
    out: Annotated[Path, Argument("DIR")]
    """Output folder, which may exist."""
    format: Literal["junyanz", "safetensors"] = "junyanz"
    """junyanz: files such as latest_net_G_A.pth for pytorch-CycleGAN-and-pix2pix. If the networks
    are antialiased, CUT also reads them. safetensors: copies of the model files."""
    tag: str = "latest"
    """Prefix of the file names: latest, or an epoch."""
    overwrite: bool = False
    """Replace existing files."""


class PullArguments(Settings):
    """Arguments of `transmute pull` and `transmute data pull`."""

    name: Annotated[str | None, Argument("NAME|URL", positional=True)] = None
    """Name in the list of published files, or URL. If omitted, the list is printed."""
    out: Annotated[Path | None, Argument("PATH")] = None
    """File or folder to write. If omitted, NAME in the folder models, or in data for data sets."""


def export_models(arguments: list[str]) -> int:
    """Exports models and prints the files written."""
    settings = parse(ExportArguments, arguments, "export")

    from transmute.interop.exporter import export

    files = export(
        settings.path,
        settings.out,
        format=settings.format,
        tag=settings.tag,
        overwrite=settings.overwrite,
    )
    print(*files, sep="\n")
    return 0


def import_models(arguments: list[str]) -> int:
    """Imports a checkpoint and prints what was recognized."""
    settings = parse(ImportArguments, arguments, "import")

    from transmute.interop.importer import import_weights

    print(*map(as_flags, import_weights(**dict(settings))), sep="\n")
    return 0


def pull(arguments: list[str]) -> int:
    """Downloads a published model and imports it."""

    def imported(model: Published, path: Path, out: Path) -> list[str]:
        from transmute.interop.importer import import_weights

        return import_weights(
            path,
            out,
            source=model.source or None,
            target=model.target or None,
            # The published U-Nets have always been used with each image's own batch statistics.
            per_image_statistics=model.holds == "unet-256" or None,
        )

    return _pull(
        arguments,
        "pull",
        "Downloads a published model and imports it.",
        MODELS,
        Path("models"),
        imported,
    )


def pull_data(arguments: list[str]) -> int:
    """Downloads a published data set and unpacks it."""

    def unpacked(_: Published, path: Path, out: Path) -> list[str]:
        from transmute.interop.archives import unpack

        return [f"{out}: {unpack(path, out)} files (the archive is kept: {path})"]

    return _pull(
        arguments,
        "data pull",
        "Downloads a published data set and unpacks it.",
        DATA_SETS,
        Path("data"),
        unpacked,
    )


def _pull(
    arguments: list[str],
    command: str,
    summary: str,
    published: dict[str, Published],
    folder: Path,
    use: Callable[[Published, Path, Path], list[str]],
) -> int:
    """Lists published files, or prints the license of one and downloads it.

    Args:
        arguments, command: The arguments after the command, and the command.
        summary: First sentence of the help.
        published: The published files by name.
        folder: Folder of the results by default.
        use: Converts or unpacks the downloaded file. It takes the published file, its path and the
            path of the result, and returns lines to print.

    Raises:
        UserError: If the result exists, or the download fails.
    """
    settings = parse(PullArguments, arguments, command, description=f"{summary} {_DOWNLOADS}")
    if settings.name is None:
        print(_COLUMNS.format("name", "content", "direction", "from", "license"))
        for file in published.values():
            direction = f"{file.source} to {file.target}" if file.source else ""
            host = file.url.split("/")[2]
            print(_COLUMNS.format(file.name, file.holds, direction, host, file.terms))
        return 0
    chosen = find(settings.name, published)
    out = settings.out or folder / chosen.title
    for result in (out, out.with_name(f"{out.name}.safetensors")):
        if result.exists():
            raise UserError(f"{result} exists. Remove it, or choose another `out`")
    print(f"{chosen.url} (license: {chosen.terms})", file=sys.stderr)
    path = download(chosen.url, chosen.path, sha256=chosen.digest)
    print(*map(as_flags, use(chosen, path, out)), sep="\n")
    return 0
