"""An evaluation in the midst of a training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from transmute.metrics.config import FIGURES
from transmute.settings import UserError
from transmute.training.checkpoint import model_card, require_finite_weights, save, save_models
from transmute.training.session import Session
from transmute.translation.model import ready
from transmute.translation.translator import Translator


def evaluate(session: Session, step: int) -> None:
    """Measures the translators in the first process, keeps their models if they are the best so far, and tells all processes.

    Raises:
        UserError: If the figure that is to say which models are the best was not among those measured.
    """
    progress, processes = session.progress, session.processes
    if session.config.evaluate_every is None:
        return
    require_finite_weights(session.trainer, step)
    name, value, features, figures, problem = session.config.best, 0.0, "", {}, None
    if progress.evaluator is not None:
        try:
            figures, value, features = _measured(session, step)
            progress.require_continuity(name, features)
        except Exception as error:  # all processes end together, and this one says why
            problem = error
    if processes.any(problem is not None):
        if step > session.first_step:
            save(session, step)  # what was learned meanwhile is not lost
        processes.wait()  # who leaves first, with gloo, may take the others down
        raise problem or UserError("the first process could not evaluate")
    value = processes.mean({"value": value})["value"] * processes.count  # of the first process, to all
    row = {"step": step, "best": {"name": name, "features": features, "value": value, "better": FIGURES[name]}, "figures": figures}
    progress.rows.append(row)
    if processes.first:
        session.run.append_evaluation(row)
        best = progress.best_step == step
        if best:
            save_models(session, step)
            session.run.keep_newest(session.config.keep, session.config.keep_every)
        if session.loggers:
            numbers = {f"{direction} {one['name']}": one["value"] for direction, each in figures.items() for one in each}
            session.loggers.numbers(step, numbers)
        session.say(f"step {step}: {name} {value:.4g}{', the best so far' if best else ''}")


def _measured(session: Session, step: int) -> tuple[dict[str, list[dict[str, Any]]], float, str]:
    """All figures of each direction, the mean of the one that decides, and its features."""
    progress, name = session.progress, session.config.best
    assert progress.evaluator is not None
    translators = {
        direction: Translator.of(
            model_card(session, direction, step), ready(network, own_statistics=session.own_statistics), session.processes.device
        )
        for direction, network in session.trainer.translators.items()
    }
    found = progress.evaluator.both_ways(translators, progress.a, progress.b, paired=session.recipe.method.paired)
    deciding = [figure for figures in found.values() for figure in figures if figure.name == name]
    if not deciding:
        measured = dict.fromkeys(figure.name for figures in found.values() for figure in figures if figure.name in FIGURES)
        raise UserError(f"--best {name} cannot be measured here: choose {' or '.join(measured)}, or give what it needs (see --help)")
    value = sum(figure.value for figure in deciding) / len(deciding)
    return {direction: [asdict(figure) for figure in figures] for direction, figures in found.items()}, value, deciding[0].features
