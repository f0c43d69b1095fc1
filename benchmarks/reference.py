"""The reference of all speed-ups: one training step as in pytorch-CycleGAN-and-pix2pix or CUT.

The order of operations is that of these reference implementations.

Nothing is done for speed: eager, float32, NCHW; each batch passes through a network separately;
discriminators are frozen with `requires_grad`; one backward pass per discriminator; the image
history is a list on the host; Adam with torch's default implementation. The networks, loss weights
and adversarial loss are those of the given method.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from transmute.batch import Batch
from transmute.config.training import AdamConfig
from transmute.lab import to_lab
from transmute.methods.base import Method
from transmute.methods.cut import CUT, mirrored_if
from transmute.methods.cyclegan import CycleGAN
from transmute.methods.pix2pix import Colorization, Pix2Pix

Losses = dict[str, Tensor]


class Reference:
    """Trains the networks of a method by the step of its reference implementation.

    Args:
        method: On its device.
        config: Learning rate and betas of Adam. Clipping, weight averages and gradient
            accumulation are ignored, because the reference implementations have none.

    Attributes:
        step: Runs one step on a batch and returns the losses by name.

    Raises:
        TypeError: If there is no reference step for this method.
    """

    def __init__(self, method: Method, config: AdamConfig) -> None:
        self._method, self._optimizers = method, _Optimizers(method, config)
        self.step = _step_of(method, self._optimizers)

    def state(self) -> list[Tensor]:
        """Tensors that stay in memory between steps: weights, gradients, buffers and moments."""
        moments = [
            value
            for optimizer in (self._optimizers.generators, self._optimizers.discriminators)
            for state in optimizer.state.values()
            for value in state.values()
        ]
        gradients = [
            parameter.grad for parameter in self._method.parameters() if parameter.grad is not None
        ]
        return [*self._method.state_dict().values(), *gradients, *moments]


class _Optimizers:
    """One Adam for the generators (and heads), and one for the discriminators."""

    def __init__(self, method: Method, config: AdamConfig) -> None:
        networks = {name: network.module for name, network in method.networks.items()}
        self._discriminators = [networks[name] for name in networks if name.startswith("score_")]
        others = [networks[name] for name in networks if not name.startswith("score_")]

        def adam(modules: list[nn.Module]) -> torch.optim.Adam:
            weights = [parameter for module in modules for parameter in module.parameters()]
            return torch.optim.Adam(weights, lr=config.lr, betas=(config.beta1, config.beta2))

        self.generators, self.discriminators = adam(others), adam(self._discriminators)

    def freeze_discriminators(self, frozen: bool) -> None:
        for network in self._discriminators:
            network.requires_grad_(not frozen)


def _step_of(method: Method, optimizers: _Optimizers) -> Callable[[Batch], Losses]:
    match method:
        case CycleGAN():
            histories = HostHistory(method.config.history), HostHistory(method.config.history)
            return lambda batch: _cyclegan(method, optimizers, histories, batch)
        case Pix2Pix():
            return lambda batch: _pix2pix(method, optimizers, batch)
        case Colorization():
            return lambda batch: _pix2pix(method.pix2pix, optimizers, Batch(*to_lab(batch.b)))
        case CUT():
            return lambda batch: _cut(method, optimizers, batch)
    raise TypeError(f"there is no reference step for {type(method).__name__}")


def _cyclegan(
    method: CycleGAN,
    optimizers: _Optimizers,
    histories: tuple[HostHistory, HostHistory],
    batch: Batch,
) -> Losses:
    a_to_b, b_to_a, score_a, score_b = method.a_to_b, method.b_to_a, method.score_a, method.score_b
    gan_loss, weight = method.gan_loss, method.config
    fake_b = a_to_b(batch.a)
    back_a = b_to_a(fake_b)
    fake_a = b_to_a(batch.b)
    back_b = a_to_b(fake_a)

    optimizers.freeze_discriminators(True)
    optimizers.generators.zero_grad()
    losses = {}
    if weight.identity > 0:
        losses["identity_b"] = weight.identity * weight.cycle_b * l1_loss(a_to_b(batch.b), batch.b)
        losses["identity_a"] = weight.identity * weight.cycle_a * l1_loss(b_to_a(batch.a), batch.a)
    losses["gan_b"] = weight.gan * gan_loss.generator_loss(score_b(fake_b))
    losses["gan_a"] = weight.gan * gan_loss.generator_loss(score_a(fake_a))
    losses["cycle_a"] = weight.cycle_a * l1_loss(back_a, batch.a)
    losses["cycle_b"] = weight.cycle_b * l1_loss(back_b, batch.b)
    _total(losses.values()).backward()
    optimizers.generators.step()

    optimizers.freeze_discriminators(False)
    optimizers.discriminators.zero_grad()
    for domain, score, real, fake, history in (
        ("b", score_b, batch.b, fake_b, histories[1]),
        ("a", score_a, batch.a, fake_a, histories[0]),
    ):
        past = history.swap(fake.detach())
        loss = 0.5 * (gan_loss.real_loss(score(real)) + gan_loss.fake_loss(score(past)))
        updates = {f"discriminator_{domain}": loss}
        penalty = gan_loss.gradient_penalty(score, real, past)
        if penalty is not None:
            updates[f"penalty_{domain}"] = penalty
        _total(updates.values()).backward()
        losses |= updates
    optimizers.discriminators.step()
    return losses


def _pix2pix(method: Pix2Pix, optimizers: _Optimizers, batch: Batch) -> Losses:
    source, target = _source_and_target(method, batch)
    gan_loss = method.gan_loss

    def score(output: Tensor) -> Tensor:
        return method.score(torch.cat([source, output], dim=1))

    fake = method.translate(source)

    optimizers.freeze_discriminators(False)
    optimizers.discriminators.zero_grad()
    losses = {
        "discriminator_fake": 0.5 * gan_loss.fake_loss(score(fake.detach())),
        "discriminator_real": 0.5 * gan_loss.real_loss(score(target)),
    }
    penalty = gan_loss.gradient_penalty(score, target, fake.detach())
    if penalty is not None:
        losses["penalty"] = penalty
    _total(losses.values()).backward()
    optimizers.discriminators.step()

    optimizers.freeze_discriminators(True)
    optimizers.generators.zero_grad()
    generator_losses = {
        "gan": gan_loss.generator_loss(score(fake)),
        "l1": method.config.l1 * l1_loss(fake, target),
    }
    _total(generator_losses.values()).backward()
    optimizers.generators.step()
    return losses | generator_losses


def _cut(method: CUT, optimizers: _Optimizers, batch: Batch) -> Losses:
    source, target = _source_and_target(method, batch)
    gan_loss, weight, score = method.gan_loss, method.config, method.score
    flip = torch.rand((), device=source.device) < (0.5 if weight.flip else 0.0)
    # The only place where CUT's code joins passes: source and target are one batch.
    inputs = torch.cat([source, target]) if weight.identity else source
    outputs = method.translate(mirrored_if(flip, inputs))
    fake, same = outputs[: len(source)], outputs[len(source) :]

    optimizers.freeze_discriminators(False)
    optimizers.discriminators.zero_grad()
    losses = {
        "discriminator": 0.5
        * (gan_loss.fake_loss(score(fake.detach())) + gan_loss.real_loss(score(target)))
    }
    penalty = gan_loss.gradient_penalty(score, target, fake.detach())
    if penalty is not None:
        losses["penalty"] = penalty
    _total(losses.values()).backward()
    optimizers.discriminators.step()

    optimizers.freeze_discriminators(True)
    optimizers.generators.zero_grad()
    nce = weight.nce * (0.5 if weight.identity else 1.0)
    generator_losses = {
        "gan": weight.gan * gan_loss.generator_loss(score(fake)),
        "nce": nce * method.patch_nce(source, fake, flip),
    }
    if weight.identity:
        generator_losses["nce_identity"] = nce * method.patch_nce(target, same, flip)
    _total(generator_losses.values()).backward()
    optimizers.generators.step()
    return losses | generator_losses


def _source_and_target(method: CUT | Pix2Pix, batch: Batch) -> tuple[Tensor, Tensor]:
    return (batch.a, batch.b) if method.config.direction == "a_to_b" else (batch.b, batch.a)


def _total(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


class HostHistory:
    """Past translations in a list, chosen by the host's random numbers."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def swap(self, images: Tensor) -> Tensor:
        """Stores images. A full history returns an old image for about half of them."""
        chosen = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif self.size and random.random() > 0.5:
                index = random.randrange(self.size)
                old, self.images[index] = self.images[index], image.clone()
                image = old
            chosen.append(image)
        return torch.stack(chosen)
