"""One training step of any method: backward, mean over ranks, clipping, Adam and averaging."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transmute.batch import Batch
from transmute.config.training import AdamConfig
from transmute.errors import UserError
from transmute.methods.base import Method, Player, Update
from transmute.training.capture import CapturedStep
from transmute.weights import WeightsError, mismatch


@dataclass(frozen=True)
class Speed:
    """How steps are made fast.

    Attributes:
        precision: float32 or bfloat16, for the networks; weights and losses stay float32.
        compiled: Networks are compiled by torch.
        captured: Whole steps are replayed as CUDA graphs.
        concatenated: A network's passes over several batches are made as one.
    """

    precision: str = "float32"
    compiled: bool = False
    captured: bool = False
    concatenated: bool = False


class Trainer:
    """Applies the updates of a method's steps, and owns all state that training changes.

    Args:
        method: On its device. Its networks stay plain modules.
        optimizer: Adam's settings, the same for every player.
        speed: How steps are made fast.
        say: Called with a sentence about what could not be made fast.

    Attributes:
        ema: Averaged generators by direction; empty without averaging.
    """

    def __init__(
        self,
        method: Method,
        optimizer: AdamConfig,
        *,
        speed: Speed | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.method = method
        self.config = optimizer
        self.speed = speed = speed or Speed()
        self.device = next(method.parameters()).device
        if dist.is_initialized():  # on different machines, equal seeds may give unequal weights
            for tensor in method.state_dict().values():
                dist.broadcast(tensor, src=0)
        # A CUDA graph reads the learning rate at every replay, so it must be on the device.
        lr = torch.tensor(optimizer.lr, device=self.device) if speed.captured else optimizer.lr
        self.optimizers = {
            player.name: torch.optim.Adam(
                player.parameters,
                lr=lr,
                betas=(optimizer.beta1, optimizer.beta2),
                fused=True,
                capturable=speed.captured,
            )
            for player in method.players
        }
        self.ema = {
            direction: copy.deepcopy(network).requires_grad_(False)
            for direction, network in method.generators.items()
            if optimizer.ema
        }
        method.concatenate = speed.concatenated
        if speed.compiled:
            torch.compiler.set_stance("default")  # an earlier trainer may have failed to compile
            # Not the discriminators: a compiled backward also computes the gradients of their
            # weights where only those of the images are needed, and has no double backward.
            for network in method.generators.values():
                network.compile(dynamic=False)
        self._say, self._compiling = say, speed.compiled
        self._captured = CapturedStep(self._step, say=say) if speed.captured else None

    @property
    def generators(self) -> dict[str, nn.Module]:
        """The generators to use, by direction: the averaged ones if there are any."""
        return dict(self.ema) or self.method.generators

    def step(self, batches: Sequence[Batch], *, lr_factor: float = 1.0) -> dict[str, Tensor]:
        """One step over all micro-batches together.

        The micro-batches advance in lockstep from update to update, so their gradients add up
        to those of one large batch (apart from batch norm and random decisions, which are those of
        each micro-batch).

        Args:
            batches: Micro-batches of equal size.
            lr_factor: Factor of the learning rate, from 0 to 1.

        Returns:
            Mean loss over the micro-batches by name, detached, on the device, of this rank.
        """
        for optimizer in self.optimizers.values():
            (group,) = optimizer.param_groups
            if self.speed.captured:
                group["lr"].fill_(self.config.lr * lr_factor)
            else:
                group["lr"] = self.config.lr * lr_factor
        if self._compiling:
            return self._compile(batches)
        return self._captured(batches) if self._captured else self._step(batches)

    def _compile(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Runs the first step, in which torch compiles the networks.

        If compiling fails, the state is restored, and all later steps run uncompiled.
        """
        self._compiling = False
        self._say("compiling the networks, which takes a minute or two")
        before = {name: value.clone() for name, value in self.state_dict().items()}
        try:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                return self._step(batches)
        except Exception as error:  # compilers fail in many ways; other errors will occur again
            problem = " ".join(str(error).splitlines()[:2])  # the backend, then its error
        torch.compiler.set_stance("force_eager")
        self.load_state_dict(before)
        self._say(f"networks are not compiled, because torch failed to do so ({problem})")
        return self._step(batches)

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        # Usually there are no gradients: `_update` clears each player's. But a step that failed
        # (while compiling or capturing) may have left some.
        self.method.zero_grad()
        steps = [self.method.step(batch) for batch in batches]
        losses: dict[str, Tensor] = {}
        # All micro-batches contribute to an update before any continues; each graph is freed
        # before the next is built. All yield the same players in the same order, so the last
        # one's player is that of all.
        share = 1 / len(steps)
        while player := [self._accumulate(step, losses, share) for step in steps][-1]:
            self._update(player)
        self._update_ema()
        return losses

    def _accumulate(
        self, step: Iterator[Update], losses: dict[str, Tensor], share: float
    ) -> Player | None:
        """Advances a micro-batch to its next update, and accumulates its gradients and losses.

        Returns:
            The player to update, or None if the step is over.
        """
        bfloat16 = self.speed.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            update = next(step, None)
        if update is None:
            return None
        total = torch.stack(list(update.losses.values())).sum()
        # Only the player's parameters get gradients: the generators' losses pass through the
        # discriminators, but must not train them.
        (share * total).backward(inputs=update.player.parameters)
        for name, loss in update.losses.items():
            losses[name] = losses.get(name, 0) + share * loss.detach()
        return update.player

    def _update(self, player: Player) -> None:
        optimizer, parameters = self.optimizers[player.name], player.parameters
        self._mean_over_ranks([one.grad for one in parameters if one.grad is not None])
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        optimizer.step()
        optimizer.zero_grad()

    def _mean_over_ranks(self, tensors: list[Tensor]) -> None:
        """Replaces tensors with their mean over all ranks, in one collective."""
        if not dist.is_initialized() or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        if self._captured:
            self._captured.between(lambda: dist.all_reduce(flat))
        else:
            dist.all_reduce(flat)
        flat /= dist.get_world_size()
        means = flat.split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Moves the averages towards the generators. Buffers (batch norm statistics) are copied."""
        for direction, average in self.ema.items():
            current = self.method.generators[direction]
            for old, new in zip(average.parameters(), current.parameters(), strict=True):
                old.lerp_(new, 1 - self.config.ema)
            for old, new in zip(average.buffers(), current.buffers(), strict=True):
                old.copy_(new)

    def state_dict(self) -> dict[str, Tensor]:
        """All state as a flat dictionary of tensors: method, averages and optimizers."""
        parts = {"method": self.method.state_dict()}
        parts |= {f"ema.{name}": average.state_dict() for name, average in self.ema.items()}
        for name, optimizer in self.optimizers.items():
            moments = optimizer.state_dict()["state"]
            parts |= {f"optimizer.{name}.{index}": moments[index] for index in moments}
        return {f"{name}.{key}": part[key] for name, part in parts.items() for key in part}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a `state_dict`.

        Raises:
            WeightsError: If names, shapes, types or values do not fit, except for those of averages
                and optimizers that are missing altogether.
        """
        assert self._captured is None or not self._captured.pieces, (
            "captured graphs use the tensors that this replaces"
        )
        networks = _below("method.", state)
        _require_match("the method", self.method.state_dict(), networks)
        self.method.load_state_dict(networks)
        for direction, average in self.ema.items():
            # A run that is extended with weight averaging starts with its current weights.
            generator = self.method.generators[direction].state_dict()
            averages = _below(f"ema.{direction}.", state) or generator
            _require_match("the averages", generator, averages)
            average.load_state_dict(averages)
        for player in self.method.players:
            optimizer, own = (
                self.optimizers[player.name],
                _below(f"optimizer.{player.name}.", state),
            )
            _require_match(f"the optimizer of {player.name}", _moments(player, own), own)
            indices = {int(key.split(".")[0]) for key in own}
            moments = {index: _below(f"{index}.", own) for index in indices}
            optimizer.load_state_dict(
                {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
            )

    def require_finite(self, step: int) -> None:
        """Keeps diverged weights from being saved or evaluated.

        Raises:
            UserError: With the name of the first weight that is not finite.
        """
        for name, parameter in self.method.named_parameters():
            if not parameter.isfinite().all():
                raise UserError(
                    f"the weight {name} is not finite at step {step}. Earlier checkpoints are "
                    "kept. Try a lower `optimizer.lr`, `optimizer.clip=1`, or `precision=float32`"
                )


def _require_match(name: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    if problem := mismatch(expected, found):
        raise WeightsError(f"the part for {name} {problem}")


def _moments(player: Player, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors like those of Adam's state for each parameter that has one in a checkpoint."""
    indices = {key.partition(".")[0] for key in state}
    return {
        f"{index}.{name}": torch.zeros(()) if name == "step" else parameter
        for index, parameter in enumerate(player.parameters)
        if str(index) in indices
        for name in ("step", "exp_avg", "exp_avg_sq")
    }


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
