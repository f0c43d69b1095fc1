"""The learning rate as a pure function of progress."""

from __future__ import annotations

import math

from transmute.training.config import ConstantConfig, CosineConfig, LinearConfig, ScheduleConfig, StepConfig


def rate(schedule: ScheduleConfig, now: int, length: int) -> float:
    """The factor of the learning rate.

    Args:
        schedule: Its shape.
        now: Epochs (or steps, where a training's length is given in steps) finished before this one.
        length: Epochs (or steps) of the whole training.

    Returns:
        Between 0 and 1. For `linear` it is the original's 1 - max(0, now + 1 - constant) / (decaying + 1), which ends above 0.
    """
    match schedule:
        case ConstantConfig():
            return 1.0
        case LinearConfig(decay=decay):
            decaying = round(length * decay)
            return 1 - max(0, now + 1 - (length - decaying)) / (decaying + 1)
        case StepConfig(every=every, factor=factor):
            return factor ** (now // (every * length))
        case CosineConfig():
            return 0.5 * (1 + math.cos(math.pi * now / length))
