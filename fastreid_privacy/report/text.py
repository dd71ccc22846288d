"""The tables of a run as text, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tabulate import tabulate

from .check_table import check_cells, check_columns, checks_note, validation_matches
from .tables import (
    RETRIEVAL_METRICS,
    ModelRow,
    arrow,
    comparison_rows,
    comparison_title,
    excluded_queries,
    exposure_note,
    has_lpips,
    legend,
    method_name,
    number,
    privacy_warning,
    quality_cells,
    quality_metrics,
    quality_table,
    retrieval_cells,
    retrieval_table,
    verification_table,
)

TERMINAL_CHECKS = 20  # longer records show only what changed the supervision, and the last check
QUALITY_HEADINGS = {"PSNR_per_image": "PSNR per image"}


def _tables(results: Mapping, all_checks: bool) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Title, headings and cells of each table that the results have something for."""

    def rows_of(rows: list[ModelRow], cells: Callable[[ModelRow], list[str]]) -> list[list[str]]:
        # a pair is named once, in its first row
        return [[arrow(row.where) if row.kind == "ours" else "", row.model, *cells(row)] for row in rows]

    yield (
        "Retrieval, query→gallery, in percent; share: rank-1 in percent of the upper bound's rank-1 OI→OI",
        ["", "", *RETRIEVAL_METRICS, "share"],
        rows_of(retrieval_table(results), retrieval_cells),
    )
    yield comparison_title(results), ["", "rank-1", "95 % interval"], comparison_rows(results)
    verification = verification_table(results)
    yield (
        "Verification, TPR in percent where at most the given share of false pairs is accepted (FPR)",
        [
            "",
            "",
            *(metric.removeprefix("TPR@") for metric in (verification[0].values if verification else ())),
        ],
        rows_of(verification, lambda row: [number(value, 1) for value in row.values.values()]),
    )
    quality = quality_table(results)
    lpips = has_lpips(quality)
    headings = [QUALITY_HEADINGS.get(metric, metric) for metric in quality_metrics(lpips)]
    yield (
        "Image quality against raw images",
        ["", "", *headings],
        rows_of(quality, lambda row: quality_cells(row, lpips)),
    )
    checks = shown = results.get("checks") or []
    if len(checks) > TERMINAL_CHECKS and not all_checks:
        shown = [check for check in checks[:-1] if check.get("decision") != "keep"] + checks[-1:]
    pair = "OI→PI; images against raw" if any("psnr_protected" in check for check in checks) else "OI→OI"
    matches = validation_matches(results)
    title = f"Checks on the validation split{f' ({matches})' if matches else ''}: rank-1 {pair}"
    if len(shown) < len(checks):
        title += f" ({len(shown)} of {len(checks)}: changes of the supervision and the last)"
    columns = check_columns(checks)
    yield title, [heading for _, heading, _ in columns], [check_cells(check, columns) for check in shown]


def _notes(results: Mapping) -> list[str]:
    excluded = ", ".join(f"{count} in {arrow(pair)}" for pair, count in excluded_queries(results).items())
    left_out = f"queries without a true match under another camera, left out: {excluded}" if excluded else ""
    notes = (legend([results]), exposure_note(results), checks_note(results), left_out)
    return [note for note in notes if note]


def _heading(results: Mapping) -> str:
    details = ("checkpoint", "storage", "seed", "version")
    return "; ".join(
        [
            f"{method_name(results)} on {results.get('dataset', 'an unnamed data set')}",
            *(f"{name} {results[name]}" for name in details if results.get(name) not in (None, "")),
        ]
    )


def format_terminal(results: Mapping) -> str:
    """All tables as plain text, for the end of a run."""
    parts = [part for part in (privacy_warning(results), _heading(results)) if part]
    for title, headings, cells in _tables(results, all_checks=False):
        if cells:
            align = ["left" if heading in ("", "decision") else "right" for heading in headings]
            table = tabulate(cells, headings, tablefmt="simple", colalign=align, disable_numparse=True)
            parts.append(f"{title}\n{table}")
    return "\n\n".join([*parts, "\n".join(_notes(results))])


def format_markdown(results: Mapping) -> str:
    """All tables in GitHub's Markdown, for a README or an issue."""

    def safe(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    warning = privacy_warning(results)
    parts = [f"**{safe(text)}**" for text in (warning, _heading(results)) if text]
    for title, headings, cells in _tables(results, all_checks=True):
        if cells:
            align = ["left" if heading in ("", "decision") else "right" for heading in headings]
            cells = [[safe(cell) for cell in line] for line in cells]
            table = tabulate(cells, headings, tablefmt="github", colalign=align, disable_numparse=True)
            parts.append(f"{title}:\n\n{table}")
    return "\n\n".join([*parts, "\n".join(map(safe, _notes(results)))]) + "\n"
