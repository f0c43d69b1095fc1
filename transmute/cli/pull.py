"""`transmute pull` and `transmute data pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from transmute.cli.parsing import parsed
from transmute.download import download
from transmute.interop.zoo import DATA_SETS, MODELS, Published, find
from transmute.settings import Settings, UserError


class PullArguments(Settings):
    """Fetches a model that others have published and makes a model file of it; without a name, lists the known ones.

    The original is kept in ~/.cache/transmute, or in the folder that the environment variable TRANSMUTE_HOME names. TRANSMUTE_MIRROR=URL
    stands for the scheme and host of the addresses in the list. Where there is no network, the error says which file to put where.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME|URL]")] = None
    """A name of the list, or the address of a generator's file."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE|DIR")] = None
    """Model file to write, or folder where there are several networks; None takes models/NAME."""


def pull(arguments: list[str]) -> int:
    """Fetches a published model and imports it."""
    given = parsed(PullArguments, arguments, "pull")
    if given.name is None:
        _list(MODELS)
        return 0
    model, path, out = _fetched(given.name, MODELS, given.out, Path("models"))

    from transmute.interop.importer import import_file

    own_statistics = model.holds == "unet-256" or None  # their batch norms have always been used with each picture's own
    print("\n".join(import_file(path, out, source=model.source or None, target=model.target or None, own_statistics=own_statistics)))
    return 0


class PullDataArguments(Settings):
    """Fetches a data set that others have published and unpacks it; without a name, lists the known ones.

    The archive is kept in ~/.cache/transmute, or in the folder that the environment variable TRANSMUTE_HOME names. TRANSMUTE_MIRROR=URL
    stands for the scheme and host of the addresses in the list. Where there is no network, the error says which file to put where.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME|URL]")] = None
    """A name of the list, or the address of a zip or tar.gz file."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to make; None takes data/NAME."""


def pull_data(arguments: list[str]) -> int:
    """Fetches a published data set and unpacks it."""
    given = parsed(PullDataArguments, arguments, "data pull")
    if given.name is None:
        _list(DATA_SETS)
        return 0
    _, path, out = _fetched(given.name, DATA_SETS, given.out, Path("data"))

    from transmute.interop.archives import unpack

    print(f"{out}: {unpack(path, out)} files (the archive is kept: {path})")
    return 0


def _fetched(name: str, table: dict[str, Published], out: Path | None, folder: Path) -> tuple[Published, Path, Path]:
    """Says what is fetched, and under which terms; then what it is, its file, and where to write what is made of it."""
    from rich.console import Console

    found = find(name, table)
    out = out or folder / found.title
    for there in (out, out.with_name(f"{out.name}.safetensors")):
        if there.exists():
            raise UserError(f"{there} is there already: remove it, or choose another --out")
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"{found.url} (license: {found.terms})", markup=False)
    return found, download(found.url, found.path, size=int(found.size) if found.size else None, sha256=found.digest), out


def _list(table: dict[str, Published]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a name cut in two is no name
    rows = Table("name", "holds", "direction", "license", "from", box=None, pad_edge=False)
    for one in table.values():
        rows.add_row(one.name, one.holds, f"{one.source} to {one.target}" if one.source else "", one.terms, one.url.split("/")[2])
    console.print(rows)
