"""The learning rate as a pure function of progress."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transmute.training.config import ConstantConfig, CosineConfig, LinearConfig, PlateauConfig, ScheduleConfig, StepConfig


def rate(schedule: ScheduleConfig, now: int, length: int) -> float:
    """The factor of the learning rate.

    Args:
        schedule: Its shape.
        now: Epochs (or steps, where a training's length is given in steps) finished before this one.
        length: Epochs (or steps) of the whole training.

    Returns:
        Between 0 and 1. For `linear` it is the original's 1 - max(0, now + 1 - constant) / (decaying + 1), which ends above 0;
        with `ahead` 0, that of PyTorch-GAN and mmgeneration.
    """
    match schedule:
        case ConstantConfig():
            return 1.0
        case LinearConfig(decay=decay, ahead=ahead, intervals=intervals):
            now, length = (now * intervals // length, intervals) if intervals else (now, length)
            decaying = round(length * decay)
            return 1 - max(0, now + ahead - (length - decaying)) / max(1, decaying + ahead)
        case StepConfig(every=every, factor=factor):
            return factor ** (now // max(1, round(every * length)))
        case CosineConfig(down=down):
            return 0.5 * (1 + math.cos(math.pi * now / (down * length)))
        case PlateauConfig():
            raise TypeError("a plateau depends on evaluations: see plateau_rate")


def plateau_rate(schedule: PlateauConfig, losses: Sequence[float]) -> float:
    """The factor of the learning rate after evaluations.

    Args:
        schedule: Its shape.
        losses: Figures of all evaluations so far, each the better the lower (so those of which more is better with a minus).
    """
    factor, best, waited = 1.0, math.inf, 0
    for loss in losses:
        if loss < best - schedule.threshold * (abs(best) if math.isfinite(best) else 0):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > schedule.patience:
            factor, waited = factor * schedule.factor, 0
    return factor
