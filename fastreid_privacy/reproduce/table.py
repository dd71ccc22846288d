"""A table of a reproduction as plain data."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.privacy import NOT_PRIVATE
from ..report.tables import number
from .protocols import JOINT

DECIMALS = {"PSNR": 2, "SSIM": 3}  # percent have one


@dataclass(frozen=True)
class Figure:
    """One cell: ours of each seed that has it, and the paper's.

    Attributes:
        metric: as results.json names it, or "share".
        values: seed → figure.
        paper: None where the paper has none that is known.
        inferred: whether the paper's was inferred from a row that slipped.
    """

    metric: str
    values: Mapping[int, float]
    paper: float | None = None
    inferred: bool = False

    @property
    def mean(self) -> float | None:
        """The mean over the seeds; None without any."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation (n − 1); None of fewer than two seeds."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def text(self, seeds: int) -> str:
        """As tables show it.

        Args:
            seeds: how many most cells have; a cell of fewer says so.
        """
        decimals = DECIMALS.get(self.metric, 1)
        spread = f" ± {number(self.deviation, decimals)}" if len(self.values) > 1 else ""
        count = f" (n = {len(self.values)})" if 0 < len(self.values) < seeds else ""
        return number(self.mean, decimals) + spread + count

    @property
    def paper_text(self) -> str:
        """The paper's figure with the paper's decimals; † of an inferred one."""
        return number(self.paper, 2 if self.metric in DECIMALS else 1) + "†" * self.inferred


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        operator, model: as paper.py names them.
        where: a pair, or an image domain.
        label: the model's name.
        figures: by metric, "share" included where the table has it.
        not_private: of how many seeds the model is NOT PRIVATE.
    """

    operator: str
    model: str
    where: str
    label: str
    figures: Mapping[str, Figure]
    not_private: int = 0

    @property
    def title(self) -> str:
        """The model's name, and what has to be said of it."""
        return f"{self.label}, {NOT_PRIVATE}" if self.not_private else self.label


@dataclass(frozen=True)
class Gain:
    """One line of the gains: by how many points of rank-1 the full method is above another model.

    Attributes:
        operator: of both.
        over: the other model: "base" or "wo_upgrade".
        where: a pair, or "all four" for the mean over the pairs of table 5.
        figure: ours, of the seeds that have both runs, and the paper's on the data set compared with.
        claimed: what section 4.5 says; None where it says nothing.
    """

    operator: str
    over: str
    where: str
    figure: Figure
    claimed: float | None


@dataclass(frozen=True)
class Gains:
    """The gains of section 4.5.

    Attributes:
        lines: in the order of the paper.
        caption: what they are of.
    """

    lines: list[Gain]
    caption: str


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Attributes:
        number: the paper's.
        metrics: columns; each has ours and the paper's.
        groups: heading and rows of each operator, then of the raw images.
        protocol: of the reproduction.
        caption: what the figures are of.
        notes: what stands beneath.
        gains: below table 5.
    """

    number: int
    title: str
    metrics: tuple[str, ...]
    groups: list[tuple[str, list[TableRow]]]
    protocol: str = JOINT
    caption: str = ""
    notes: list[str] = field(default_factory=list)
    gains: Gains | None = None

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all groups."""
        return [row for _, rows in self.groups for row in rows]

    @property
    def most_seeds(self) -> int:
        """How many seeds the best filled cell has."""
        return max((len(figure.values) for row in self.rows for figure in row.figures.values()), default=0)
