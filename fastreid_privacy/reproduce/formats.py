"""The tables as files: Markdown, CSV, and a self-contained page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..core.files import write_atomically
from ..report import tables as report_tables
from ..report.page import render
from .cells import Table, build_tables

HEADINGS = {"Rank-1": "rank-1", "Rank-5": "rank-5"}
CSV_COLUMNS = (
    *("table", "operator", "model", "where", "metric", "seeds"),
    *("ours_mean", "ours_deviation", "paper", "ours_share", "paper_share", "protocol"),
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
    write_atomically(path, lambda file: file.write(text.encode()))
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
                lines.append([row.label, report_tables.arrow(row.where), *texts])
        align = ["left", "left", *["right"] * (len(headings) - 2)]
        body = tabulate(lines, headings, tablefmt="github", colalign=align, disable_numparse=True)
        parts += [f"**Table {table.number}: {table.title}.** {table.caption}", body, *table.notes]
    return "\n\n".join(parts) + "\n"


def tidy_csv(tables: Sequence[Table]) -> str:
    """One line per figure, unrounded; empty where there is none. A share stands beside its rank-1."""
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
                writer.writerow([*about, *cells, table.protocol])
    return output.getvalue()
