"""The tables of section 4 from the results.json files of a reproduction, the paper's figures beside ours.

Nothing is measured here: tables can be built again at any time, also of a reproduction that is not finished.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..core.domains import SETTINGS
from ..core.privacy import NOT_PRIVATE, WHY
from ..report.tables import arrow, share_of
from . import paper
from .captions import caption
from .finished import FinishedRuns
from .gains import build_gains
from .plan import Run
from .protocols import protocol_of
from .reproduction import read_plan
from .table import Figure, Table, TableRow

TITLES = {
    1: "Re-ID performance of AGW trained on raw images, on protected images",
    3: "Quality of recovered images, against raw images",
    4: "Re-ID performance on recovered images",
    5: "Re-ID performance of query→gallery",
}
METRICS = {
    1: ("Rank-1", "mAP"),
    3: ("PSNR", "SSIM"),
    4: ("Rank-1", "mAP"),
    5: paper.METRICS,
}
HEADINGS = {**{name: title.capitalize() for name, title in paper.OPERATORS.items()}, "": "Raw images"}


class RowSource(NamedTuple):
    """Where the figures of a row are from.

    Attributes:
        model: as paper.py and tables.csv name it.
        where: a pair, or an image domain.
        kind: of run.
        label: of the row.
    """

    model: str
    where: str
    kind: str
    label: str


# The rows of each operator.
OPERATOR_ROWS: dict[int, tuple[RowSource, ...]] = {
    1: (
        RowSource("raw_agw", "DI-DI", "raw_agw", "Base"),
        RowSource("raw_agw", "PI-PI", "raw_agw", "Ours"),
    ),
    3: tuple(
        RowSource("full", domain, "full", "Ours") for domain in ("recovered", "protected", "desensitized")
    ),
    4: (
        RowSource("raw_agw", "OI-OI", "upper_bound", "AGW"),
        RowSource("raw_agw", "RI-RI", "raw_agw", "AGW"),
        RowSource("full", "OI-OI", "full", "Ours"),
        RowSource("full", "RI-RI", "full", "Ours"),
    ),
    5: tuple(
        RowSource(model, pair, model, paper.MODELS[model])
        for model in ("base", "wo_upgrade", "full")
        for pair in SETTINGS
    ),
}
# The rows of the raw images, below the operators.
RAW_ROWS: dict[int, tuple[RowSource, ...]] = {
    1: (RowSource("raw_agw", "OI-OI", "upper_bound", "Raw"),),
    3: (),
    4: (),
    5: (RowSource("upper_bound", "OI-OI", "upper_bound", "Upper"),),
}


LEARNED = ("wo_upgrade", "full", "raw_agw")  # kinds of runs whose images a trained anonymizer protects
UNPROTECTED = ("DI-DI", "desensitized")  # what its results also hold, but is not its own


def build_tables(output_dir: str | Path) -> list[Table]:
    """All tables that a folder's plan.json names.

    Raises:
        UserError: when the folder holds no reproduction, or results that cannot be read.
    """
    folder = Path(output_dir)
    plan, finished = read_plan(folder), FinishedRuns(folder)
    return [_table(table, plan, finished) for table in plan["tables"]]


def _table(table: int, plan: Mapping, finished: FinishedRuns) -> Table:
    dataset = plan["dataset"]
    compared = dataset if dataset in paper.DATASETS else paper.DATASETS[0]
    sources = {operator: OPERATOR_ROWS[table] for operator in plan["operators"]} | {"": RAW_ROWS[table]}
    groups = [
        (
            HEADINGS[operator],
            [_row(table, operator, row, plan["seeds"], finished, compared) for row in rows],
        )
        for operator, rows in sources.items()
        if rows
    ]
    metrics = METRICS[table] if table == 3 else (METRICS[table][0], "share", *METRICS[table][1:])
    built = Table(table, TITLES[table], metrics, groups, protocol_of(plan))
    notes = []
    if left_out := _left_out(sources, plan["seeds"], finished):
        notes.append(f"Queries without a true match under another camera, left out: {left_out}.")
    if table == 4:
        operator = HEADINGS[paper.TABLE_4_OPERATOR[compared]]
        notes.append(
            "The paper's table 4 does not name its operator; its figures of Ours OI→OI are those of its "
            f"table 5 under {operator}, so they stand there."
        )
    elif any(figure.paper is None and figure.values for row in built.rows for figure in row.figures.values()):
        notes.append(
            "Where the paper's column has –, the paper has no figure, or none that can be told from its text."
        )
    if any(figure.inferred for row in built.rows for figure in row.figures.values()):
        notes.append(
            "† inferred: in the paper's text a column of this row slipped, and one cell holds two figures."
        )
    if any(row.not_private for row in built.rows):
        notes.append(f"{NOT_PRIVATE}: {WHY}.")
    counts = [len(figure.values) for row in built.rows for figure in row.figures.values()]
    gains = build_gains(plan, finished, compared) if table == 5 else None
    return replace(built, caption=caption(table, plan, compared, counts), notes=notes, gains=gains)


def _ours(
    source: RowSource, operator: str, metric: str, seeds: Sequence[int], finished: FinishedRuns
) -> dict[int, float]:
    """A figure of each seed that has it."""
    runs = [Run(source.kind, seed, "" if source.kind == "upper_bound" else operator) for seed in seeds]
    return finished.figures(runs, source.where, metric)


def _left_out(
    sources: Mapping[str, Sequence[RowSource]], seeds: Sequence[int], finished: FinishedRuns
) -> str:
    """How many queries of which pairs have no true match; "" where all have one."""
    excluded: dict[str, set[float]] = defaultdict(set)
    for operator, rows in sources.items():
        for row in rows:
            excluded[row.where] |= {*_ours(row, operator, "excluded_queries", seeds, finished).values()} - {0}
    return ", ".join(
        f"{' or '.join(map(str, sorted(numbers)))} in {arrow(pair)}"
        for pair, numbers in excluded.items()
        if numbers
    )


def _row(
    table: int,
    operator: str,
    source: RowSource,
    seeds: Sequence[int],
    finished: FinishedRuns,
    compared: str,
) -> TableRow:
    theirs, figures = paper.figures(compared), {}
    for metric in METRICS[table]:
        key = (table, operator, source.model, source.where, metric)
        ours = _ours(source, operator, metric, seeds, finished)
        figures[metric] = Figure(metric, ours, theirs.get(key), (compared, key) in paper.INFERRED)
    if rank1 := figures.get("Rank-1"):
        upper = finished.figures([Run("upper_bound", seed) for seed in seeds], "OI-OI", "Rank-1")
        shares = {seed: share_of(value, upper.get(seed)) for seed, value in rank1.values.items()}
        of_paper = share_of(rank1.paper, theirs[5, "", "upper_bound", "OI-OI", "Rank-1"])
        known = {seed: share for seed, share in shares.items() if share is not None}
        figures["share"] = Figure("share", known, of_paper)
    not_private = 0
    if source.where not in UNPROTECTED:
        runs = [finished.of(Run(source.kind, seed, operator)) for seed in seeds if source.kind in LEARNED]
        not_private = sum(run is not None and run.results.get("private") is False for run in runs)
    return TableRow(operator, source.model, source.where, source.label, figures, not_private)
