"""Models and data sets that other projects have published, as `published.csv` lists them.

They are of junyanz's two projects and of mmgeneration, whose domains bear the names in its files. The data of Cityscapes is not among them: it was
withdrawn over its license.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from transmute.settings import UserError


@dataclass(frozen=True)
class Published:
    """A file that others have published; what is not known is empty.

    Attributes:
        kind: "model" or "data".
        name: `family/title`; the title alone will do where only one family has it.
        holds: The network in it ("resnet-9", "unet-256"), or how its pictures belong together ("unpaired", "pairs").
        source, target: The domains that a model translates from and to. A file may hold the other direction too.
        license: Of the file.
        pictures: Whose pictures it is made of; their terms apply to what is made of them.
        size, sha256: Bytes of the file, and (the beginning of) its hash.
    """

    name: str
    url: str
    holds: str = ""
    source: str = ""
    target: str = ""
    license: str = ""
    pictures: str = ""
    kind: str = ""
    size: str = ""
    sha256: str = ""

    @property
    def title(self) -> str:
        return self.name.split("/")[1]

    @property
    def digest(self) -> str | None:
        """The hash as far as it is known: OpenMMLab and torch.hub write its beginning into the names of files."""
        told = re.search(r"-([0-9a-f]{8,64})\.pth$", self.path.name)
        return self.sha256 or (told[1] if told else None)

    @property
    def terms(self) -> str:
        """What is known of the license, in words."""
        return f"{self.license or 'unknown'}; pictures: {self.pictures or 'unknown'}"

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched; the name that its publishers gave it stays, since it may say something."""
        file = re.sub(r"[^\w.-]", "_", unquote(re.split("[?#]", self.url)[0]).rsplit("/", 1)[-1]).lstrip(".") or "file"
        return Path(os.environ.get("TRANSMUTE_HOME") or "~/.cache/transmute").expanduser() / self.name.split("/")[0] / file


def _listed(kind: str) -> dict[str, Published]:
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: Published(**row) for row in csv.DictReader(file) if row["kind"] == kind}


MODELS = _listed("model")
DATA_SETS = _listed("data")


def find(name: str, table: dict[str, Published]) -> Published:
    """What a name of a table, or an address, stands for.

    Raises:
        UserError: If there is no such name, or more than one file that it may mean.
    """
    if "://" in name:
        title = re.sub(r"(\.tar)?\.\w+$", "", Published("/", name).path.name)
        return Published(f"url-{hashlib.sha256(name.encode()).hexdigest()[:12]}/{title}", name)
    meant = [one for one in table.values() if name in (one.name, one.title)]
    if len(meant) > 1:
        raise UserError(f"{name} may be {' or '.join(one.name for one in meant)}: write which")
    if not meant:
        close = difflib.get_close_matches(name, [*table, *(one.title for one in table.values())], n=1)
        raise UserError(f"there is no {name!r} to pull: {f'perhaps you meant {close[0]}' if close else 'without a name, all are listed'}")
    mirror = os.environ.get("TRANSMUTE_MIRROR", "").rstrip("/")
    return dataclasses.replace(meant[0], url=mirror + urlsplit(meant[0].url).path) if mirror else meant[0]
