"""Models and data sets published by other projects, as listed in `published.csv`.

They are those of junyanz's two projects and of mmgeneration, whose domains have the names in its
files, and the four painters of TommyZihao's tutorial of mmgeneration, whose domains have the names
in its commands (its files have not been checked). The Cityscapes data is not listed: it was
withdrawn because of its license.
"""

import csv
import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from transmute.errors import UserError


class Published(NamedTuple):
    """A file published by another project. Unknown fields are empty.

    Attributes:
        name: `family/title`. The title alone is enough if only one family has it.
        url: Address of the file.
        holds: The network in it (resnet-9, unet-256), or how its images are arranged (unpaired,
            pairs).
        source, target: The domains that a model translates from and to. The file may also contain
            the other direction.
        license: License of the file.
        images: Origin of the images it is made of, whose terms apply too.
        kind: model or data.
    """

    name: str
    url: str
    holds: str = ""
    source: str = ""
    target: str = ""
    license: str = ""
    images: str = ""
    kind: str = ""

    @property
    def title(self) -> str:
        return self.name.split("/")[1]

    @property
    def digest(self) -> str | None:
        """The beginning of the SHA-256 that OpenMMLab and torch.hub put in file names, or None."""
        return next(iter(re.findall(r"-([0-9a-f]{8,64})\.pth$", self.path.name)), None)

    @property
    def terms(self) -> str:
        """License and origin of the images, as text."""
        return f"{self.license or 'unknown'}; images: {self.images or 'unknown'}"

    @property
    def path(self) -> Path:
        """Path of the downloaded file, which keeps its publisher's file name."""
        last = unquote(re.split("[?#]", self.url)[0]).rsplit("/", 1)[-1]
        file = re.sub(r"[^\w.-]", "_", last).lstrip(".") or "file"
        home = os.environ.get("TRANSMUTE_HOME") or "~/.cache/transmute"
        return Path(home, self.name.split("/")[0], file).expanduser()


with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as csv_file:
    _ALL = [Published(**row) for row in csv.DictReader(csv_file)]
MODELS = {file.name: file for file in _ALL if file.kind == "model"}
DATA_SETS = {file.name: file for file in _ALL if file.kind == "data"}


def find(name: str, published: dict[str, Published]) -> Published:
    """Finds a published file by its name, its title or an address.

    The environment variable TRANSMUTE_MIRROR replaces scheme and host of listed addresses.

    Raises:
        UserError: If the name is unknown or ambiguous.
    """
    if "://" in name:
        title = re.sub(r"(\.tar)?\.\w+$", "", Published("/", name).path.name)
        return Published(f"url-{hashlib.sha256(name.encode()).hexdigest()[:12]}/{title}", name)
    matches = [file for file in published.values() if name in (file.name, file.title)]
    if len(matches) > 1:
        raise UserError(
            f"{name} is ambiguous. Choose one of: {', '.join(file.name for file in matches)}"
        )
    if not matches:
        titles = (file.title for file in published.values())
        close = difflib.get_close_matches(name, [*published, *titles], n=1)
        hint = f"Did you mean {close[0]}?" if close else "Omit the name to list all"
        raise UserError(f"no published model or data set named {name!r}. {hint}")
    mirror = os.environ.get("TRANSMUTE_MIRROR", "").rstrip("/")
    url = matches[0].url
    return matches[0]._replace(url=mirror + urlsplit(url).path if mirror else url)
