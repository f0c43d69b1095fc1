"""`transmute import`, `export`, `pull` and `data pull`: models and data sets of other tools."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from transmute.cli.parsing import Command, as_flags
from transmute.config.base import Argument
from transmute.download import download
from transmute.errors import UserError
from transmute.interop.published import DATA_SETS, MODELS, Published, find

_COLUMNS = "{:41} {:9} {:20} {:26} {}"
"""Columns of the list of published files."""


class ImportCommand(Command):
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

    def execute(self) -> None:
        from transmute.interop.importer import import_weights

        print(*map(as_flags, import_weights(**dict(self))), sep="\n")


class ExportCommand(Command):
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

    def execute(self) -> None:
        from transmute.interop.exporter import export

        files = export(
            self.path,
            self.out,
            tag=self.tag,
            format=self.format,
            overwrite=self.overwrite,
        )
        print(*files, sep="\n")


class DownloadCommand(Command):
    """Base of the commands that list and download published files."""

    name: Annotated[str | None, Argument("NAME|URL", positional=True)] = None
    """Name in the list of published files, or URL. If omitted, the list is printed."""
    out: Annotated[Path | None, Argument("PATH")] = None
    """File or folder to write. If omitted, NAME in the folder models, or in data for data sets. The
    download is kept in ~/.cache/transmute, or in the folder set by the environment variable
    TRANSMUTE_HOME. TRANSMUTE_MIRROR=URL replaces the scheme and host of the URLs. Without a network
    connection, the error says which file to download and where to put it."""

    def downloaded(
        self, published: dict[str, Published], folder: Path
    ) -> tuple[Published, Path, Path] | None:
        """Prints the license of a file and downloads it. Without a name, lists the files instead.

        Args:
            published: The files by name.
            folder: Folder of the results by default.

        Returns:
            The file, the path to which it was downloaded, and the path of the result.

        Raises:
            UserError: If the result exists, or the download fails.
        """
        if self.name is None:
            print(_COLUMNS.format("name", "content", "direction", "from", "license"))
            for file in published.values():
                direction = f"{file.source} to {file.target}" if file.source else ""
                host = file.url.split("/")[2]
                print(_COLUMNS.format(file.name, file.holds, direction, host, file.terms))
            return None
        chosen = find(self.name, published)
        out = self.out or folder / chosen.title
        for result in (out, out.with_name(f"{out.name}.safetensors")):
            if result.exists():
                raise UserError(f"{result} exists. Remove it, or choose another `out`")
        print(f"{chosen.url} (license: {chosen.terms})", file=sys.stderr)
        return chosen, download(chosen.url, chosen.path, sha256=chosen.digest), out


class PullCommand(DownloadCommand):
    """Downloads a published model and imports it."""

    def execute(self) -> None:
        if downloaded := self.downloaded(MODELS, Path("models")):
            from transmute.interop.importer import import_weights

            model, path, out = downloaded
            lines = import_weights(
                path,
                out,
                source=model.source or None,
                target=model.target or None,
                # The published U-Nets have always been used with each image's own batch statistics.
                per_image_statistics=model.holds == "unet-256" or None,
            )
            print(*map(as_flags, lines), sep="\n")


class PullDataCommand(DownloadCommand):
    """Downloads a published data set and unpacks it."""

    def execute(self) -> None:
        if downloaded := self.downloaded(DATA_SETS, Path("data")):
            from transmute.interop.archives import unpack

            _, path, out = downloaded
            print(f"{out}: {unpack(path, out)} files (the archive is kept: {path})")
