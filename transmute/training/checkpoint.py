"""Saving the whole state of a training with its models, and going on from it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import transmute
from transmute.networks.config import HeadsConfig
from transmute.networks.heads import ProjectionHeads
from transmute.settings import UserError
from transmute.translation.model import ModelCard, PartCard, save_network
from transmute.weights import WeightsError, load_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from transmute.training.session import Session
    from transmute.training.trainer import Trainer


def save(session: Session, step: int) -> None:
    """Writes a checkpoint and models, each complete or not there; then older ones beyond `keep` go.

    The checkpoint of the first process comes after those of the others, and makes them count.

    Raises:
        UserError: If a weight is not finite; nothing is written then.
    """
    run, trainer, processes = session.run, session.trainer, session.processes
    require_finite_weights(trainer, step)
    header = {"step": step, "processes": processes.count}
    if not processes.first:
        save_tensors(run.checkpoint_file(step, processes.rank), _own_state(session), header)
    processes.wait()
    if processes.first:
        save_tensors(run.checkpoint_file(step), trainer.state_dict() | session.meter.state_dict(), header)
        save_models(session, step)
        run.keep_newest(session.config.keep, session.config.keep_every)
    processes.wait()


def require_finite_weights(trainer: Trainer, step: int) -> None:
    """Keeps what has gone wrong from being saved or measured.

    Raises:
        UserError: With the name of the first weight that is not finite.
    """
    if (name := trainer.non_finite()) is not None:
        raise UserError(
            f"the weight {name} is not finite at step {step}: an earlier checkpoint is kept; "
            "try a lower --optimizer.lr, --optimizer.clip 1, or --precision float32"
        )


def _own_state(session: Session) -> dict[str, Tensor]:
    """What only this process has: its histories, batch-norm statistics and sums of losses."""
    buffers = {name for name, _ in session.trainer.method.named_buffers()}
    state = {f"method.{name}": value for name, value in session.trainer.method.state_dict().items() if name in buffers}
    return state | session.meter.state_dict()


def model_card(session: Session, direction: str, step: int) -> ModelCard:
    """What the generator of a direction says of itself, with its figures where it was evaluated at this step."""
    recipe = session.recipe
    names = dict(zip("ab", session.data.names, strict=True))
    lab = recipe.method.colors == "lab"
    channels = {"a": 1, "b": 2} if lab else {"a": recipe.preprocess.channels_a, "b": recipe.preprocess.channels_b}
    source, target = direction.split("_to_")
    return ModelCard(
        transmute=transmute.__version__,
        method=recipe.method.name,
        direction=direction,
        source=names[source],
        target=names[target],
        generator=recipe.method.generator,
        in_channels=channels[source],
        out_channels=channels[target],
        colors=recipe.method.colors,
        size=recipe.size,
        preprocess=recipe.preprocess,
        own_statistics=session.own_statistics,
        step=step,
        pictures=step * recipe.batch,
        metrics=session.progress.figures(direction, step),
    )


def save_models(session: Session, step: int) -> None:
    """Writes the generators to use, and what else is needed to train on from them, all at once."""
    recipe, folder = session.recipe, session.run.model_folder(step)
    aside = folder.with_name(".part")
    shutil.rmtree(aside, ignore_errors=True)
    for direction, network in session.trainer.translators.items():
        save_network(aside / f"{direction}.safetensors", model_card(session, direction, step), network)
    for part, network in session.trainer.method.networks.items():
        if part not in session.trainer.translators:
            heads = HeadsConfig(channels=network.channels, width=network.width) if isinstance(network, ProjectionHeads) else None
            values = {"transmute": transmute.__version__, "part": part, "network": heads or recipe.method.discriminator}
            card = PartCard(**values, in_channels=next(network.parameters()).shape[1])
            save_network(aside / f"{part}.safetensors", card, network)
    shutil.rmtree(folder, ignore_errors=True)  # an evaluation may have written them already
    aside.replace(folder)


def resume(session: Session) -> int:
    """Restores the newest checkpoint that is whole in every process, and returns its step; 0 if the run has none.

    Raises:
        UserError: If there are checkpoints or models, but nothing to go on from.
    """
    run, trainer, processes = session.run, session.trainer, session.processes
    steps = run.checkpoints()
    for step in reversed(steps):
        state, problem = _load(session, step)
        if processes.any(state is None):
            session.say(f"checkpoint {step} cannot be used ({problem or 'in another process'}); trying the one before it")
            processes.wait()
            if processes.first:
                run.set_aside(step)
            continue
        assert state is not None
        session.meter.load_state_dict(state, processes.device)
        try:
            trainer.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError):
            raise UserError(f"{run.checkpoint_file(step)} is a checkpoint of other networks than this run's recipe describes: remove it") from None
        return step
    if steps or run.models():
        what = "none of its checkpoints can be used" if steps else "it has models but no checkpoint"
        raise UserError(f"{run.folder} cannot be continued: {what}; start anew with another --run, or remove the folder")
    return 0


def _load(session: Session, step: int) -> tuple[dict[str, Tensor] | None, str]:
    """The state at a step as this process needs it, or None and why not."""
    run, processes = session.run, session.processes
    try:
        state, header = load_tensors(run.checkpoint_file(step))
        before = header.get("processes")
        if before is None:
            raise WeightsError(f"{run.checkpoint_file(step)} is no checkpoint")
        if before != processes.count:
            session.say(f"begun with {before} processes, continued with {processes.count}: histories are not those of an uninterrupted run")
        if 0 < processes.rank < before:
            state |= load_tensors(run.checkpoint_file(step, processes.rank))[0]
    except WeightsError as error:
        return None, str(error)
    return state, ""
