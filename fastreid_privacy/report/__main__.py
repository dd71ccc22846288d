"""``python -m fastreid_privacy.report OUTPUT_DIR``: write report.html again and print the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .html import results_files, write_report
from .inputs import read_results
from .text import format_markdown, format_terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 2 with a message for a folder without readable results."""
    parser = argparse.ArgumentParser(prog="python -m fastreid_privacy.report", description="Write report.html again and print the tables.")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="folder with results.json, as tools/train_net.py leaves it")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    options = parser.parse_args(arguments)
    try:
        page = write_report(options.output_dir)
        tables = [
            (format_markdown if options.markdown else format_terminal)(read_results(path)) for path in results_files(options.output_dir)
        ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a name that is too long, a folder where a file should be
        print(f"error: {error.filename or options.output_dir}: {error.strerror or error}", file=sys.stderr)
        return 2
    print("\n\n".join(tables))
    print(f"\nreport: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
