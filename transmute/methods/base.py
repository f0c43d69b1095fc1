"""The contract between a method and the trainer: a step is a generator of updates.

The trainer applies each update before it asks for the next, so the order in which networks learn is the order of the `yield`s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from transmute.batch import Batch
from transmute.tensors import Images, Scalar


@dataclass(frozen=True)
class Player:
    """A group of networks moved by one optimizer."""

    name: str
    networks: tuple[nn.Module, ...]

    @property
    def parameters(self) -> list[Parameter]:
        return [parameter for network in self.networks for parameter in network.parameters()]

    def minimize(self, **losses: Scalar | None) -> Update:
        """The update that lowers the sum of these losses. A loss's keyword is its name in logs and plots; None leaves one out."""
        return Update(self, {name: loss for name, loss in losses.items() if loss is not None})


@dataclass(frozen=True)
class Update:
    """Who moves, and the losses (already weighted) whose sum it lowers."""

    player: Player
    losses: dict[str, Scalar]


class Method(nn.Module, ABC):
    """Networks and what one training step does with them. No optimizer, device, precision, logging or backward here.

    Attributes:
        joined: Whether one network's passes over several batches are made as one; the trainer knows where that is faster.
    """

    joined = False

    @property
    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Everyone who learns, in the order of their updates."""

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Everything with weights by its part in a method, as files of networks name it: a_to_b, b_to_a, score_a, score_b, heads."""

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The generators by direction, `a_to_b` or `b_to_a`: what is averaged, saved and used afterwards."""
        return {name: network for name, network in self.networks.items() if name in ("a_to_b", "b_to_a")}

    @abstractmethod
    def step(self, batch: Batch) -> Iterator[Update]:
        """One training step. Capturable: no `.item()`, no branch on a tensor's value, no random numbers from the host."""

    def passes(self, network: nn.Module, *batches: Tensor) -> tuple[Tensor, ...]:
        """What a network makes of each batch: in one pass, or in one each where its samples are not independent (batch norm)."""
        independent = not any(isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) for module in network.modules())
        if self.joined and independent:
            return network(torch.cat(batches)).split([len(batch) for batch in batches])
        return tuple(network(batch) for batch in batches)

    @abstractmethod
    def judged(self, shown: Mapping[str, Images]) -> dict[str, tuple[Images, Images]]:
        """What each judge, by its part, sees of real pictures and of translations, among what `samples` shows."""

    @abstractmethod
    def samples(self, translators: Mapping[str, Callable[[Images], Images]], batch: Batch) -> dict[str, Images]:
        """Named pictures that show what the translators do to a batch, in the order in which to show them."""
