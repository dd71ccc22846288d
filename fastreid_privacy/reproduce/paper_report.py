"""report.html of a reproduction: the paper's tables and figures from the finished runs on one self-contained
page."""

from __future__ import annotations

from pathlib import Path

from ..core.domains import DOMAINS
from ..core.files import write_atomically
from ..report.html import curves
from ..report.page import rank_lists, render
from ..results.training_log import read_metrics
from .paper_figures import PaperFigure, feature_figure, picture_figures
from .paper_runs import KINDS, OPERATORS, RAW, PaperRuns


def write_paper_report(output_dir: str | Path, tables: str, caption: str = "") -> Path:
    """Write OUTPUT_DIR/report.html, and its pictures as PNG files into OUTPUT_DIR/figures, from the runs
    below OUTPUT_DIR.

    Runs that are not there yet, and whatever else is missing, are named on the page. Pictures are of the
    first seed.

    Args:
        output_dir: of a reproduction: ``seed<N>/upper_bound``, ``seed<N>/base_blur`` and so on, each the
            OUTPUT_DIR of a run.
        tables: the tables as HTML, which goes into the page as it is (``reproduce.tables.html_tables``).
        caption: plain text beneath the title.

    Returns:
        The path of report.html, which is written whole or not at all.

    Raises:
        UserError: when there is no finished run, or a results.json is no JSON or of another schema.

    Reference:
        Figures 6 to 10 of the paper.
    """
    folder = Path(output_dir)
    runs = PaperRuns(folder)
    figures = folder / "figures"
    drawn = sorted([*picture_figures(runs, figures), feature_figure(runs, figures)], key=_number)
    dataset = next(iter(runs.runs.values())).results.get("dataset") or "unnamed data set"
    title = f"Reproduction on {dataset}"
    operator = runs.first_operator(("full",), "blur")
    full = runs.of("full", operator)
    page = render(
        "paper.html",
        Path(__file__).parent,
        page_title=title,
        title=title,
        caption=caption,
        tables=tables,
        figures=drawn,
        training=_training(runs, figures),
        rank_lists=rank_lists(full.rank_lists if full else {}, figures / "rank_lists"),
        rank_run=runs.name("full", operator),
        domains=DOMAINS,
        operators=[(name, OPERATORS[name]) for name in runs.operators],
        links=_links(runs),
        seeds=runs.seeds,
    )
    write_atomically(folder / "report.html", lambda file: file.write(page.encode()))
    return folder / "report.html"


def _number(figure: PaperFigure) -> int:
    return int(figure.title.split()[1].rstrip(":"))


def _training(runs: PaperRuns, folder: Path) -> list[dict]:
    """The training curve of the full model of every operator."""
    shown = []
    for operator in runs.operators:
        run = runs.of("full", operator)
        if run is None:
            shown.append(
                {
                    "operator": OPERATORS[operator],
                    "curve": {},
                    "missing": f"{runs.name('full', operator)} is not finished",
                }
            )
            continue
        checks = run.results.get("checks") or []
        upgrades = [str(check["epoch"]) for check in checks if check.get("decision") == "upgrade"]
        shown.append(
            {
                "operator": OPERATORS[operator],
                "curve": curves(
                    run.results,
                    read_metrics(run.folder / "metrics.json"),
                    folder / f"training_curve_{operator}.png",
                ),
                "upgrades": f"Upgrades after epochs: {', '.join(upgrades)}." if upgrades else "No upgrade.",
                "missing": f"{run.name} holds neither checks nor a log of losses",
            }
        )
    return shown


def _links(runs: PaperRuns) -> list[dict]:
    """The runs by model and operator: of each its seeds, with a link where the run has its own report."""

    def cell(kind: str, operator: str) -> list[tuple[int, str]]:
        found = [(seed, runs.runs.get((seed, kind, operator))) for seed in runs.seeds]
        return [
            (seed, f"{run.name}/report.html" if (run.folder / "report.html").is_file() else "")
            for seed, run in found
            if run
        ]

    return [
        {
            "name": name,
            "cells": [
                cell(kind, "" if kind == RAW else operator)
                for operator in ([""] if kind == RAW else runs.operators)
            ],
        }
        for kind, name in KINDS.items()
    ]
