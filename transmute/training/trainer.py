"""One training step of any method: backward, mean over processes, clipping, Adam, averages; and what makes it fast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.methods.base import Method, Player, Update
from transmute.settings import first_line
from transmute.training.capture import CapturedStep
from transmute.training.config import AdamConfig
from transmute.training.speed import Speed


class Trainer:
    """Applies the updates of a method's steps, and owns everything that learning changes.

    Args:
        method: On its device; its networks stay plain modules.
        optimizer: Adam's settings, the same for every player.
        speed: What makes a step fast.
        say: Is told in a sentence what could not be made fast.
    """

    def __init__(self, method: Method, optimizer: AdamConfig, *, speed: Speed | None = None, say: Callable[[str], None] = print) -> None:
        self.method = method
        self.config = optimizer
        self.speed = speed = speed or Speed()
        self.device = next(method.parameters()).device
        _broadcast(list(method.state_dict().values()))
        # A graph reads the learning rate anew at each replay, so it lies on the device.
        rate = torch.tensor(optimizer.lr, device=self.device) if speed.captured else optimizer.lr
        self.optimizers = {
            player.name: torch.optim.Adam(player.parameters, lr=rate, betas=(optimizer.beta1, optimizer.beta2), fused=True, capturable=speed.captured)
            for player in method.players
        }
        self.averages = {
            direction: copy.deepcopy(network).requires_grad_(False) for direction, network in method.translators.items() if optimizer.ema
        }
        method.joined = speed.joined
        if speed.compiled:
            # Not the judges: a compiled backward makes the gradients of their weights also where only pictures need one, and knows no penalty.
            for network in method.translators.values():
                network.compile(dynamic=False)
        self._say, self._compiling = say, speed.compiled
        self._captured = CapturedStep(self._step, say=say) if speed.captured else None

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The generators to use: the averaged ones where there are any."""
        return dict(self.averages) or self.method.translators

    def step(self, batches: Sequence[Batch], *, rate: float = 1.0) -> dict[str, Tensor]:
        """One step over all micro-batches together, at `rate` times the learning rate.

        The micro-batches advance in lockstep from update to update, so that several of them give the gradients of one large batch
        (batch norm and random decisions apart, which are those of each micro-batch).

        Returns:
            Mean loss over the micro-batches by name, detached, on the device, of this process.
        """
        for optimizer in self.optimizers.values():
            _set_rate(optimizer, self.config.lr * rate)
        if self._compiling:
            return self._compile(batches)
        return self._captured(batches) if self._captured else self._step(batches)

    def _compile(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """The first step, in which torch compiles the networks; if it cannot, everything is as before, and they stay uncompiled."""
        self._compiling = False
        self._say("compiling the networks, which takes a minute or two")
        before = {name: value.clone() for name, value in self.state_dict().items()}
        try:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                return self._step(batches)
        except Exception as error:  # compilers fail in many ways, and none of them should end a training; what is not theirs comes again
            problem = first_line(error)
        for network in self.method.translators.values():
            network._compiled_call_impl = None  # there is no other way back
        self.load_state_dict(before)
        self._say(f"networks are not compiled, since torch cannot do that here ({problem})")
        return self._step(batches)

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()  # of a step that broke off
        steps = [self.method.step(batch) for batch in batches]
        losses: dict[str, Tensor] = {}
        # All micro-batches contribute to an update before any goes on to the next; each graph is freed before the next is made.
        while players := [player for step in steps if (player := self._contribute(step, losses, 1 / len(steps))) is not None]:
            self._move(players[0])
        self._average()
        return losses

    def _contribute(self, step: Iterator[Update], losses: dict[str, Tensor], share: float) -> Player | None:
        """Goes on to the next update of a micro-batch and adds its share to the gradients and losses; None if there is none left."""
        with torch.autocast(self.device.type, dtype=self.speed.autocast, enabled=self.speed.autocast is not None):
            update = next(step, None)
        if update is None:
            return None
        total = torch.stack(list(update.losses.values())).sum()
        (share * total).backward(inputs=update.player.parameters)
        for name, loss in update.losses.items():
            losses[name] = losses.get(name, 0) + share * loss.detach()
        return update.player

    def _move(self, player: Player) -> None:
        optimizer, parameters = self.optimizers[player.name], player.parameters
        self._mean_over_processes([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        optimizer.step()
        optimizer.zero_grad()

    def _mean_over_processes(self, tensors: list[Tensor]) -> None:
        """Replaces tensors by their mean over all processes, in one collective."""
        if not dist.is_initialized() or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        if self._captured:
            self._captured.between(lambda: dist.all_reduce(flat))
        else:
            dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    @torch.no_grad()
    def _average(self) -> None:
        """EMA of the generators' weights; buffers (batch-norm statistics) are taken as they are."""
        for direction, average in self.averages.items():
            current = self.method.translators[direction]
            for old, new in zip(average.parameters(), current.parameters(), strict=True):
                old.lerp_(new, 1 - self.config.ema)
            for old, new in zip(average.buffers(), current.buffers(), strict=True):
                old.copy_(new)

    def state_dict(self) -> dict[str, Tensor]:
        """All state as a flat dictionary of tensors: method, averages and optimizers."""
        state = {f"method.{key}": value for key, value in self.method.state_dict().items()}
        for direction, average in self.averages.items():
            state |= {f"average.{direction}.{key}": value for key, value in average.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                state |= {f"optimizer.{name}.{index}.{key}": value for key, value in moments.items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` gave, strictly.

        Raises:
            RuntimeError: If keys or shapes do not fit; a run's recipe is compared before it comes to that.
        """
        assert self._captured is None or not self._captured.pieces, "graphs hold the tensors that this replaces"
        self.method.load_state_dict(_below("method.", state))
        for direction, average in self.averages.items():
            # A run that is extended by averaging starts its averages from its weights.
            average.load_state_dict(_below(f"average.{direction}.", state) or self.method.translators[direction].state_dict())
        for name, optimizer in self.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(f"optimizer.{name}.", state).items():
                index, kind = key.split(".")
                moments.setdefault(int(index), {})[kind] = value
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})

    def non_finite(self) -> str | None:
        """The name of the first weight that is not finite, or None."""
        for name, parameter in self.method.named_parameters():
            if not torch.isfinite(parameter).all():
                return name
        return None


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _broadcast(tensors: list[Tensor]) -> None:
    """Gives every process the tensors of the first: equal seeds need not mean equal weights on unequal machines."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
