"""Which runs the tables need, in the order in which they can be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import paper

TABLES = (1, 3, 4, 5)
OPERATORS = tuple(paper.OPERATORS)
# A training step of each kind beside the upper bound's, measured on a CPU; the test of a finished model costs
# far less than an epoch.
WEIGHTS = {"upper_bound": 1.0, "base": 1.9, "wo_upgrade": 3.8, "full": 3.8, "raw_agw": 0.05}


@dataclass(frozen=True)
class Run:
    """One training, or one test of a finished model.

    Attributes:
        kind: "upper_bound" (AGW on raw images), "base" (raw and desensitized images), "wo_upgrade" (the
            method without supervision upgradation), "full" (the method), or "raw_agw" (the upper bound's
            Re-ID on images of a finished "full").
        seed: ``SEED``.
        operator: of ``OPERATORS``; "" for the upper bound.
    """

    kind: str
    seed: int
    operator: str = ""

    @property
    def folder(self) -> Path:
        """Where its results are, below the folder of the reproduction."""
        seed = Path(f"seed{self.seed}")
        if self.kind == "raw_agw":
            return seed / f"full_{self.operator}" / "raw_agw"
        return seed / (f"{self.kind}_{self.operator}" if self.operator else self.kind)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.folder.as_posix()

    @property
    def trains(self) -> bool:
        """Whether it is a training, not a test of a finished model."""
        return self.kind != "raw_agw"

    @property
    def tested(self) -> dict[str, Run]:
        """Of a "raw_agw" the trainings whose checkpoints it tests, as its results name them; else {}."""
        if self.trains:
            return {}
        full = Run("full", self.seed, self.operator)
        return {"checkpoint": full, "reid_checkpoint": Run("upper_bound", self.seed)}


def plan_runs(tables: Sequence[int], operators: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The runs that the tables need, each after those whose results it takes.

    The upper bound is in every plan, as each model's own report shows rank-1 as shares of it, and so is Base
    beside the full model, whose first upgrade is measured against it.

    Args:
        tables: of ``TABLES``.
        operators: of ``OPERATORS``.
        seeds: one reproduction each.
    """
    kinds = [
        "base",
        *(["wo_upgrade"] if 5 in tables else []),
        "full",
        *(["raw_agw"] if {1, 4} & set(tables) else []),
    ]
    return [
        run
        for seed in seeds
        for run in (
            Run("upper_bound", seed),
            *(Run(kind, seed, operator) for operator in operators for kind in kinds),
        )
    ]
