"""The finished runs of a reproduction: which there are, their figures, and what is stored beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..core.errors import named
from ..core.files import file_hash
from ..results.results_json import RESULTS, read_results, tested_checkpoint
from ..results.stored import EMBEDDING, RANK_LISTS, SAMPLES, Arrays
from .plan import OPERATORS, Run


@dataclass(frozen=True)
class FinishedRun:
    """One finished run.

    Attributes:
        folder: its OUTPUT_DIR.
        results: what its results.json holds.
    """

    folder: Path
    results: Mapping = field(repr=False)

    @cached_property
    def samples(self) -> Arrays:
        """Domain → sample images; {} where none are stored."""
        return SAMPLES.load(self.folder) or {}

    @cached_property
    def embedding(self) -> Arrays:
        """Features of a few people; {} where none are stored."""
        return EMBEDDING.load(self.folder) or {}

    @cached_property
    def rank_lists(self) -> Arrays:
        """Pictures of a few rankings; {} where none are stored."""
        return RANK_LISTS.load(self.folder) or {}

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """Of the checkpoint that its results are of; None where they name none, or it is not there.

        Raises:
            UserError: when it cannot be read.
        """
        if not self.results.get("checkpoint"):
            return None
        file = tested_checkpoint(self.results, self.folder)
        with named(file):
            return file_hash(file) if file.is_file() else None

    def figure(self, where: str, metric: str) -> float | None:
        """A figure of results.json.

        Args:
            where: a pair of domains ("OI-PI"), or "protected", "desensitized" or "recovered" images.
            metric: as results.json names it.
        """
        retrieval, quality = (self.results.get(part) or {} for part in ("retrieval", "image_quality"))
        return (retrieval.get(where) or quality.get(where) or {}).get(metric)


def read_run(folder: Path) -> FinishedRun | None:
    """The run of a folder; None where it has no results yet.

    Raises:
        UserError: when its results.json is no JSON or of another schema.
    """
    file = folder / RESULTS
    return FinishedRun(folder, read_results(file)) if file.is_file() else None


class FinishedRuns:
    """The finished runs of a reproduction. Each is read once, when it is first asked for.

    Args:
        folder: of the reproduction.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._read: dict[Run, FinishedRun | None] = {}

    def of(self, run: Run) -> FinishedRun | None:
        """A run; None where it has no results yet, or those of a test of other checkpoints than are there.

        Raises:
            UserError: as :func:`read_run`, and when a checkpoint cannot be read.
        """
        if run not in self._read:
            found = read_run(self.folder / run.folder)
            self._read[run] = found if found and self._is_of_these(run, found) else None
        return self._read[run]

    def _is_of_these(self, run: Run, found: FinishedRun) -> bool:
        """Whether the checkpoints that a run tests, as far as they are there, are those that it tested."""
        told = found.results.get("sha256") or {}  # older versions did not tell it
        trained = {name: self.of(model) for name, model in run.tested.items()}
        sums = {name: model.checkpoint_sha256 for name, model in trained.items() if model}
        return all(sha256 in (None, told.get(name)) for name, sha256 in sums.items())

    def trainings(self, kinds: Sequence[str]) -> dict[Run, FinishedRun]:
        """The finished trainings that the folder holds, whatever was planned, by seed.

        Args:
            kinds: of :class:`Run`, in the order asked for.

        Raises:
            UserError: as :func:`read_run`.
        """
        seeds = [
            int(path.name[4:]) for path in self.folder.glob("seed*") if re.fullmatch(r"seed\d+", path.name)
        ]
        runs = [
            Run(kind, seed, operator)
            for seed in sorted(seeds)
            for kind in kinds
            for operator in ([""] if kind == "upper_bound" else OPERATORS)
        ]
        return {run: finished for run in runs if (finished := self.of(run))}

    def figures(self, runs: Iterable[Run], where: str, metric: str) -> dict[int, float]:
        """A figure of every run that has it, by the run's seed; see :meth:`FinishedRun.figure`."""
        found = {}
        for run in runs:
            finished = self.of(run)
            value = finished.figure(where, metric) if finished else None
            if value is not None:
                found[run.seed] = value
        return found
