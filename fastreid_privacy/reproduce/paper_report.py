"""report.html of a reproduction: the paper's tables and figures on one self-contained page."""

from __future__ import annotations

from pathlib import Path

from ..core.domains import DOMAINS
from ..report.html import curves
from ..report.page import rank_lists, render_into
from ..results.results_json import REPORT
from ..results.training_log import read_metrics
from . import paper
from .paper_figures import PaperFigure, feature_figure, picture_figures
from .paper_runs import RAW, PaperRuns


def write_paper_report(output_dir: str | Path, tables: str, caption: str = "") -> Path:
    """Write report.html, and its pictures as PNG files into figures/, from the runs of a reproduction.

    Runs that are not there yet, and whatever else is missing, are named on the page. Pictures are of the
    first seed.

    Args:
        output_dir: of a reproduction: ``seed<N>/upper_bound``, ``seed<N>/base_blur`` and so on, each the
            OUTPUT_DIR of a run.
        tables: the tables as HTML, which goes into the page as it is (``reproduce.formats.html_tables``).
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
    title = f"Reproduction on {runs.dataset}"
    operator = runs.first_operator(("full",), "blur")
    full = runs.of("full", operator)
    return render_into(
        folder / REPORT,
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
        operators=[(name, paper.OPERATORS[name]) for name in runs.operators],
        links=_links(runs),
        seeds=runs.seeds,
    )


def _number(figure: PaperFigure) -> int:
    return int(figure.title.split()[1].rstrip(":"))


def _training(runs: PaperRuns, folder: Path) -> list[dict]:
    """The training curve of the full model of every operator."""
    return [
        {
            "operator": paper.OPERATORS[operator],
            **_curve(runs, operator, folder / f"training_curve_{operator}.png"),
        }
        for operator in runs.operators
    ]


def _curve(runs: PaperRuns, operator: str, path: Path) -> dict:
    run, name = runs.of("full", operator), runs.name("full", operator)
    if run is None:
        return {"curve": {}, "missing": f"{name} is not finished"}
    checks = run.results.get("checks") or []
    upgrades = [str(check["epoch"]) for check in checks if check.get("decision") == "upgrade"]
    return {
        "curve": curves(run.results, read_metrics(run.folder / "metrics.json"), path),
        "upgrades": f"Upgrades after epochs: {', '.join(upgrades)}." if upgrades else "No upgrade.",
        "missing": f"{name} holds neither checks nor a log of losses",
    }


def _links(runs: PaperRuns) -> list[dict]:
    """The runs by model and operator: of each its seeds, with a link where the run has its own report."""
    return [
        {
            "name": name,
            "cells": [_cell(runs, kind, operator) for operator in ([""] if kind == RAW else runs.operators)],
        }
        for kind, name in paper.LONG_MODELS.items()
    ]


def _cell(runs: PaperRuns, kind: str, operator: str) -> list[tuple[int, str]]:
    """(seed, link or "") of the finished runs of a model."""
    found = [
        (run, runs.runs[run]) for seed in runs.seeds if (run := runs.run(kind, operator, seed)) in runs.runs
    ]
    return [
        (run.seed, f"{run.name}/{REPORT}" if (finished.folder / REPORT).is_file() else "")
        for run, finished in found
    ]
