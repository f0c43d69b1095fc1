"""pix2pix: Isola, Zhu, Zhou and Efros (2017), "Image-to-Image Translation with Conditional Adversarial Networks"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from transmute.batch import Batch
from transmute.losses.reconstruction import l1_loss
from transmute.methods.base import Method, Player, Update
from transmute.methods.config import ColorizationConfig, Pix2PixConfig
from transmute.tensors import Images, Scores


class Pix2Pix(Method):
    """A translator and a judge that sees the input beside the output."""

    def __init__(self, config: Pix2PixConfig | ColorizationConfig, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.config = config
        self.game = config.adversarial.build()
        in_channels, out_channels = (channels_a, channels_b) if config.direction == "a_to_b" else (channels_b, channels_a)
        self.translate = config.generator.build(in_channels, out_channels)
        self.score = config.discriminator.build(in_channels + out_channels)
        self.generator = Player("generator", (self.translate,))
        self.discriminator = Player("discriminator", (self.score,))

    @property
    def players(self) -> tuple[Player, ...]:
        both = self.discriminator, self.generator
        return both if self.config.first == "discriminator" else both[::-1]

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {self.config.direction: self.translate, f"score_{self.config.direction[-1]}": self.score}

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 4 of the paper; the discriminator moves first, as in the original, or second."""
        source, target = self._source_and_target(batch)
        game = self.game

        def beside(output: Images) -> Images:
            return torch.cat([source, output], dim=1)

        def score(output: Images) -> Scores:
            return self.score(beside(output))

        def judge() -> Update:
            of_past, of_target = self.passes(self.score, beside(past), beside(target))
            return self.discriminator.minimize(
                discriminate_fake=0.5 * game.fake(of_past),
                discriminate_real=0.5 * game.real(of_target),
                penalty=game.penalty(score, target, past),
            )

        fake = self.translate(source)
        past = fake.detach()
        if self.config.first == "discriminator":
            yield judge()
        yield self.generator.minimize(
            fool=game.generator(score(fake)),
            l1=self.config.l1 * l1_loss(fake, target),
        )
        if self.config.first == "generator":
            yield judge()

    def judged(self, shown: Mapping[str, Images]) -> dict[str, tuple[Images, Images]]:
        """The input beside the target or the output."""
        real, fake = (torch.cat([shown["input"], shown[name]], dim=1) for name in ("target", "output"))
        return {f"score_{self.config.direction[-1]}": (real, fake)}

    def samples(self, translators: Mapping[str, Callable[[Images], Images]], batch: Batch) -> dict[str, Images]:
        """Input, output and target."""
        source, target = self._source_and_target(batch)
        return {"input": source, "output": translators[self.config.direction](source), "target": target}

    def _source_and_target(self, batch: Batch) -> tuple[Images, Images]:
        return (batch.a, batch.b) if self.config.direction == "a_to_b" else (batch.b, batch.a)
