"""The tables as files: Markdown, CSV, and a self-contained page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..core.files import write_whole
from ..report import tables as report_tables
from ..report.page import render
from . import paper
from .cells import build_tables
from .table import Gains, Table

HEADINGS = {"Rank-1": "rank-1", "Rank-5": "rank-5"}
GAIN_TITLE = "Gains in rank-1, as section 4.5 states them"
GAIN_HEADINGS = ["", "over", "", "ours", "paper", "claimed"]
CSV_COLUMNS = (
    *("table", "operator", "model", "where", "metric", "seeds"),
    *("ours_mean", "ours_deviation", "paper", "ours_share", "paper_share", "protocol"),
    *("paper_inferred", "not_private"),
)


def write_tables(output_dir: str | Path) -> list[Path]:
    """Write tables.md, tables.csv and tables.html of a reproduction, each whole or not at all.

    Raises:
        UserError: when the folder holds no reproduction, or results that cannot be read.
    """
    folder = Path(output_dir)
    tables = build_tables(folder)
    contents = {"tables.md": markdown(tables), "tables.csv": tidy_csv(tables), "tables.html": page(tables)}
    return [_write(folder / name, text) for name, text in contents.items()]


def _write(path: Path, text: str) -> Path:
    write_whole(path, text.encode())
    return path


def html_tables(output_dir: str | Path) -> str:
    """The tables of a reproduction as HTML sections for a page that has the style of the reports.

    Raises:
        UserError: as :func:`write_tables`.
    """
    return _render("tables.html", build_tables(output_dir))


def page(tables: Sequence[Table]) -> str:
    """The tables as one page with nothing to fetch."""
    return _render("page.html", tables)


def _render(template: str, tables: Sequence[Table]) -> str:
    return render(
        template,
        Path(__file__).parent,
        tables=tables,
        heading=heading,
        gain_title=GAIN_TITLE,
        gain_headings=GAIN_HEADINGS,
        gain_cells=gain_cells,
        arrow=report_tables.arrow,
        page_title="Tables of section 4, reproduced",
    )


def heading(metric: str) -> str:
    """A metric as the tables' heads name it."""
    return HEADINGS.get(metric, metric)


def markdown(tables: Sequence[Table]) -> str:
    """The tables in GitHub's Markdown."""
    parts = []
    for table in tables:
        headings = ["", "", *(text for metric in table.metrics for text in (heading(metric), "paper"))]
        lines = []
        for title, rows in table.groups:
            lines.append([f"**{title}**", *[""] * (len(headings) - 1)])
            for row in rows:
                figures = [row.figures[metric] for metric in table.metrics]
                texts = [text for one in figures for text in (one.text(table.most_seeds), one.paper_text)]
                lines.append([row.title, report_tables.arrow(row.where), *texts])
        align = ["left", "left", *["right"] * (len(headings) - 2)]
        body = tabulate(lines, headings, tablefmt="github", colalign=align, disable_numparse=True)
        parts += [f"**Table {table.number}: {table.title}.** {table.caption}", body, *table.notes]
        if table.gains:
            headings, lines = GAIN_HEADINGS, gain_cells(table.gains, table.most_seeds)
            align = ["left"] * 3 + ["right"] * 3
            body = tabulate(lines, headings, tablefmt="github", colalign=align, disable_numparse=True)
            parts += [f"**{GAIN_TITLE}.** {table.gains.caption}", body]
    return "\n\n".join(parts) + "\n"


def gain_cells(gains: Gains, seeds: int) -> list[list[str]]:
    """The texts of the table of gains, a list for each line, under ``GAIN_HEADINGS``.

    Args:
        seeds: how many most cells of table 5 have.
    """
    return [
        [
            paper.OPERATORS[gain.operator].capitalize(),
            paper.MODELS[gain.over],
            report_tables.arrow(gain.where),
            gain.figure.text(seeds),
            gain.figure.paper_text,
            report_tables.number(gain.claimed, 1),
        ]
        for gain in gains.lines
    ]


def tidy_csv(tables: Sequence[Table]) -> str:
    """One line per figure, unrounded; empty where there is none. A share stands beside its rank-1.

    ``not_private`` is of how many seeds the model is NOT PRIVATE.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for row in table.rows:
            for metric in (name for name in table.metrics if name != "share"):
                figure = row.figures[metric]
                values = [figure.mean, figure.deviation, figure.paper, None, None]
                if metric == "Rank-1":
                    values[3:] = [row.figures["share"].mean, row.figures["share"].paper]
                about = (table.number, row.operator, row.model, row.where, metric, len(figure.values))
                cells = ["" if value is None else value for value in values]
                writer.writerow([*about, *cells, table.protocol, int(figure.inferred), row.not_private])
    return output.getvalue()
