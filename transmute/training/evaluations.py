"""Evaluations during training, and the decisions that depend on them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from transmute.config.training import PlateauConfig, TrainConfig
from transmute.data.scan import require_measurable
from transmute.data.source import Source
from transmute.data.stream import Stream
from transmute.data.values import open_normalized
from transmute.errors import UserError, counted
from transmute.metrics.evaluator import Evaluator, Opener
from transmute.run import best_evaluation, comparable_evaluations
from transmute.training.checkpoint import ModelWriter
from transmute.training.processes import Processes
from transmute.training.trainer import Trainer
from transmute.translation.translator import Translator

Measure = Callable[[int], dict[str, Any]]
"""Measures the current generators. Takes the step, and returns a row of evaluations.jsonl."""


@dataclass
class EvaluationHistory:
    """The evaluations of a run, and the decisions that depend on them.

    Attributes:
        config: With the deciding metric, the patience and the schedule.
        rows: The rows of evaluations.jsonl; the same on every rank.
    """

    config: TrainConfig
    rows: list[dict[str, Any]]

    @property
    def values(self) -> list[float]:
        """The deciding metric of each comparable evaluation, negated if higher is better."""
        return [
            row["best"]["value"] * (1 if row["best"]["better"] == "lower" else -1)
            for row in comparable_evaluations(self.rows)
        ]

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, if there is one."""
        return (best_evaluation(self.rows) or {}).get("step")

    @property
    def remark(self) -> str:
        """Ends a sentence about the best evaluation: whether it is worse than before training."""
        before = next((row["best"] for row in self.rows if row["step"] == 0), None)
        best = (best_evaluation(self.rows) or {"best": None})["best"]
        if not before or not best or before | {"value": 0} != best | {"value": 0}:
            return ""  # or by another metric
        values = sorted((before["value"], best["value"]), reverse=best["better"] == "higher")
        is_worse = values[0] != best["value"]
        return f", but worse than {before['value']:.4g} before training" if is_worse else ""

    @property
    def exhausted(self) -> bool:
        """Whether training ends because `patience` evaluations in a row brought no improvement."""
        values, patience = self.values, self.config.patience or math.inf
        return bool(values) and len(values) - 1 - values.index(min(values)) >= patience

    def require_same_metric(self, name: str, features: str | None = None) -> None:
        """Checks that a resumed run uses the same metric as before, if the metric affects training.

        It does if the length or the learning rate depends on it.

        Raises:
            UserError: If the metric or its features changed.
        """
        if not self.rows or not depends_on_evaluations(self.config):
            return
        before = self.rows[-1]["best"]
        if before["name"] != name:
            raise UserError(
                f"this run was evaluated by {before['name']}, which affects its length or learning "
                f"rate, but now uses {name}. Set `best={before['name']}`"
            )
        if features is not None and before.get("features") != features:
            raise UserError(
                f"this run was evaluated with {before.get('features')} features, but now uses "
                f"{features}. Use the same `metrics.features`"
            )

    def metrics(self, step: int) -> dict[str, dict[str, float]]:
        """For each direction, the metrics measured at a step, keyed by name and features."""
        rows = [row for row in self.rows if row["step"] == step]
        return {
            direction: {
                f"{metric['name']} ({metric['features']})"
                if metric.get("features")
                else metric["name"]: metric["value"]
                for metric in metrics
            }
            for direction, metrics in (rows[-1]["metrics"] if rows else {}).items()
        }


def depends_on_evaluations(config: TrainConfig) -> bool:
    """Whether the length or the learning rate of a training run depends on its evaluations."""
    return config.patience is not None or isinstance(config.recipe.schedule, PlateauConfig)


def prepare_measuring(
    config: TrainConfig,
    processes: Processes,
    stream: Stream,
    models: ModelWriter,
    trainer: Trainer,
    say: Callable[[str], None],
) -> Measure | None:
    """Chooses the images to measure on: held-out ones, or training images if none are held out.

    Returns:
        None without evaluations, and on ranks other than 0.

    Raises:
        UserError: If images are bad and not skipped, or the deciding metric cannot be measured on
            them.
    """
    if config.evaluate_every is None or not processes.is_main:
        return None
    evaluator = Evaluator(config.metrics, processes.device)
    paired, held_out = config.recipe.method.paired, all(stream.data.test)
    sides = stream.data.test if held_out else stream.data.train
    if held_out:
        preprocess, skip_bad = stream.preprocess, config.data.skip_bad
        sides = require_measurable(sides, preprocess, paired=paired, skip_bad=skip_bad)
    a, b = sides
    measurable = evaluator.measurable(
        paired=paired, both_directions=len(trainer.generators) == 2, counts=(len(a), len(b))
    )
    _require_measurable_best(config.best, measurable, len(a), len(b))
    kind = (
        "held-out images"
        if held_out
        else "no held-out images, so training images are used and overfitting will not show"
    )
    say(
        f"evaluation: every {config.evaluate_every} steps on {counted(len(a), 'image')} of a and "
        f"{len(b)} of b ({kind})"
    )
    openers = [_openers(side, stream, domain) for domain, side in enumerate((a, b))]

    def measure(step: int) -> dict[str, Any]:
        translators = {
            direction: Translator.of(
                models.card(direction, trainer.method.networks[direction], step, {}),
                network,
                trainer.device,
            ).normalized
            for direction, network in models.for_inference(trainer).items()
        }
        measured = evaluator.measure_directions(translators, *openers, paired=paired)
        metrics = {name: [asdict(metric) for metric in measured[name]] for name in measured}
        best = _deciding_metric(metrics, config.best, measurable[config.best])
        return {"step": step, "best": best, "metrics": metrics}

    return measure


def _require_measurable_best(name: str, measurable: Mapping[str, str], a: int, b: int) -> None:
    if name not in measurable:
        hint = f"Choose one of: {', '.join(measurable)}. Or provide what {name} needs"
        raise UserError(
            f"`best={name}` cannot be measured on {counted(a, 'image')} of a and {b} of b. "
            f"{hint if measurable else 'It needs more images'}"
        )


def _deciding_metric(
    measured: dict[str, list[dict[str, Any]]], name: str, better: str
) -> dict[str, Any]:
    """The metric that decides which models are best, as its mean over the directions."""
    metrics = [metric for each in measured.values() for metric in each]
    deciding = [metric for metric in metrics if metric["name"] == name]
    if not deciding:
        known = ", ".join(dict.fromkeys(metric["name"] for metric in metrics))
        raise UserError(
            f"`best={name}` cannot be measured here. Choose one of: {known}. Or provide what "
            f"{name} needs"
        )
    value = sum(metric["value"] for metric in deciding) / len(deciding)
    return {"name": name, "features": deciding[0]["features"], "value": value, "better": better}


def _openers(sources: list[Source], stream: Stream, domain: int) -> list[Opener]:
    """Functions that open images as training sees them, without randomness."""
    preprocess, resize = stream.preprocess, stream.geometry.whole
    channels, values = preprocess.channels[domain], preprocess.ranges[domain]
    return [
        partial(open_normalized, one, channels, preprocess.background, values, resize)
        for one in sources
    ]
