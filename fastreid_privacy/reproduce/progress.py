"""The bar over a whole plan: how far its runs are, by their logs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..results.training_log import read_metrics
from .plan import WEIGHTS, Run
from .reproduction import Reproduction


class Progress:
    """A bar that counts every run by its weight.

    Args:
        reproduction: whose runs are made.
        missing: runs that are not finished; the others count as done.
        steps: iterations of an epoch.
    """

    def __init__(self, reproduction: Reproduction, missing: Sequence[Run], steps: int):
        self._reproduction, self._plan = reproduction, reproduction.runs
        self._iterations = max(reproduction.epochs * steps, 1)
        self._run, self._before = missing[0], 0.0
        self._bar = tqdm(
            total=sum(WEIGHTS[run.kind] for run in self._plan),
            initial=sum(WEIGHTS[run.kind] for run in self._plan if run not in missing),
            smoothing=0,
            miniters=0,
            mininterval=0.5 if sys.stderr.isatty() else 60,
            bar_format="{desc} |{bar}| {percentage:3.0f} % [{elapsed}, {remaining} left]",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def begin(self, run: Run) -> None:
        """A run is about to be made."""
        self._run, self._before = run, self._bar.n

    def update(self) -> None:
        """Show what the run's log says is done."""
        self._show(done(self._reproduction.folder(self._run) / "metrics.json", self._iterations))

    def finish(self) -> None:
        """The run is done."""
        self._show(1.0)

    def _show(self, fraction: float) -> None:
        run, epochs = self._run, self._reproduction.epochs
        title = f"run {self._plan.index(run) + 1} of {len(self._plan)}, {run.name}"
        if run.trains:
            title += f", epoch {min(int(fraction * epochs) + 1, epochs)} of {epochs}"
        self._bar.set_description_str(title, refresh=False)
        self._bar.update(max(self._before + fraction * WEIGHTS[run.kind] - self._bar.n, 0))


def done(log: Path, iterations: int) -> float:
    """The fraction of a training that its log says is done, 0–1; 0 without a log.

    Args:
        log: metrics.json.
        iterations: of the whole training, at least 1.
    """
    metrics = read_metrics(log)
    return min(metrics[-1]["iteration"] / iterations, 1.0) if metrics else 0.0
