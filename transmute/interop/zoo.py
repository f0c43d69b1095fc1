"""Models and data sets that other projects have published: what they are, and fetching them."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from transmute.interop.download import download
from transmute.settings import UserError


@dataclass(frozen=True)
class Published:
    """A file that others have published; None where something is not known.

    Attributes:
        name: `family/title`; the title alone will do where only one family has it.
        url: Address of the file.
        holds: The network in it ("resnet-9", "unet-256"), or how its pictures belong together ("unpaired", "pairs").
        source, target: The domains that a model translates from and to. A file may hold the other direction too.
        license: Of the file.
        pictures: Whose pictures it is made of; their terms apply to what is made of them.
        size, sha256: For checking it.
    """

    name: str
    url: str
    holds: str | None = None
    source: str | None = None
    target: str | None = None
    license: str | None = None
    pictures: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def title(self) -> str:
        return self.name.split("/")[1]

    @property
    def direction(self) -> str:
        return f"{self.source} to {self.target}" if self.source else "unknown"

    @property
    def terms(self) -> str:
        """What is known of the license, in words."""
        return f"{self.license or 'unknown'}; pictures: {self.pictures or 'unknown'}"

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched; the name that its publishers gave it stays, since it may say something."""
        file = re.sub(r"[^\w.-]", "_", unquote(re.split("[?#]", self.url)[0]).rsplit("/", 1)[-1]).lstrip(".") or "file"
        return Path(os.environ.get("TRANSMUTE_HOME") or "~/.cache/transmute").expanduser() / self.name.split("/")[0] / file


BERKELEY = "http://efrosgans.eecs.berkeley.edu"  # as its authors write it: without TLS
OPENMMLAB = "https://download.openmmlab.com/mmgen"
ART = "WikiArt and Flickr"
FACADES = "CMP Facades"

MODELS = {
    model.name: model
    for model in [
        *(
            Published(f"cyclegan/{title}", f"{BERKELEY}/cyclegan/pretrained_models/{title}.pth", "resnet-9", source, target, pictures=pictures)
            for title, source, target, pictures in [
                ("apple2orange", "apple", "orange", "ImageNet"),
                ("orange2apple", "orange", "apple", "ImageNet"),
                ("summer2winter_yosemite", "summer", "winter", "Flickr"),
                ("winter2summer_yosemite", "winter", "summer", "Flickr"),
                ("horse2zebra", "horse", "zebra", "ImageNet"),
                ("zebra2horse", "zebra", "horse", "ImageNet"),
                ("monet2photo", "monet", "photo", ART),
                ("style_monet", "photo", "monet", ART),
                ("style_cezanne", "photo", "cezanne", ART),
                ("style_ukiyoe", "photo", "ukiyoe", ART),
                ("style_vangogh", "photo", "vangogh", ART),
                ("sat2map", "satellite", "map", "Google Maps"),
                ("map2sat", "map", "satellite", "Google Maps"),
                ("cityscapes_photo2label", "photo", "label", "Cityscapes"),
                ("cityscapes_label2photo", "label", "photo", "Cityscapes"),
                ("facades_photo2label", "photo", "label", FACADES),
                ("facades_label2photo", "label", "photo", FACADES),
                ("iphone2dslr_flower", "iphone", "dslr", "Flickr"),
            ]
        ),
        *(
            Published(f"pix2pix/{title}", f"{BERKELEY}/pix2pix/models-pytorch/{title}.pth", "unet-256", source, target, pictures=pictures)
            for title, source, target, pictures in [
                ("edges2shoes", "edges", "shoes", "UT Zappos50K"),
                ("sat2map", "satellite", "map", "Google Maps"),
                ("map2sat", "map", "satellite", "Google Maps"),
                ("facades_label2photo", "label", "photo", FACADES),
                ("day2night", "day", "night", None),
            ]
        ),
        *(
            Published(
                f"mmgeneration/cyclegan_{title}", f"{OPENMMLAB}/cyclegan/refactor/cyclegan_{file}.pth", "resnet-9", source, target, pictures=pictures
            )
            for title, source, target, pictures, file in [
                ("facades", "mask", "photo", FACADES, "lsgan_resnet_in_1x1_80k_facades_20210902_165905-5e2c0876"),
                ("facades_id0", "mask", "photo", FACADES, "lsgan_id0_resnet_in_1x1_80k_facades_convert-bgr_20210902_164411-d8e72b45"),
                ("summer2winter", "summer", "winter", "Flickr", "lsgan_resnet_in_1x1_246200_summer2winter_convert-bgr_20210902_165932-fcf08dc1"),
                ("winter2summer", "winter", "summer", "Flickr", "lsgan_resnet_in_1x1_246200_summer2winter_convert-bgr_20210902_165932-fcf08dc1"),
                (
                    "summer2winter_id0",
                    "summer",
                    "winter",
                    "Flickr",
                    "lsgan_id0_resnet_in_1x1_246200_summer2winter_convert-bgr_20210902_165640-8b825581",
                ),
                (
                    "winter2summer_id0",
                    "winter",
                    "summer",
                    "Flickr",
                    "lsgan_id0_resnet_in_1x1_246200_summer2winter_convert-bgr_20210902_165640-8b825581",
                ),
                ("horse2zebra", "horse", "zebra", "ImageNet", "lsgan_resnet_in_1x1_266800_horse2zebra_convert-bgr_20210902_170004-a32c733a"),
                ("zebra2horse", "zebra", "horse", "ImageNet", "lsgan_resnet_in_1x1_266800_horse2zebra_convert-bgr_20210902_170004-a32c733a"),
                ("horse2zebra_id0", "horse", "zebra", "ImageNet", "lsgan_id0_resnet_in_1x1_266800_horse2zebra_convert-bgr_20210902_165724-77c9c806"),
                ("zebra2horse_id0", "zebra", "horse", "ImageNet", "lsgan_id0_resnet_in_1x1_266800_horse2zebra_convert-bgr_20210902_165724-77c9c806"),
            ]
        ),
        *(
            Published(
                f"mmgeneration/pix2pix_{title}", f"{OPENMMLAB}/pix2pix/refactor/pix2pix_{file}.pth", "unet-256", source, target, pictures=pictures
            )
            for title, source, target, pictures, file in [
                ("facades", "mask", "photo", FACADES, "vanilla_unet_bn_1x1_80k_facades_20210902_170442-c0958d50"),
                ("aerial2maps", "aerial", "map", "Google Maps", "vanilla_unet_bn_a2b_1x1_219200_maps_convert-bgr_20210902_170729-59a31517"),
                ("maps2aerial", "map", "aerial", "Google Maps", "vanilla_unet_bn_b2a_1x1_219200_maps_convert-bgr_20210902_170814-6d2eac4a"),
                (
                    "edges2shoes",
                    "edges",
                    "photo",
                    "UT Zappos50K",
                    "vanilla_unet_bn_wo_jitter_flip_1x4_186840_edges2shoes_convert-bgr_20210902_170902-0c828552",
                ),
            ]
        ),
    ]
}
"""Trained generators of junyanz's two projects and of mmgeneration, whose domains bear the names in its files."""

DATA_SETS = {
    data.name: data
    for data in [
        *(
            Published(f"cyclegan/{title}", f"{BERKELEY}/cyclegan/datasets/{title}.zip", "unpaired", pictures=pictures)
            for title, pictures in [
                ("apple2orange", "ImageNet"),
                ("summer2winter_yosemite", "Flickr"),
                ("horse2zebra", "ImageNet"),
                ("monet2photo", ART),
                ("cezanne2photo", ART),
                ("ukiyoe2photo", ART),
                ("vangogh2photo", ART),
                ("maps", "Google Maps"),
                ("facades", FACADES),
                ("iphone2dslr_flower", "Flickr"),
                ("ae_photos", None),
            ]
        ),
        *(
            Published(f"pix2pix/{title}", f"{BERKELEY}/pix2pix/datasets/{title}.tar.gz", "pairs", pictures=pictures)
            for title, pictures in [
                ("night2day", None),
                ("edges2handbags", "Amazon, by iGAN"),
                ("edges2shoes", "UT Zappos50K"),
                ("facades", FACADES),
                ("maps", "Google Maps"),
            ]
        ),
    ]
}
"""Data sets of junyanz's two projects. Cityscapes is not among them: it was withdrawn over its license."""


def find(name: str, table: dict[str, Published]) -> Published:
    """What a name of a table, or an address, stands for.

    Raises:
        UserError: If there is no such name, or more than one file that it may mean.
    """
    if "://" in name:
        title = re.sub(r"(\.tar)?\.\w+$", "", Published("/", name).path.name)
        return Published(f"url-{hashlib.sha256(name.encode()).hexdigest()[:12]}/{title}", name)
    meant = [name] if name in table else [one for one in table if one.split("/")[1] == name]
    if len(meant) > 1:
        raise UserError(f"{name} may be {' or '.join(meant)}: write which")
    if not meant:
        close = difflib.get_close_matches(name, [*table, *(one.split("/")[1] for one in table)], n=1)
        raise UserError(f"there is no {name!r} to pull: {f'perhaps you meant {close[0]}' if close else 'without a name, all are listed'}")
    found = table[meant[0]]
    mirror = os.environ.get("TRANSMUTE_MIRROR", "").rstrip("/")
    return dataclasses.replace(found, url=mirror + urlsplit(found.url).path) if mirror else found


def fetch(published: Published) -> Path:
    """The path of a published file, which is downloaded unless it is there already.

    Raises:
        UserError: If it cannot be had; the sentence says how to go on by hand.
    """
    return download(published.url, published.path, size=published.size, sha256=published.sha256)
