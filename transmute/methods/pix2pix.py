"""pix2pix, and colorization with it.

Isola, Zhu, Zhou and Efros (2017), "Image-to-Image Translation with Conditional Adversarial
Networks". The task of colorization is that of Zhang, Isola and Efros (2016), "Colorful Image
Colorization".
"""

from collections.abc import Iterator

import torch
from torch.nn.functional import l1_loss

from transmute.batch import Batch
from transmute.config.methods import ColorizationConfig, Pix2PixConfig
from transmute.lab import to_lab, to_rgb
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

    def __init__(self, config: Pix2PixConfig, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.config, self.gan_loss = config, config.adversarial.build()
        in_channels, out_channels = source_and_target(config.direction, channels_a, channels_b)
        self.networks = {
            config.direction: Network.generator(config.generator, in_channels, out_channels),
            f"score_{config.direction[-1]}": Network.discriminator(
                config.discriminator, in_channels + out_channels
            ),
        }
        self.translate, self.score = (network.module for network in self.networks.values())
        self.players = (
            Player("generator", (self.translate,)),
            Player("discriminator", (self.score,)),
        )

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 4 of the paper; the discriminator is updated first, as in the authors' code."""
        source, target = source_and_target(self.config.direction, batch.a, batch.b)
        gan_loss = self.gan_loss
        generator, discriminator = self.players

        def score(*outputs: Images) -> tuple[Scores, ...]:
            pairs = [torch.cat([source, output], dim=1) for output in outputs]
            return self.forward_each(self.score, *pairs)

        def update_discriminator() -> Update:
            score_fake, score_real = score(detached, target)
            return discriminator.minimize(
                discriminator_fake=0.5 * gan_loss.fake_loss(score_fake),
                discriminator_real=0.5 * gan_loss.real_loss(score_real),
                penalty=gan_loss.gradient_penalty(
                    lambda output: score(output)[0], target, detached
                ),
            )

        fake = self.translate(source)
        detached = fake.detach()  # the generator's loss reuses `fake`, in either order
        if self.config.first == "discriminator":
            yield update_discriminator()
        yield generator.minimize(
            gan=gan_loss.generator_loss(*score(fake)),
            l1=self.config.l1 * l1_loss(fake, target),
        )
        if self.config.first == "generator":
            yield update_discriminator()

    def discriminator_inputs(self, preview: Preview) -> dict[str, tuple[Images, Images]]:
        real, fake = (
            torch.cat([preview.source, output], dim=1)
            for output in (preview.target, preview.output)
        )
        return {f"score_{preview.direction[-1]}": (real, fake)}


class Colorization(Method):
    """pix2pix in CIE Lab: a is the lightness of an image, b its two color channels.

    Both images of a batch are the same image.
    """

    def __init__(self, config: ColorizationConfig) -> None:
        super().__init__()
        self.pix2pix = Pix2Pix(Pix2PixConfig(**config.arguments()), 1, 2)
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
