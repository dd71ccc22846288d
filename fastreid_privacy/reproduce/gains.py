"""The gains in rank-1 of section 4.5, computed from the cells of table 5, ours and the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ..core.domains import SETTINGS
from ..report.tables import arrow
from . import paper
from .finished import FinishedRuns
from .plan import Run
from .table import Figure, Gain, Gains

ALL = paper.ALL_PAIRS
WHERE = {"base": ("PI-PI", "OI-PI", "PI-OI"), "wo_upgrade": (ALL,)}  # what section 4.5 speaks of


def pairs_of(where: str) -> tuple[str, ...]:
    """The pairs of query and gallery that a gain is the mean of."""
    return SETTINGS if where == ALL else (where,)


def paper_gain(operator: str, over: str, where: str, datasets: Sequence[str]) -> float:
    """The full method's rank-1 minus another model's, of the paper's table 5.

    Args:
        operator, over, where: as of :class:`.table.Gain`.
        datasets: of ``paper.DATASETS``.

    Returns:
        Points of rank-1: the mean over pairs and data sets.
    """
    found = [paper.figures(dataset) for dataset in datasets]
    return statistics.fmean(
        figures[5, operator, "full", pair, "Rank-1"] - figures[5, operator, over, pair, "Rank-1"]
        for figures in found
        for pair in pairs_of(where)
    )


def build_gains(plan: Mapping, finished: FinishedRuns, compared: str) -> Gains:
    """The gains of a reproduction.

    Args:
        plan: plan.json.
        finished: its runs.
        compared: the data set of the paper's figures.
    """
    lines = [
        Gain(
            operator,
            over,
            where,
            Figure(
                "gain",
                _ours(operator, over, where, plan["seeds"], finished),
                paper_gain(operator, over, where, [compared]),
            ),
            paper.SECTION_4_5.get((operator, over, where)),
        )
        for operator in plan["operators"]
        for over, places in WHERE.items()
        for where in places
    ]
    return Gains(lines, _caption(lines, plan, compared))


def _ours(
    operator: str, over: str, where: str, seeds: Sequence[int], finished: FinishedRuns
) -> dict[int, float]:
    """The gain of each seed that has both runs."""
    differences: dict[int, list[float]] = {seed: [] for seed in seeds}
    pairs = pairs_of(where)
    for pair in pairs:
        full, other = (
            finished.figures([Run(kind, seed, operator) for seed in seeds], pair, "Rank-1")
            for kind in ("full", over)
        )
        for seed in full.keys() & other.keys():
            differences[seed].append(full[seed] - other[seed])
    return {seed: statistics.fmean(found) for seed, found in differences.items() if len(found) == len(pairs)}


def _caption(lines: Sequence[Gain], plan: Mapping, compared: str) -> str:
    sentences = [
        f"Points of rank-1, by table 5: ours on {plan['dataset']}, the paper's on {paper.TITLES[compared]}.",
        "Claimed: section 4.5's means over the paper's three data sets; over Ours (w/o U), only Market-1501.",
    ]
    for line in lines:
        found = f"{paper_gain(line.operator, line.over, line.where, claimed_on(line.over)):.1f}"
        if line.claimed is not None and found != f"{line.claimed:.1f}":
            about = f"{paper.OPERATORS[line.operator]}, {arrow(line.where)}"
            sentences.append(f"The {line.claimed:.1f} of {about} are {found} by the paper's table 5.")
    return " ".join(sentences)


def claimed_on(over: str) -> tuple[str, ...]:
    """The data sets that section 4.5's claim is a mean over."""
    return paper.DATASETS if over == "base" else ("Market1501",)
