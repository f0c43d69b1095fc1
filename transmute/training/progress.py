"""How good the translators have been so far: the history of evaluations, and what it decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from PIL import Image

from transmute.data.layout import DataSet, Source
from transmute.data.preprocess import Geometry
from transmute.images import PictureError, open_picture
from transmute.metrics.config import FIGURES, MetricsConfig
from transmute.settings import UserError
from transmute.training.config import PlateauConfig, TrainConfig
from transmute.training.processes import Processes
from transmute.translation.translator import Translator

Opener = Callable[[], Image.Image]


class Evaluate(Protocol):
    """Measures translators; see `transmute.evaluation.Evaluator`."""

    def measurable(self, *, paired: bool, both_ways: bool, counts: tuple[int, int]) -> set[str]: ...
    def both_ways(self, translators: dict[str, Translator], a: Sequence[Opener], b: Sequence[Opener], *, paired: bool) -> dict[str, list[Any]]: ...


MakeEvaluator = Callable[[MetricsConfig, torch.device], Evaluate]
"""Makes what measures; the loop does not know what it measures with."""


@dataclass
class Progress:
    """The evaluations of a run, and who makes them.

    Attributes:
        config: What decides which models are the best, and when to end.
        evaluator: In the first process, where evaluations are asked for; else None.
        a, b: Open the pictures to measure on.
        rows: The evaluations so far, as in evaluations.jsonl; the same in every process.
    """

    config: TrainConfig
    evaluator: Evaluate | None = None
    a: Sequence[Opener] = ()
    b: Sequence[Opener] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        data: DataSet,
        processes: Processes,
        geometry: Geometry,
        evaluator: MakeEvaluator | None,
        say: Callable[[str], None],
        *,
        both_ways: bool,
    ) -> Progress:
        """Nothing yet, and ready to measure on held-out pictures, or on training pictures where none are held out.

        Raises:
            UserError: If something needs evaluations that are not asked for, or what they need cannot be had.
        """
        if config.evaluate_every is None:
            if config.patience or isinstance(config.recipe.schedule, PlateauConfig):
                raise UserError("--patience and a plateau schedule watch evaluations: give --evaluate-every too")
            return cls(config)
        assert evaluator is not None, "who asks for evaluations hands in what makes them"
        if not processes.first:
            return cls(config)
        sides = data.test if data.test[0] and data.test[1] else data.train
        background = config.recipe.preprocess.background
        a, b = ([partial(_whole, source, geometry, background) for source in side] for side in sides)
        if config.data.skip_bad:
            a, b = _readable(a, b, paired=config.recipe.method.paired)
        made = evaluator(config.metrics, processes.device)
        able = made.measurable(paired=config.recipe.method.paired, both_ways=both_ways, counts=(len(a), len(b)))
        if config.best not in able:
            choice = f"choose {' or '.join(name for name in FIGURES if name in able)}, or give what it needs" if able else "more pictures are needed"
            raise UserError(f"--best {config.best} cannot be measured on {len(a)} and {len(b)} pictures here: {choice} (see --help)")
        kind = "held-out pictures" if sides is data.test else "training pictures, for want of held-out ones, which hides overfitting"
        say(f"evaluation: every {config.evaluate_every} steps on {len(a)} and {len(b)} {kind}")
        return cls(config, made, a, b)

    @property
    def losses(self) -> list[float]:
        """The figure that decides, the better the lower, of each evaluation but that of the untrained networks."""
        sign = 1 if FIGURES[self.config.best] == "lower" else -1
        return [sign * row["best"]["value"] for row in self._deciding]

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, if there is one."""
        return self._deciding[self._best]["step"] if self._deciding else None

    @property
    def _deciding(self) -> list[dict[str, Any]]:
        """Evaluations that can be compared with the latest: of one figure with one kind of features."""
        alike = [row for row in self.rows if row["best"]["name"] == self.config.best]
        return [row for row in alike if row["step"] and row["best"].get("features") == alike[-1]["best"].get("features")]

    def require_continuity(self, name: str, features: str | None = None) -> None:
        """Where evaluations decide over rate or length, a continued run must measure as it has.

        Raises:
            UserError: If it measures by another figure, or with other features.
        """
        if not self.rows or not (self.config.patience or isinstance(self.config.recipe.schedule, PlateauConfig)):
            return
        before = self.rows[-1]["best"]
        if before["name"] != name:
            raise UserError(f"this run has been evaluated by {before['name']}, on which its rate or length depends: give --best {before['name']}")
        if features is not None and before.get("features") != features:
            raise UserError(
                f"this run has been evaluated with {before.get('features')} features, now with {features}: give the same --metrics.features"
            )

    @property
    def over(self) -> bool:
        """Whether the training ends, since nothing has been better for long enough."""
        return self.config.patience is not None and len(self.losses) - 1 - self._best >= self.config.patience

    @property
    def _best(self) -> int:
        losses = self.losses
        return losses.index(min(losses)) if losses else -1

    def figures(self, direction: str, step: int) -> dict[str, float]:
        """What was measured of a direction at a step, by the name of the figure and its features."""
        rows = [row for row in self.rows if row["step"] == step]
        found = rows[-1]["figures"].get(direction, []) if rows else []
        return {one["name"] + (f" ({one['features']})" if one["features"] else ""): one["value"] for one in found}


def _readable(
    a: list[partial[Image.Image]], b: list[partial[Image.Image]], *, paired: bool
) -> tuple[list[partial[Image.Image]], list[partial[Image.Image]]]:
    """The same without pictures that cannot be read; of pairs, without both."""

    def good(opener: Opener) -> bool:
        try:
            opener()
        except PictureError:
            return False
        return True

    if paired:
        both = [(one, two) for one, two in zip(a, b, strict=True) if good(one) and good(two)]
        return [one for one, _ in both], [two for _, two in both]
    return list(filter(good, a)), list(filter(good, b))


def _whole(source: Source, geometry: Geometry, background: str) -> Image.Image:
    picture, _ = open_picture(source.path, background=background, half=source.half)
    return geometry.whole(picture)
