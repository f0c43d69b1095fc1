"""CUT and FastCUT.

Park, Efros, Zhang and Zhu (2020), "Contrastive Learning for Unpaired Image-to-Image Translation".
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from transmute.batch import Batch
from transmute.config.methods import CUTConfig
from transmute.config.networks import HeadsConfig
from transmute.errors import UserError
from transmute.losses import patch_nce
from transmute.methods.base import Method, Network, Player, Update, source_and_target
from transmute.tensors import Images, Scalar


class CUT(Method):
    """One generator, whose first half also computes features.

    Input and output features at the same position should be similar.
    """

    previews_identity = True

    def __init__(self, config: CUTConfig, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.config, self.gan_loss = config, config.adversarial.build()
        in_channels, out_channels = source_and_target(config.direction, channels_a, channels_b)
        self.translate = config.generator.build(in_channels, out_channels)
        features = self.translate.feature_channels(config.layers)
        if list(config.layers) != sorted(set(config.layers)) or len(features) < len(config.layers):
            raise UserError(
                "`method.layers` should be increasing indices from 0 to "
                f"{len(self.translate.layers) - 1}, but is {' '.join(map(str, config.layers))}"
            )
        heads = HeadsConfig(channels=features, width=config.width, init=config.generator.init)
        self.networks = {
            config.direction: Network(self.translate, config.generator, in_channels, out_channels),
            f"score_{config.direction[-1]}": Network.discriminator(
                config.discriminator, out_channels
            ),
            "heads": Network(heads.build(), heads, features[0]),
        }
        _, self.score, self.heads = (network.module for network in self.networks.values())
        self.players = (
            Player("generator", (self.translate, self.heads)),
            Player("discriminator", (self.score,)),
        )

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 5 of the paper; the discriminator is updated first, as in the authors' code."""
        gan_loss, config = self.gan_loss, self.config
        generator, discriminator = self.players
        source, target = source_and_target(config.direction, batch.a, batch.b)
        flip = torch.rand((), device=source.device) < (0.5 if config.flip else 0.0)
        inputs = [source, target] if config.identity else [source]
        fake, *identity = self.forward_each(
            self.translate, *(mirrored_if(flip, images) for images in inputs)
        )
        detached = fake.detach()
        yield discriminator.minimize(
            discriminator=gan_loss.discriminator_loss(
                *self.forward_each(self.score, target, detached)
            ),
            penalty=gan_loss.gradient_penalty(self.score, target, detached),
        )
        nce = config.nce * (0.5 if config.identity else 1.0)
        yield generator.minimize(
            gan=config.gan * gan_loss.generator_loss(self.score(fake)),
            nce=nce * self.patch_nce(source, fake, flip),
            nce_identity=nce * self.patch_nce(target, identity[0], flip) if identity else None,
        )

    def patch_nce(self, source: Images, output: Images, flip: Tensor) -> Scalar:
        """PatchNCE between images and their (possibly mirrored) outputs, averaged over layers."""
        layers, patches = self.config.layers, self.config.patches
        # Queries before keys: older versions of torch cache the autocast weights of a
        # pass without gradients, and reuse them in passes that need gradients.
        features = [mirrored_if(flip, layer) for layer in self.translate.features(output, layers)]
        # Distinct random positions of each layer: `patches`, or all if there are fewer.
        positions = [
            torch.rand(layer[0, 0].numel(), device=layer.device).argsort()[:patches]
            for layer in features
        ]
        queries = self.heads(features, positions)
        with torch.no_grad():  # no gradient flows into the keys
            keys = self.heads(self.translate.features(source, layers), positions)
        losses = [
            patch_nce(query, key, self.config.temperature)
            for query, key in zip(queries, keys, strict=True)
        ]
        return torch.stack(losses).mean()


def mirrored_if(flip: Tensor, images: Tensor) -> Tensor:
    """Mirrors images left to right if a boolean tensor is true, without waiting for the device."""
    return torch.where(flip, images.flip(3), images)
