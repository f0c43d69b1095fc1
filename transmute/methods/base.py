"""The contract between a method and the trainer: a step is a generator of updates.

The trainer applies each update before it asks for the next, so networks learn in the order of the
`yield` statements.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.config.networks import DiscriminatorConfig, GeneratorConfig, NetworkConfig
from transmute.tensors import Images, Scalar

Item = TypeVar("Item")
Generators = Mapping[str, Callable[[Images], Images]]
"""Maps each direction to its translation function."""


@dataclass(frozen=True)
class Network:
    """A network, and the settings it was built from.

    Attributes:
        module: The network.
        config: The settings it was built from.
        in_channels: Channels of its input.
        out_channels: Channels of a generator's output; 0 for other networks.
    """

    module: nn.Module
    config: NetworkConfig
    in_channels: int
    out_channels: int = 0

    @classmethod
    def generator(cls, config: GeneratorConfig, in_channels: int, out_channels: int) -> "Network":
        """Builds a generator."""
        return cls(config.build(in_channels, out_channels), config, in_channels, out_channels)

    @classmethod
    def discriminator(cls, config: DiscriminatorConfig, in_channels: int) -> "Network":
        """Builds a discriminator."""
        return cls(config.build(in_channels), config, in_channels)


@dataclass(frozen=True)
class Player:
    """A group of networks updated by one optimizer."""

    name: str
    networks: tuple[nn.Module, ...]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for network in self.networks for parameter in network.parameters()]

    def minimize(self, **losses: Scalar | None) -> "Update":
        """An update that lowers the sum of these weighted losses.

        A loss's keyword is its name in logs, plots and docs. A loss that is None is omitted.
        """
        return Update(self, {name: loss for name, loss in losses.items() if loss is not None})


@dataclass(frozen=True)
class Update:
    """A player, and the weighted losses whose sum it minimizes."""

    player: Player
    losses: dict[str, Scalar]


@dataclass(frozen=True)
class Preview:
    """A batch translated in one direction, for sample sheets and diagnostics.

    Attributes:
        direction: `a_to_b` or `b_to_a`.
        source: Images that were translated.
        output: Their translations.
        target: Real images of the output's domain; in paired methods, the true outputs.
        back: The outputs translated back, if the method can.
        identity: Target images passed through this generator; ideally unchanged.
    """

    direction: str
    source: Images
    output: Images
    target: Images
    back: Images | None = None
    identity: Images | None = None

    def images(self) -> dict[str, Images]:
        """The images that are not None, keyed by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


def source_and_target(direction: str, a: Item, b: Item) -> tuple[Item, Item]:
    """Orders the items of domains a and b as source and target of a direction."""
    return (a, b) if direction == "a_to_b" else (b, a)


class Method(nn.Module, ABC):
    """Networks, and the losses of one training step.

    Contains no optimizer, device, precision, logging or backward pass: the trainer handles those.

    Attributes:
        networks: All networks, keyed by the name of their model file. Generators must be named
            `a_to_b` and `b_to_a`; discriminators are named `score_a` and `score_b` by convention.
        players: All players.
        concatenate: If set, `forward_each` concatenates its batches into one. The trainer sets it
            where that is faster.
        previews_identity: If set, previews also show target images passed through their generator,
            if both domains have equal channels.
    """

    networks: Mapping[str, Network]
    players: tuple[Player, ...]
    concatenate = False
    previews_identity = False

    @property
    def generators(self) -> dict[str, nn.Module]:
        """The generators by direction. These are what the trainer averages (EMA) and saves."""
        return {
            name: network.module
            for name, network in self.networks.items()
            if name in ("a_to_b", "b_to_a")
        }

    @abstractmethod
    def step(self, batch: Batch) -> Iterator[Update]:
        """Yields the updates of one training step.

        A step must be capturable as a CUDA graph: no `.item()`, no branch on a tensor's value and
        no random numbers from the host.
        """

    def previews(self, generators: Generators, batch: Batch) -> list[Preview]:
        """Translates a batch in every direction, for sample sheets and diagnostics."""
        previews = []
        for direction, generator in generators.items():
            source, target = source_and_target(direction, batch.a, batch.b)
            output = generator(source)
            reverse = generators.get(f"{direction[-1]}_to_{direction[0]}")
            has_identity = self.previews_identity and source.shape[1] == target.shape[1]
            previews.append(
                Preview(
                    direction,
                    source,
                    output,
                    target,
                    back=reverse(output) if reverse else None,
                    identity=generator(target) if has_identity else None,
                )
            )
        return previews

    def discriminator_inputs(self, preview: Preview) -> dict[str, tuple[Images, Images]]:
        """Inputs of each discriminator for the real images and the translations of a preview.

        Used to detect overfitting discriminators. By default, `score_a` and `score_b` score images
        of their domain, if they have as many channels.
        """
        name = f"score_{preview.direction[-1]}"
        score = self.networks.get(name)
        fits = score is not None and score.in_channels == preview.target.shape[1]
        return {name: (preview.target, preview.output)} if fits else {}

    def forward_each(self, network: nn.Module, *batches: Tensor) -> tuple[Tensor, ...]:
        """Passes batches through a network, as one batch if `concatenate` is set.

        Batches stay separate if the network has batch norm, because its statistics would be
        computed over both batches.
        """
        mixes = any(
            isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) for module in network.modules()
        )
        if self.concatenate and not mixes:
            return network(torch.cat(batches)).split([len(batch) for batch in batches])
        return tuple(network(batch) for batch in batches)
