"""Colorization: pix2pix from the lightness of a picture to its colors (Isola et al. 2017, and Zhang, Isola and Efros 2016 for the task)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from transmute.batch import Batch
from transmute.lab import to_lab, to_rgb
from transmute.methods.base import Method, Player, Update
from transmute.methods.config import ColorizationConfig
from transmute.methods.pix2pix import Pix2Pix
from transmute.tensors import Images


class Colorization(Method):
    """pix2pix, whose a is the lightness of a picture and whose b its two colors, in CIE Lab. Both pictures of a batch are that same picture."""

    def __init__(self, config: ColorizationConfig) -> None:
        super().__init__()
        self.pix2pix = Pix2Pix(config, 1, 2)

    @property
    def players(self) -> tuple[Player, ...]:
        return self.pix2pix.players

    @property
    def networks(self) -> dict[str, nn.Module]:
        return self.pix2pix.networks

    def step(self, batch: Batch) -> Iterator[Update]:
        """The step of pix2pix."""
        yield from self.pix2pix.step(Batch(*to_lab(batch.b)))

    def judged(self, shown: Mapping[str, Images]) -> dict[str, tuple[Images, Images]]:
        """Lightness and colors."""
        real, fake = (torch.cat(to_lab(shown[name]), dim=1) for name in ("target", "output"))
        return {"score_b": (real, fake)}

    def samples(self, translators: Mapping[str, Callable[[Images], Images]], batch: Batch) -> dict[str, Images]:
        """The picture without its colors, with those given to it, and with its own."""
        lightness, colors = to_lab(batch.b)
        gray = to_rgb(lightness, torch.zeros_like(colors))
        return {"input": gray, "output": to_rgb(lightness, translators["a_to_b"](lightness)), "target": batch.b}
