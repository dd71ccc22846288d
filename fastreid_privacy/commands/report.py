"""``fastreid-privacy report OUTPUT_DIR``: write report.html again and print the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import say
from ..report.html import write_report
from ..report.text import format_markdown, format_terminal
from ..results.results_json import read_results, results_files
from .parsers import command_parser
from .running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _report, "interrupted; the same command writes the report again")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "report",
        "Write a run's report.html again and print its tables.",
        "output/demo",
        "--output output/demo --markdown",
    )
    folder = parser.add_mutually_exclusive_group(required=True)
    folder.add_argument(
        "output_dir",
        type=Path,
        nargs="?",
        metavar="OUTPUT_DIR",
        help="folder of a run, with its results.json; report.html is written into it",
    )
    folder.add_argument("--output", type=Path, metavar="DIR", help="the same folder, as train names it")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    return parser


def _report(options: argparse.Namespace) -> None:
    folder = options.output_dir or options.output
    page = write_report(folder)
    style = format_markdown if options.markdown else format_terminal
    say("\n\n".join(style(read_results(path)) for path in results_files(folder)), sys.stdout)
    say(f"\nreport: {page}", sys.stdout)
