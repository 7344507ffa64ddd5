# SPDX-License-Identifier: Apache-2.0
"""Learning rate and momentum as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CYCLE_PEAK = 5.0
CYCLE_UP_FRACTION = 0.4
CYCLE_END = 5e-5
CYCLE_MOMENTUM = 0.85 / 0.95
WARMUP_START = 0.05


@dataclass(frozen=True)
class ScheduleConfig:
    """How long, and how the learning rate moves.

    Attributes:
        steps: Optimiser steps of the whole training.
        kind: `cosine`: linear warm-up to the given rate, cosine down to zero. `cyclic`: the
            published recipe, cosine up to five times the rate over the first 40 %, then down.
        warmup_steps: Steps of the warm-up; `cyclic` has its own and ignores it.
    """

    steps: int
    kind: Literal["cosine", "cyclic"]
    warmup_steps: int

    def __post_init__(self) -> None:
        """Refuse trainings without a step.

        Raises:
            ValueError: If there is no step, or more warm-up than training.
        """
        if self.steps < 1:
            raise ValueError(f"schedule.steps: expected at least 1, got {self.steps}")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"schedule.warmup_steps: expected 0 to {self.steps}, got {self.warmup_steps}"
            )


def learning_rate_factor(schedule: ScheduleConfig, step: int) -> float:
    """Return what the configured learning rate is multiplied with at a step (0 is the first)."""
    if schedule.kind == "cyclic":
        up_steps = CYCLE_UP_FRACTION * schedule.steps
        if step < up_steps:
            return _cosine(1.0, CYCLE_PEAK, step / up_steps)
        return _cosine(CYCLE_PEAK, CYCLE_END, (step - up_steps) / (schedule.steps - up_steps))
    if step < schedule.warmup_steps:
        return WARMUP_START + (1 - WARMUP_START) * step / schedule.warmup_steps
    rest = max(1, schedule.steps - schedule.warmup_steps)
    return _cosine(1.0, 0.0, (step - schedule.warmup_steps) / rest)


def momentum_factor(schedule: ScheduleConfig, step: int) -> float:
    """Return what Adam's beta1 is multiplied with at a step; `cyclic` lowers it at high rates."""
    if schedule.kind == "cosine":
        return 1.0
    up_steps = CYCLE_UP_FRACTION * schedule.steps
    if step < up_steps:
        return _cosine(1.0, CYCLE_MOMENTUM, step / up_steps)
    return _cosine(CYCLE_MOMENTUM, 1.0, (step - up_steps) / (schedule.steps - up_steps))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
