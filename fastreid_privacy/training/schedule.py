"""A schedule for a smaller budget: fewer epochs, and what counts in epochs or iterations in proportion."""

from __future__ import annotations

import math
from collections.abc import Mapping


def scaled_schedule(solver: Mapping, eval_period: int, budget: float) -> dict[str, object]:
    """The config keys of a schedule of ``budget`` times as many epochs.

    Epochs are rounded (half up, at least 1), everything else is rounded down, so that a decay of the learning
    rate before the last epoch stays before it and there are no fewer checks than in the whole schedule.
    Decays that would come before the first epoch are dropped: the whole training would be at the decayed
    rate. Warm-up, checks and checkpoints keep at least one epoch where they had one.

    Args:
        solver: ``cfg.SOLVER``.
        eval_period: ``cfg.TEST.EVAL_PERIOD``, epochs.
        budget: above 0, at most 1.

    Returns:
        {config key: value}; empty for budget 1.

    Example:
        >>> solver = {"MAX_EPOCH": 120, "STEPS": [40, 80], "WARMUP_EPOCHS": 10, "CHECKPOINT_PERIOD": 5}
        >>> scaled_schedule({**solver, "FREEZE_ITERS": 0, "DELAY_EPOCHS": 0}, 5, 0.1)["SOLVER.STEPS"]
        [4, 8]
    """
    if budget == 1:
        return {}
    old = solver["MAX_EPOCH"]
    new = max(1, math.floor(budget * old + 0.5))

    def scaled(value: int) -> int:
        return value * new // old

    steps = [scaled(step) for step in solver["STEPS"]]
    return {
        "SOLVER.MAX_EPOCH": new,
        "SOLVER.STEPS": [step for step in steps if step > 0],
        "SOLVER.WARMUP_EPOCHS": max(scaled(solver["WARMUP_EPOCHS"]), min(1, solver["WARMUP_EPOCHS"])),
        "SOLVER.DELAY_EPOCHS": scaled(solver["DELAY_EPOCHS"]),
        "SOLVER.FREEZE_ITERS": max(scaled(solver["FREEZE_ITERS"]), min(1, solver["FREEZE_ITERS"])),
        "SOLVER.CHECKPOINT_PERIOD": max(1, scaled(solver["CHECKPOINT_PERIOD"])),
        "TEST.EVAL_PERIOD": max(1, scaled(eval_period)),
    }
