"""The learning rate as a pure function of progress or of evaluations."""

import math
from collections.abc import Sequence

from transmute.config.training import (
    ConstantConfig,
    CosineConfig,
    LinearConfig,
    PlateauConfig,
    ProgressKind,
    ScheduleConfig,
    StepConfig,
)


def learning_rate_factor(
    schedule: ScheduleConfig, now: int, length: int, values: Sequence[float] = ()
) -> float:
    """The factor of the learning rate, from 0 to 1.

    `linear` is 1 - max(0, now + 1 - constant) / (decaying + 1), which ends above 0, as in
    pytorch-CycleGAN-and-pix2pix until 2020; with `early=1`, it ends at 0, as there since then. With
    `ahead=0`, it is that of PyTorch-GAN and mmgeneration.

    Args:
        schedule: The kind of schedule.
        now: Epochs finished before this one (or steps, if the length is given in steps).
        length: Epochs (or steps) of the whole training run.
        values: The deciding metric of all evaluations so far, for a plateau.
    """
    if isinstance(schedule, ProgressKind):
        now = max(0, now + schedule.early)
    match schedule:
        case ConstantConfig():
            return 1.0
        case LinearConfig(decay=decay, ahead=ahead, intervals=intervals):
            if intervals:
                now, length = now * intervals // length, intervals
            decaying = round(length * decay)
            past = max(0, now + ahead - (length - decaying))
            return max(0.0, 1 - past / max(1, decaying + ahead))
        case StepConfig(every=every, factor=factor):
            return factor ** (now // max(1, round(every * length)))
        case CosineConfig(down=down):
            return 0.5 * (1 + math.cos(math.pi * now / (down * length)))
        case PlateauConfig():
            return plateau_factor(schedule, values)


def plateau_factor(schedule: PlateauConfig, values: Sequence[float]) -> float:
    """The factor of the learning rate after evaluations.

    Args:
        schedule: When and by how much the learning rate falls.
        values: The deciding metric of all evaluations so far; lower is better.
    """
    factor, best, waited = 1.0, math.inf, 0
    for value in values:
        if value < best - schedule.threshold * (abs(best) if math.isfinite(best) else 0):
            best, waited = value, 0
        else:
            waited += 1
        if waited > schedule.patience:
            factor, waited = factor * schedule.factor, 0
    return factor
