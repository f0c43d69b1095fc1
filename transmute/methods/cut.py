"""CUT and FastCUT: Park, Efros, Zhang and Zhu (2020), "Contrastive Learning for Unpaired Image-to-Image Translation"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.losses.contrastive import patch_nce
from transmute.methods.base import Method, Player, Update
from transmute.methods.config import CUTConfig
from transmute.networks.config import HeadsConfig
from transmute.tensors import Features, Images, Scalar


class CUT(Method):
    """One translator, whose first half also says what each place of a picture shows: input and output should agree on it."""

    def __init__(self, config: CUTConfig, channels_a: int, channels_b: int) -> None:
        super().__init__()
        self.config = config
        self.game = config.adversarial.build()
        in_channels, out_channels = (channels_a, channels_b) if config.direction == "a_to_b" else (channels_b, channels_a)
        self.translate = config.generator.build(in_channels, out_channels)
        self.score = config.discriminator.build(out_channels)
        channels = self.translate.channels_after(config.layers)
        self.heads = HeadsConfig(channels=channels, width=config.width, init=config.generator.init).build()
        self.generator = Player("generator", (self.translate, self.heads))
        self.discriminator = Player("discriminator", (self.score,))

    @property
    def players(self) -> tuple[Player, ...]:
        return self.discriminator, self.generator

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {self.config.direction: self.translate, f"score_{self.config.direction[-1]}": self.score, "heads": self.heads}

    def step(self, batch: Batch) -> Iterator[Update]:
        """Equation 5 of the paper; the discriminator moves first, as in the original."""
        source, target = self._source_and_target(batch)
        game, weight = self.game, self.config
        coin = torch.rand((), device=source.device) < (0.5 if weight.flip else 0.0)
        seen = [mirrored(source, coin)] + ([mirrored(target, coin)] if weight.identity else [])
        fake, *same = self.passes(self.translate, *seen)
        past = fake.detach()
        yield self.discriminator.minimize(
            discriminate=game.discriminator(*self.passes(self.score, target, past)),
            penalty=game.penalty(self.score, target, past),
        )
        share = 0.5 if weight.identity else 1.0
        yield self.generator.minimize(
            fool=weight.fool * game.generator(self.score(fake)),
            contrast=share * weight.nce * self.contrast(source, fake, coin),
            contrast_identity=share * weight.nce * self.contrast(target, same[0], coin) if same else None,
        )

    def contrast(self, source: Images, output: Images, coin: Tensor) -> Scalar:
        """PatchNCE between a picture and what was made of it (mirrored or not, as the coin fell), averaged over the layers."""
        layers, temperature = self.config.layers, self.config.temperature
        # Queries before keys: older versions of torch keep what autocast made of a weight without a gradient, and use it where there should be one.
        features = [mirrored(layer, coin) for layer in self.translate.features(output, layers)]
        places = [self._places(layer) for layer in features]
        queries = self.heads(features, places)
        with torch.no_grad():  # no gradient flows into the keys
            keys = self.heads(self.translate.features(source, layers), places)
        losses = [patch_nce(query, key, temperature) for query, key in zip(queries, keys, strict=True)]
        return torch.stack(losses).mean()

    def judged(self, shown: Mapping[str, Images]) -> dict[str, tuple[Images, Images]]:
        """Pictures of the target domain."""
        return {f"score_{self.config.direction[-1]}": (shown["target"], shown["output"])}

    def samples(self, translators: Mapping[str, Callable[[Images], Images]], batch: Batch) -> dict[str, Images]:
        """Input, output, and what the translator makes of the target domain (it should change nothing)."""
        source, target = self._source_and_target(batch)
        translate = translators[self.config.direction]
        pictures = {"input": source, "output": translate(source), "target": target}
        return pictures | ({"identity": translate(target)} if source.shape[1] == target.shape[1] else {})

    def _places(self, layer: Features) -> Tensor:
        """Different random positions of a layer, as many as are compared or as there are."""
        positions = layer.shape[2] * layer.shape[3]
        return torch.rand(positions, device=layer.device).argsort()[: self.config.patches]

    def _source_and_target(self, batch: Batch) -> tuple[Images, Images]:
        return (batch.a, batch.b) if self.config.direction == "a_to_b" else (batch.b, batch.a)


def mirrored(images: Tensor, coin: Tensor) -> Tensor:
    """Left to right where a coin says so, without asking it: a step must not wait for the device."""
    return torch.where(coin, images.flip(3), images)
