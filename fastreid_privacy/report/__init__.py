"""The report of a run, from its results.json, metrics.json and stored images.

Nothing is measured here, so a report can be written again at any time, also on a machine without the data:

    fastreid-privacy report OUTPUT_DIR

``tables``, ``check_table`` and ``text``, ``look`` (colours, frames and marks), ``figures`` (sample images,
training curve), ``pictures`` (columns, rank lists), ``page`` (the templates), ``html`` (report.html of a
run).
"""

from .figures import image_grid, training_curve
from .html import write_report
from .tables import quality_table, retrieval_table, verification_table
from .text import format_markdown, format_terminal

__all__ = [
    "format_markdown",
    "format_terminal",
    "image_grid",
    "quality_table",
    "retrieval_table",
    "training_curve",
    "verification_table",
    "write_report",
]
