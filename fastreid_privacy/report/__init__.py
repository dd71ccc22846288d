"""The report of a run: reads results.json, metrics.json and the stored sample images; writes tables, figures and report.html.

Nothing is measured here, so a report can be written again at any time, also on a machine without the data:

    python -m fastreid_privacy.report OUTPUT_DIR
"""

from .figures import image_grid, training_curve
from .html import write_report
from .inputs import load_samples, read_metrics, read_results, save_samples
from .tables import format_markdown, format_terminal, quality_table, retrieval_table

__all__ = [
    "format_markdown",
    "format_terminal",
    "image_grid",
    "load_samples",
    "quality_table",
    "read_metrics",
    "read_results",
    "retrieval_table",
    "save_samples",
    "training_curve",
    "write_report",
]
