"""Reports: of a run, from its results.json, metrics.json and stored images; and of a reproduction, from all its runs.

Nothing is measured here, so a report can be written again at any time, also on a machine without the data:

    python -m fastreid_privacy.report OUTPUT_DIR

``inputs`` (what is read), ``tables`` and ``text``, ``figures`` (sample images, training curve), ``pictures`` (columns, rank lists),
``page`` (the templates), ``html`` (report.html of a run); of a reproduction ``paper_runs``, ``embedding`` (t-SNE), ``paper_figures``,
``paper_report``.
"""

from .figures import image_grid, training_curve
from .html import write_report
from .inputs import (
    load_embedding,
    load_rank_lists,
    load_samples,
    read_metrics,
    read_results,
    save_embedding,
    save_rank_lists,
    save_samples,
)
from .paper_report import write_paper_report
from .tables import quality_table, retrieval_table, verification_table
from .text import format_markdown, format_terminal

__all__ = [
    "format_markdown",
    "format_terminal",
    "image_grid",
    "load_embedding",
    "load_rank_lists",
    "load_samples",
    "quality_table",
    "read_metrics",
    "read_results",
    "retrieval_table",
    "save_embedding",
    "save_rank_lists",
    "save_samples",
    "training_curve",
    "verification_table",
    "write_paper_report",
    "write_report",
]
