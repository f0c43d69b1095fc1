"""pix2pix.

Isola, Zhu, Zhou and Efros (2017), "Image-to-Image Translation with Conditional Adversarial
Networks".
"""

from collections.abc import Iterator

import torch
from torch.nn.functional import l1_loss

from transmute.batch import Batch
from transmute.config.methods import ColorizationConfig, Pix2PixConfig
from transmute.methods.base import (
    Generators,
    Method,
    Network,
    Player,
    Preview,
    Update,
    source_and_target,
)
from transmute.tensors import Images, Scores


class Pix2Pix(Method):
    """A generator, and a discriminator of input and output, concatenated along channels."""

    def __init__(
        self, config: Pix2PixConfig | ColorizationConfig, channels_a: int, channels_b: int
    ) -> None:
        super().__init__()
        self.config = config
        self.gan_loss = config.adversarial.build()
        in_channels, out_channels = source_and_target(config.direction, channels_a, channels_b)
        generator = Network.generator(config.generator, in_channels, out_channels)
        score = Network.discriminator(config.discriminator, in_channels + out_channels)
        self.networks = {config.direction: generator, f"score_{config.direction[-1]}": score}
        self.translate, self.score = generator.module, score.module
        self.generator_player = Player("generator", (self.translate,))
        self.discriminator_player = Player("discriminator", (self.score,))
        players = self.discriminator_player, self.generator_player
        self.players = players if config.first == "discriminator" else players[::-1]

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 4 of the paper; the discriminator is updated first, as in the authors' code."""
        source, target = source_and_target(self.config.direction, batch.a, batch.b)
        gan_loss = self.gan_loss

        def score(*outputs: Images) -> tuple[Scores, ...]:
            pairs = [torch.cat([source, output], dim=1) for output in outputs]
            return self.forward_each(self.score, *pairs)

        def update_discriminator() -> Update:
            score_fake, score_real = score(detached, target)
            return self.discriminator_player.minimize(
                discriminator_fake=0.5 * gan_loss.fake_loss(score_fake),
                discriminator_real=0.5 * gan_loss.real_loss(score_real),
                penalty=gan_loss.penalty(lambda output: score(output)[0], target, detached),
            )

        fake = self.translate(source)
        detached = fake.detach()  # the generator's loss reuses `fake`, in either order
        if self.config.first == "discriminator":
            yield update_discriminator()
        yield self.generator_player.minimize(
            gan=gan_loss.generator_loss(*score(fake)),
            l1=self.config.l1 * l1_loss(fake, target),
        )
        if self.config.first == "generator":
            yield update_discriminator()

    def previews(self, generators: Generators, batch: Batch) -> list[Preview]:
        direction = self.config.direction
        source, target = source_and_target(direction, batch.a, batch.b)
        return [Preview(direction, source, generators[direction](source), target)]

    def discriminator_inputs(self, preview: Preview) -> dict[str, tuple[Images, Images]]:
        real, fake = (
            torch.cat([preview.source, output], dim=1)
            for output in (preview.target, preview.output)
        )
        return {f"score_{self.config.direction[-1]}": (real, fake)}
