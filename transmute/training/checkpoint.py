"""Files of a training run: checkpoints, from which it resumes, and models."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

import transmute
from transmute.config.training import Recipe
from transmute.errors import UserError
from transmute.files import writing
from transmute.methods.base import Network, source_and_target
from transmute.run import Run
from transmute.training.processes import Processes
from transmute.training.trainer import Trainer
from transmute.translation.model import ModelCard, PartCard, inference_copy, save_network
from transmute.weights import WeightsError, load_tensors, save_tensors


@dataclass
class TrainingState:
    """State that changes during training, and that a checkpoint restores.

    Attributes:
        trainer: Networks, optimizers and averaged weights.
        step: Steps finished.
        loss_sums: Sums of the losses since the last report, on the device, so that no step waits
            for them. A resumed run therefore reports the same means.
        loss_count: Number of steps in these sums.
    """

    trainer: Trainer
    step: int = 0
    loss_sums: dict[str, Tensor] = field(default_factory=dict)
    loss_count: int = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        """Adds the losses of a step to their sums."""
        self.loss_sums = {
            name: self.loss_sums.get(name, 0) + loss.double() for name, loss in losses.items()
        }
        self.loss_count += 1

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss since the last report. Waits for the device."""
        means = torch.stack(list(self.loss_sums.values())) / self.loss_count
        return dict(zip(self.loss_sums, means.tolist(), strict=True))


def save(run: Run, processes: Processes, state: TrainingState) -> None:
    """Writes a checkpoint. Each file is complete or absent.

    The file of rank 0 is written last, and makes the others valid.

    Raises:
        UserError: If a weight is not finite. Nothing is written then.
    """
    state.trainer.require_finite(state.step)
    run.require_folder()
    tensors = state.trainer.state_dict()
    if not processes.is_main:
        # State that only this rank has: image history, batch norm statistics and sums of losses.
        own = {f"method.{name}" for name, _ in state.trainer.method.named_buffers()}
        tensors = {name: value for name, value in tensors.items() if name in own}
    tensors |= {f"losses.{name}": value for name, value in state.loss_sums.items()}
    tensors["loss_count"] = torch.tensor(state.loss_count)
    if processes.is_main:
        processes.barrier()
    header = {"step": state.step, "processes": processes.count}
    save_tensors(run.checkpoint_file(state.step, processes.rank), tensors, header)
    if not processes.is_main:
        processes.barrier()


def require_space(run: Run, trainer: Trainer) -> None:
    """Checks that the disk has space for a checkpoint with its models.

    Raises:
        UserError: If it has not.
    """
    weights = {name: value.nbytes for name, value in trainer.state_dict().items()}
    moments = 2 * sum(
        parameter.nbytes for player in trainer.method.players for parameter in player.parameters
    )
    needed = 2 * sum(weights.values()) + moments  # a model holds the weights once more
    folder = next(path for path in (run.folder, *run.folder.absolute().parents) if path.exists())
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"the disk of {run.folder} is too full: a checkpoint with its models needs up to "
            f"{needed / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free. Free space, or choose "
            "another `run`"
        )


def resume(
    run: Run, processes: Processes, state: TrainingState, say: Callable[[str], None]
) -> None:
    """Restores the newest checkpoint that is complete on every rank, if the run has any.

    Raises:
        UserError: If there are checkpoints or models, but nothing to resume from.
    """
    steps = run.checkpoints()
    for step in reversed(steps):
        tensors, problem = _load(run, processes, step, say)
        if processes.any_rank(tensors is None):
            say(
                f"checkpoint {step} is unusable ({problem or 'on another rank'}); trying an older "
                "one"
            )
            processes.barrier()
            if processes.is_main:
                run.set_aside(step)
            continue
        assert tensors is not None
        try:
            state.trainer.load_state_dict(tensors)
        except WeightsError as error:
            raise UserError(
                f"{run.checkpoint_file(step)} does not fit the networks of this run's recipe: "
                f"{error}. Delete this file to resume from an older one"
            ) from None
        state.loss_sums = {
            name.removeprefix("losses."): value.to(processes.device)
            for name, value in tensors.items()
            if name.startswith("losses.")
        }
        state.loss_count = int(tensors["loss_count"])
        state.step = step
        return
    if steps or run.models():
        problem = "its checkpoints are all damaged" if steps else "it has models but no checkpoint"
        raise UserError(
            f"{run.folder} cannot be resumed: {problem}. Choose another `run`, or remove the folder"
        )


def _load(
    run: Run, processes: Processes, step: int, say: Callable[[str], None]
) -> tuple[dict[str, Tensor] | None, str]:
    """The tensors that this rank needs, or None and the reason."""
    try:
        tensors, header = load_tensors(run.checkpoint_file(step))
        count = header.get("processes")
        if not isinstance(count, int) or "loss_count" not in tensors:
            raise WeightsError(f"{run.checkpoint_file(step)} is not a checkpoint")
        if count != processes.count:
            say(
                f"started with {count} processes, resumed with {processes.count}: image histories "
                "differ from those of an uninterrupted run"
            )
        if 0 < processes.rank < count:
            tensors |= load_tensors(run.checkpoint_file(step, processes.rank))[0]
    except WeightsError as error:
        return None, str(error)
    return tensors, ""


@dataclass(frozen=True)
class ModelWriter:
    """Makes the models of a run, and writes them to `models/<step>`.

    Attributes:
        domains: Names of a and b.
        per_image_statistics: Whether batch norm uses each image's own statistics, as in training
            with one image per step.
    """

    run: Run
    recipe: Recipe
    domains: tuple[str, str]
    per_image_statistics: bool

    def for_inference(self, trainer: Trainer) -> dict[str, nn.Module]:
        """The generators in the form used after training, by direction."""
        return {
            direction: inference_copy(network, per_image_statistics=self.per_image_statistics)
            for direction, network in trainer.generators.items()
        }

    def card(
        self, direction: str, network: Network, step: int, metrics: Mapping[str, float]
    ) -> ModelCard:
        """The header of a generator's model file."""
        source, target = source_and_target(direction, *self.domains)
        return ModelCard(
            transmute=transmute.__version__,
            method=self.recipe.method.name,
            direction=direction,
            source=source,
            target=target,
            paired=self.recipe.method.paired,
            generator=network.config,  # pyright: ignore[reportArgumentType]
            in_channels=network.in_channels,
            out_channels=network.out_channels,
            colors=self.recipe.method.colors,
            size=self.recipe.size,
            preprocess=self.recipe.preprocess,
            per_image_statistics=self.per_image_statistics,
            step=step,
            images=step * self.recipe.batch,
            metrics=dict(metrics),
        )

    def write(
        self, trainer: Trainer, step: int, metrics: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Writes the generators, and all other networks with which training can start.

        The folder appears complete or not at all.

        Args:
            metrics: For each direction, the metrics measured at this step.
        """
        self.run.require_folder()
        folder = self.run.model_folder(step)
        temporary = folder.with_name(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self._write_all(temporary, trainer, step, metrics)
            with writing(folder):
                shutil.rmtree(folder, ignore_errors=True)  # an evaluation may have written it
                temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _write_all(
        self,
        folder: Path,
        trainer: Trainer,
        step: int,
        metrics: Mapping[str, Mapping[str, float]],
    ) -> None:
        for name, network in trainer.method.networks.items():
            if name in trainer.generators:
                card = self.card(name, network, step, metrics.get(name, {}))
            else:
                card = PartCard(
                    transmute=transmute.__version__,
                    part=name,
                    network=network.config,
                    in_channels=network.in_channels,
                )
            save_network(
                folder / f"{name}.safetensors",
                card,
                trainer.generators.get(name, network.module),
            )
