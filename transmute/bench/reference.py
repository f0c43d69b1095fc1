"""The yardstick: one training step in the original's order of operations, with nothing done for speed.

Eager, float32, NCHW; every pass of a network by itself; judges frozen and thawed by `requires_grad`; one backward for each judge; past
translations kept in lists and drawn by the host; Adam as torch has it by default. Networks, weights of losses and games are those of a method.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from transmute.batch import Batch
from transmute.lab import to_lab
from transmute.methods.base import Method
from transmute.methods.colorization import Colorization
from transmute.methods.cut import CUT, mirrored
from transmute.methods.cyclegan import CycleGAN
from transmute.methods.pix2pix import Pix2Pix
from transmute.training.config import AdamConfig

Losses = dict[str, Tensor]


class Reference:
    """Trains a method's networks by the original's step.

    Args:
        method: On its device.
        config: Learning rate and moments of Adam; clipping, averaging and accumulation are not the original's, and left out.
    """

    def __init__(self, method: Method, config: AdamConfig) -> None:
        self._method, self._adams = method, _Adams(method, config)
        self.step = _step_of(method, self._adams)

    def state(self) -> list[Tensor]:
        """Weights, gradients, buffers and moments: what stays in memory between two steps."""
        optimizers = self._adams.of_translators, self._adams.of_judges
        moments = [value for optimizer in optimizers for kept in optimizer.state.values() for value in kept.values()]
        gradients = [parameter.grad for parameter in self._method.parameters() if parameter.grad is not None]
        return [*self._method.state_dict().values(), *gradients, *moments]


class _Adams:
    """One optimizer for the translators, one for the judges."""

    def __init__(self, method: Method, config: AdamConfig) -> None:
        self.judges = [network for name, network in method.networks.items() if name.startswith("score_")]
        translators = [network for name, network in method.networks.items() if not name.startswith("score_")]

        def adam(networks: list[nn.Module]) -> torch.optim.Adam:
            weights = [parameter for network in networks for parameter in network.parameters()]
            return torch.optim.Adam(weights, lr=config.lr, betas=(config.beta1, config.beta2))

        self.of_translators, self.of_judges = adam(translators), adam(self.judges)

    def freeze_judges(self, frozen: bool) -> None:
        for network in self.judges:
            network.requires_grad_(not frozen)


def _step_of(method: Method, adams: _Adams) -> Callable[[Batch], Losses]:
    match method:
        case CycleGAN():
            pools = _Pool(method.config.history), _Pool(method.config.history)
            return lambda batch: _cyclegan(method, adams, pools, batch)
        case Pix2Pix():
            return lambda batch: _pix2pix(method, adams, batch)
        case Colorization():
            return lambda batch: _pix2pix(method.pix2pix, adams, Batch(*to_lab(batch.b)))
        case CUT():
            return lambda batch: _cut(method, adams, batch)
    raise TypeError(f"there is no reference for {type(method).__name__}")


def _cyclegan(method: CycleGAN, adams: _Adams, pools: tuple[_Pool, _Pool], batch: Batch) -> Losses:
    a_to_b, b_to_a, score_a, score_b = method.a_to_b, method.b_to_a, method.score_a, method.score_b
    game, weight = method.game, method.config
    fake_b = a_to_b(batch.a)
    back_a = b_to_a(fake_b)
    fake_a = b_to_a(batch.b)
    back_b = a_to_b(fake_a)

    adams.freeze_judges(True)
    adams.of_translators.zero_grad()
    losses = {}
    if weight.identity > 0:
        losses["identity_b"] = weight.identity * weight.cycle_b * l1_loss(a_to_b(batch.b), batch.b)
        losses["identity_a"] = weight.identity * weight.cycle_a * l1_loss(b_to_a(batch.a), batch.a)
    losses["fool_b"] = weight.fool * game.generator(score_b(fake_b))
    losses["fool_a"] = weight.fool * game.generator(score_a(fake_a))
    losses["cycle_a"] = weight.cycle_a * l1_loss(back_a, batch.a)
    losses["cycle_b"] = weight.cycle_b * l1_loss(back_b, batch.b)
    _total(losses.values()).backward()
    adams.of_translators.step()

    adams.freeze_judges(False)
    adams.of_judges.zero_grad()
    for name, score, real, fake, pool in (("b", score_b, batch.b, fake_b, pools[1]), ("a", score_a, batch.a, fake_a, pools[0])):
        past = pool.query(fake.detach())
        loss = 0.5 * (game.real(score(real)) + game.fake(score(past)))
        penalty = game.penalty(score, real, past)
        _total([loss] if penalty is None else [loss, penalty]).backward()
        losses[f"discriminate_{name}"] = loss
    adams.of_judges.step()
    return losses


def _pix2pix(method: Pix2Pix, adams: _Adams, batch: Batch) -> Losses:
    source, target = (batch.a, batch.b) if method.config.direction == "a_to_b" else (batch.b, batch.a)
    game, score = method.game, method.score
    fake = method.translate(source)

    adams.freeze_judges(False)
    adams.of_judges.zero_grad()
    losses = {"discriminate_fake": 0.5 * game.fake(score(torch.cat([source, fake.detach()], dim=1)))}
    losses["discriminate_real"] = 0.5 * game.real(score(torch.cat([source, target], dim=1)))
    penalty = game.penalty(lambda output: score(torch.cat([source, output], dim=1)), target, fake.detach())
    losses |= {} if penalty is None else {"penalty": penalty}
    _total(losses.values()).backward()
    adams.of_judges.step()

    adams.freeze_judges(True)
    adams.of_translators.zero_grad()
    fooling = {"fool": game.generator(score(torch.cat([source, fake], dim=1))), "l1": method.config.l1 * l1_loss(fake, target)}
    _total(fooling.values()).backward()
    adams.of_translators.step()
    return losses | fooling


def _cut(method: CUT, adams: _Adams, batch: Batch) -> Losses:
    source, target = (batch.a, batch.b) if method.config.direction == "a_to_b" else (batch.b, batch.a)
    game, weight, score = method.game, method.config, method.score
    coin = torch.rand((), device=source.device) < (0.5 if weight.flip else 0.0)
    # The one place where the original joins passes: the identity's goes with the translation.
    both = method.translate(mirrored(torch.cat([source, target]) if weight.identity else source, coin))
    fake, same = both[: len(source)], both[len(source) :]

    adams.freeze_judges(False)
    adams.of_judges.zero_grad()
    losses = {"discriminate": 0.5 * (game.fake(score(fake.detach())) + game.real(score(target)))}
    penalty = game.penalty(score, target, fake.detach())
    losses |= {} if penalty is None else {"penalty": penalty}
    _total(losses.values()).backward()
    adams.of_judges.step()

    adams.freeze_judges(True)
    adams.of_translators.zero_grad()
    share = 0.5 if weight.identity else 1.0
    fooling = {"fool": weight.fool * game.generator(score(fake)), "contrast": share * weight.nce * method.contrast(source, fake, coin)}
    if weight.identity:
        fooling["contrast_identity"] = share * weight.nce * method.contrast(target, same, coin)
    _total(fooling.values()).backward()
    adams.of_translators.step()
    return losses | fooling


def _total(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


class _Pool:
    """Past translations in a list, drawn by the host."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        given = []
        for image in images:
            if len(self.pictures) < self.size:
                self.pictures.append(image.clone())
            elif self.size and random.random() > 0.5:
                place = random.randrange(self.size)
                old, self.pictures[place] = self.pictures[place], image.clone()
                image = old
            given.append(image)
        return torch.stack(given)
