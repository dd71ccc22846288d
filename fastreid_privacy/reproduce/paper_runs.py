"""The runs that the page of a reproduction shows: a list of all, pictures of the first seed's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.domains import DOMAINS
from ..core.errors import UserError
from . import paper
from .finished import FinishedRun, FinishedRuns
from .plan import OPERATORS, Run

RAW = "upper_bound"  # the kind of run that is of no operator


class PaperRuns:
    """All finished trainings below the folder of a reproduction.

    Attributes:
        runs: by seed, model and operator.
        seeds: of the runs, ascending; pictures are of the first one.
        operators: that there are runs of, in the paper's order.

    Raises:
        UserError: when there is no finished run, or its results.json is no JSON or of another schema.
    """

    def __init__(self, output_dir: str | Path):
        finished = FinishedRuns(output_dir)
        self.runs = finished.trainings(tuple(paper.LONG_MODELS))
        if not self.runs:
            raise UserError(
                f"{finished.folder} holds no finished run of a reproduction (seed0/upper_bound/results.json "
                "and so on); tools/reproduce.py makes them"
            )
        self.seeds = sorted({run.seed for run in self.runs})
        self.operators = [name for name in OPERATORS if any(run.operator == name for run in self.runs)]

    def run(self, kind: str, operator: str, seed: int | None = None) -> Run:
        """A run, finished or not.

        Args:
            kind: of :class:`Run`.
            operator: no matter for the upper bound.
            seed: None for the first one.
        """
        return Run(kind, self.seeds[0] if seed is None else seed, "" if kind == RAW else operator)

    def name(self, kind: str, operator: str) -> str:
        """Where the run of the first seed is, or would be, below the folder of the reproduction."""
        return self.run(kind, operator).name

    def of(self, kind: str, operator: str, seed: int | None = None) -> FinishedRun | None:
        """The finished run that :meth:`run` names; None where it is not finished."""
        return self.runs.get(self.run(kind, operator, seed))

    @property
    def dataset(self) -> str:
        """The data set that the runs are of."""
        return next(iter(self.runs.values())).results.get("dataset") or "unnamed data set"

    def first_operator(self, kinds: tuple[str, ...], preferred: str) -> str:
        """The operator that has most of these kinds of runs.

        Of several the preferred one, or else the first in the paper's order.
        """
        counts = {name: sum(self.of(kind, name) is not None for kind in kinds) for name in OPERATORS}
        return max(sorted(OPERATORS, key=lambda name: name != preferred), key=counts.__getitem__)

    def images(self, kind: str, operator: str, domain: str) -> tuple[np.ndarray | None, str]:
        """Sample images of the first seed, uint8 N×H×W×3 RGB, or None and what is missing."""
        run, name = self.of(kind, operator), self.name(kind, operator)
        if run is None:
            return None, f"{name} is not finished"
        if domain not in run.samples:
            return None, f"{name}/figures/samples.npz holds no {DOMAINS[domain]} images, or cannot be read"
        return run.samples[domain], ""
