"""`transmute import`, `export`, `pull` and `data pull`: models and data sets of other tools."""

import shlex
import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from transmute.cli.parsing import Command, as_flags, say
from transmute.config.base import Argument
from transmute.download import download
from transmute.errors import UserError, counted
from transmute.interop.published import DATA_SETS, MODELS, Published, find

_PRETRAINED = "checkpoints/{}_pretrained"
"""Folder of a published model in pytorch-CycleGAN-and-pix2pix, with {} for its title."""
_GENERATORS = {
    name: model for name, model in MODELS.items() if name.startswith(("cyclegan/", "pix2pix/"))
}
"""The published models of pytorch-CycleGAN-and-pix2pix."""


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

        say("\n".join(map(as_flags, import_weights(**dict(self)))))


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
        say("\n".join(map(str, files)))


class DownloadCommand(Command):
    """Base of the commands that list and download published files."""

    name: Annotated[str | None, Argument("NAME|URL", positional=True)] = None
    """Name in the list of published files, or URL. If omitted, the list is printed."""
    out: Annotated[Path | None, Argument("PATH")] = None
    """File or folder to write. If omitted, models/NAME (checkpoints/NAME_pretrained with --format
    junyanz) for models, and datasets/NAME for data sets if there is a folder datasets, else
    data/NAME. The download is kept in ~/.cache/transmute, or in the folder set by the environment
    variable TRANSMUTE_HOME. TRANSMUTE_MIRROR=URL replaces the scheme and host of the URLs. Without
    a network connection, the error says which file to download and where to put it."""

    def downloaded(
        self,
        published: dict[str, Published],
        default: str,
        endings: tuple[str, ...] = ("", ".safetensors"),
    ) -> tuple[Published, Path, Path] | None:
        """Prints the license of a file and downloads it. Without a name, lists the files instead.

        Args:
            published: The files by name.
            default: Path of the result by default, with {} for the title.
            endings: Added to the path of the result, these are the paths that must not exist.

        Returns:
            The file, the path to which it was downloaded, and the path of the result.

        Raises:
            UserError: If the result exists, or the download fails.
        """
        if self.name is None:
            for source, files in groupby(published.values(), _source):
                print(f"{source}:")
                for file in files:
                    direction = f"{file.source} to {file.target}" if file.source else ""
                    width = 18 if direction else 0
                    images = file.images or "unknown images"
                    print(f"  {file.name:39} {direction:{width}} {images}")
            return None
        chosen = find(self.name, published)
        out = self.out or Path(default.format(chosen.title))
        for result in (Path(f"{out}{ending}") for ending in endings):
            if result.exists():
                raise UserError(f"{result} exists. Remove it, or choose another `out`")
        print(f"{chosen.url} -> {out} (license: {chosen.terms})", file=sys.stderr)
        return chosen, download(chosen.url, chosen.path, sha256=chosen.digest), out


class PullCommand(DownloadCommand):
    """Downloads a published model and imports it."""

    format: Literal["safetensors", "junyanz"] = "safetensors"
    """safetensors: model files. junyanz: the downloaded file itself, as latest_net_G.pth in a
    folder where transmute-test and pytorch-CycleGAN-and-pix2pix find it."""

    def execute(self) -> None:
        if self.format == "junyanz":
            if downloaded := self.downloaded(_GENERATORS, _PRETRAINED, ("/latest_net_G.pth",)):
                from transmute.interop.exporter import copy_generator

                say(copy_generator(*downloaded[1:]))
        elif downloaded := self.downloaded(MODELS, "models/{}"):
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
            say("\n".join(map(as_flags, lines)))


class PullDataCommand(DownloadCommand):
    """Downloads a published data set and unpacks it."""

    def execute(self) -> None:
        if downloaded := self.downloaded(DATA_SETS, _data_folder()):
            from transmute.interop.archives import unpack

            _, path, out = downloaded
            say(f"{out}: {counted(unpack(path, out), 'file')} (the archive is kept: {path})")


def _data_folder() -> str:
    """Folder of a data set, with {} for its title: in datasets, where other tools keep them."""
    return "datasets/{}" if Path("datasets").is_dir() else "data/{}"


def pull_command(folder: Path, *, paired: bool, model: bool = False) -> str | None:
    """The command that downloads the published data set or model of which a folder has the name.

    Args:
        folder: The folder, to which the command downloads: datasets/maps, or
            checkpoints/horse2zebra_pretrained for a model.
        paired: Which of two with the same title to choose: that of pix2pix.
        model: Whether it is a model.

    Returns:
        The command, or None if no data set or model has this name.
    """
    published, default = (_GENERATORS, _PRETRAINED) if model else (DATA_SETS, _data_folder())
    folders = {name: Path(default.format(file.title)) for name, file in published.items()}
    names = [name for name, known in folders.items() if known.name == folder.name]
    if not names:
        return None
    name = names[-1 if paired else 0]
    words = ["transmute", *([] if model else ["data"]), "pull"]
    words += [name if len(names) > 1 else published[name].title]
    words += ["--format", "junyanz"] if model else []
    if folder.resolve() != folders[name].resolve():
        words += ["--out", folder.as_posix()]
    return shlex.join(words)


def require_data(folder: Path, *, paired: bool) -> None:
    """Raises an error with the command that downloads a data set if it is published but missing.

    Args:
        folder: The data set, or a folder in it, such as testA.
        paired: As for `pull_command`.

    Raises:
        UserError: If the folder does not exist, and has the name of a published data set.
    """
    for missing in (folder, folder.parent):
        command = None if missing.exists() else pull_command(missing, paired=paired)
        if command:
            raise UserError(f"there is no folder {missing}. Download this data set: {command}")


def _source(file: Published) -> str:
    """Where a published file comes from, and what it holds."""
    return f"{file.holds} from {file.url.split('/')[2]}, license {file.license or 'unknown'}"
