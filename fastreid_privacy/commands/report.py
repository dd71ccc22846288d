"""``fastreid-privacy report OUTPUT_DIR``: write report.html again and print the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import exit_code
from ..report.html import results_files, write_report
from ..report.text import format_markdown, format_terminal
from ..results.results_json import read_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (:func:`fastreid_privacy.core.errors.exit_code`)."""
    parser = argparse.ArgumentParser(
        prog="fastreid-privacy report", description="Write report.html again and print the tables."
    )
    parser.add_argument(
        "output_dir",
        type=Path,
        metavar="OUTPUT_DIR",
        help="folder with results.json, as tools/train_net.py leaves it",
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _report(options), "interrupted; the same command writes the report again")


def _report(options: argparse.Namespace) -> None:
    page = write_report(options.output_dir)
    style = format_markdown if options.markdown else format_terminal
    print("\n\n".join(style(read_results(path)) for path in results_files(options.output_dir)))
    print(f"\nreport: {page}")


if __name__ == "__main__":
    sys.exit(main())
