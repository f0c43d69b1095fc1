"""Saving the whole state of a training with its models, and going on from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import transmute
from transmute.run import Run
from transmute.settings import UserError
from transmute.training.config import Recipe
from transmute.training.meter import Meter
from transmute.training.processes import Processes
from transmute.training.trainer import Trainer
from transmute.translation.model import ModelCard, save_model
from transmute.weights import WeightsError, load_tensors, save_tensors


def save(run: Run, step: int, trainer: Trainer, meter: Meter, processes: Processes, recipe: Recipe, *, domains: tuple[str, str], keep: int) -> None:
    """Writes models and a checkpoint, each complete or not there, the checkpoint last; then older ones beyond `keep` go.

    Raises:
        UserError: If a weight is not finite; nothing is written then.
    """
    if (name := trainer.non_finite()) is not None:
        raise UserError(
            f"the weight {name} is not finite at step {step}: the last checkpoint is kept; "
            "try a lower --optimizer.lr, --optimizer.clip 1, or --precision float32"
        )
    header = {"step": step, "processes": processes.count}
    if not processes.first:
        save_tensors(run.checkpoint_file(step, processes.rank), dict(trainer.method.named_buffers()), header)
    processes.wait()
    if processes.first:
        _save_models(run, step, trainer, recipe, domains, own_statistics=own_statistics(recipe, processes))
        save_tensors(run.checkpoint_file(step), trainer.state_dict() | meter.state_dict(), header)
        run.keep_newest(keep)
    processes.wait()


def own_statistics(recipe: Recipe, processes: Processes) -> bool:
    """Whether batch norm saw one picture at a time in training, and so must in use."""
    return recipe.batch // processes.count // recipe.optimizer.accumulate == 1


def _save_models(run: Run, step: int, trainer: Trainer, recipe: Recipe, domains: tuple[str, str], *, own_statistics: bool) -> None:
    names = dict(zip("ab", domains, strict=True))
    channels = {"a": recipe.preprocess.channels_a, "b": recipe.preprocess.channels_b}
    folder = run.model_folder(step)
    aside = folder.with_name(".part")
    shutil.rmtree(aside, ignore_errors=True)
    for direction, network in trainer.translators.items():
        source, target = direction[0], direction[-1]
        card = ModelCard(
            transmute=transmute.__version__,
            method=recipe.method.name,
            direction=direction,
            source=names[source],
            target=names[target],
            generator=recipe.method.generator,
            in_channels=channels[source],
            out_channels=channels[target],
            size=recipe.size,
            preprocess=recipe.preprocess,
            own_statistics=own_statistics,
            step=step,
            pictures=step * recipe.batch,
        )
        save_model(aside / f"{direction}.safetensors", card, network)
    aside.replace(folder)


def resume(run: Run, trainer: Trainer, meter: Meter, processes: Processes, say: Callable[[str], None]) -> int:
    """Restores the newest checkpoint that is whole, and returns its step; 0 if there is none."""
    for step in reversed(run.checkpoints()):
        try:
            state, header = load_tensors(run.checkpoint_file(step))
            own = load_tensors(run.checkpoint_file(step, processes.rank))[0] if 0 < processes.rank < header["processes"] else {}
        except WeightsError as error:
            say(f"checkpoint {step} cannot be used ({error}); trying the one before it")
            continue
        if header["processes"] != processes.count:
            say(
                f"begun with {header['processes']} processes, continued with {processes.count}: image histories are not those of an uninterrupted run"
            )
        meter.load_state_dict(state, processes.device)
        trainer.load_state_dict(state | {f"method.{name}": buffer for name, buffer in own.items()})
        return step
    return 0
