"""CycleGAN.

Zhu, Park, Isola and Efros (2017), "Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks".
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from transmute.batch import Batch
from transmute.config.methods import CycleGANConfig
from transmute.methods.base import Method, Network, Player, Update
from transmute.tensors import Images


class CycleGAN(Method):
    """Two generators and two discriminators.

    In the paper's letters `a_to_b` is G: X -> Y, `b_to_a` is F: Y -> X, `score_b` is D_Y and
    `score_a` is D_X. pytorch-CycleGAN-and-pix2pix calls them G_A, G_B, D_A and D_B in that
    order (its D_A scores b), and its idt_A, computed from b, is `identity_b` here.
    """

    previews_identity = True

    def __init__(
        self, config: CycleGANConfig, channels_a: int, channels_b: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.config, self.gan_loss = config, config.adversarial.build()
        self.networks = {
            "a_to_b": Network.generator(config.generator, channels_a, channels_b),
            "b_to_a": Network.generator(config.generator, channels_b, channels_a),
            "score_a": Network.discriminator(config.discriminator, channels_a),
            "score_b": Network.discriminator(config.discriminator, channels_b),
        }
        self.a_to_b, self.b_to_a, self.score_a, self.score_b = (
            network.module for network in self.networks.values()
        )
        self.past_a, self.past_b = (
            History(config.history, channels=channels, height=size[1], width=size[0])
            for channels in (channels_a, channels_b)
        )
        self.players = (
            Player("generators", (self.a_to_b, self.b_to_a)),
            Player("discriminators", (self.score_a, self.score_b)),
        )

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 3 of the paper with the identity loss of section 5.2.

        The generators are updated first, as in the reference implementation, unless `first` is
        "discriminators".

        Gradients reach only the parameters of the player, because the trainer passes these to
        backward as `inputs`. Therefore no network is frozen here.
        """
        gan_loss, config = self.gan_loss, self.config
        generators, discriminators = self.players
        fake_b, identity_b = self._translate(self.a_to_b, batch.a, batch.b, config.cycle_b)
        fake_a, identity_a = self._translate(self.b_to_a, batch.b, batch.a, config.cycle_a)

        def update_discriminators() -> Update:
            past_b, past_a = self.past_b.swap(fake_b), self.past_a.swap(fake_a)
            return discriminators.minimize(
                discriminator_a=gan_loss.discriminator_loss(
                    *self.forward_each(self.score_a, batch.a, past_a)
                ),
                discriminator_b=gan_loss.discriminator_loss(
                    *self.forward_each(self.score_b, batch.b, past_b)
                ),
                penalty_a=gan_loss.gradient_penalty(self.score_a, batch.a, past_a),
                penalty_b=gan_loss.gradient_penalty(self.score_b, batch.b, past_b),
            )

        if config.first == "discriminators":
            # The generators' losses below reuse these fakes, since the generators are unchanged.
            yield update_discriminators()
        yield generators.minimize(
            gan_b=config.gan * gan_loss.generator_loss(self.score_b(fake_b)),
            gan_a=config.gan * gan_loss.generator_loss(self.score_a(fake_a)),
            cycle_a=config.cycle_a * l1_loss(self.b_to_a(fake_b), batch.a),
            cycle_b=config.cycle_b * l1_loss(self.a_to_b(fake_a), batch.b),
            identity_a=identity_a,
            identity_b=identity_b,
        )
        if config.first == "generators":
            yield update_discriminators()

    def _translate(
        self, generator: nn.Module, source: Tensor, target: Tensor, weight: float
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the translation, and the identity loss on the target domain (or None).

        Args:
            weight: Factor of the identity loss, in addition to `config.identity`.
        """
        if self.config.identity == 0:
            return generator(source), None
        fake, unchanged = self.forward_each(generator, source, target)
        return fake, self.config.identity * weight * l1_loss(unchanged, target)


class History(nn.Module):
    """A buffer of up to `size` past fake images, with which discriminators are trained.

    Shrivastava et al. (2017), "Learning from Simulated and Unsupervised Images through Adversarial
    Training".

    State and random decisions are tensors, so the buffer is saved in checkpoints, and a step that
    uses it can be captured in a CUDA graph.

    Args:
        size: Images to keep. With 0, `swap` returns its input.
        channels, height, width: Shape of an image.
    """

    def __init__(self, size: int, *, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.past = nn.Buffer(torch.zeros(size, channels, height, width))
        self.count = nn.Buffer(torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, images: Images) -> Images:
        """Returns each image, or a past one in exchange for it. No gradient flows through.

        Until the buffer is full, every image is stored and returned. After that, with probability
        0.5, an image replaces a random past one, which is returned instead.
        """
        if self.size == 0:
            return images.detach()
        return torch.stack([self._swap_one(image) for image in images.detach()])

    def _swap_one(self, image: Tensor) -> Tensor:
        filling = self.count < self.size
        exchange = torch.rand((), device=image.device) > 0.5
        random_slot = torch.randint(self.size, (), device=image.device)
        slot = torch.where(filling, self.count, random_slot).view(1)
        old = self.past.index_select(0, slot)[0].to(image.dtype)
        kept = torch.where(filling | exchange, image, old)
        self.past.index_copy_(0, slot, kept[None].to(self.past.dtype))
        self.count.add_(filling)
        return torch.where(filling | ~exchange, image, old)
