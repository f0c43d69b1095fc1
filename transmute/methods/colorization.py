"""Colorization: pix2pix (Isola et al. 2017) from the lightness of an image to its colors.

The task is that of Zhang, Isola and Efros (2016), "Colorful Image Colorization".
"""

from collections.abc import Iterator

import torch

from transmute.batch import Batch
from transmute.config.methods import ColorizationConfig
from transmute.lab import to_lab, to_rgb
from transmute.methods.base import Generators, Method, Preview, Update
from transmute.methods.pix2pix import Pix2Pix
from transmute.tensors import Images


class Colorization(Method):
    """pix2pix in CIE Lab: a is the lightness of an image, b its two color channels.

    Both images of a batch are the same image.
    """

    def __init__(self, config: ColorizationConfig) -> None:
        super().__init__()
        self.pix2pix = Pix2Pix(config, 1, 2)
        self.networks, self.players = self.pix2pix.networks, self.pix2pix.players

    def step(self, batch: Batch) -> Iterator[Update]:
        """The step of pix2pix."""
        yield from self.pix2pix.step(Batch(*to_lab(batch.b)))

    def previews(self, generators: Generators, batch: Batch) -> list[Preview]:
        """Gray images, colored ones, and the true colors, all in RGB."""
        lightness, colors = to_lab(batch.b)
        gray = to_rgb(lightness, torch.zeros_like(colors))
        output = to_rgb(lightness, generators["a_to_b"](lightness))
        return [Preview("a_to_b", gray, output, batch.b)]

    def discriminator_inputs(self, preview: Preview) -> dict[str, tuple[Images, Images]]:
        real, fake = (torch.cat(to_lab(rgb), dim=1) for rgb in (preview.target, preview.output))
        return {"score_b": (real, fake)}
