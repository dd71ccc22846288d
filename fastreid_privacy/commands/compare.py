"""``fastreid-privacy compare``: methods beside each other, on one data set and one budget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..compare.comparison import run_comparison
from ..compare.page import write_page
from ..compare.request import CompareRequest
from ..compare.stored import result_of, save_result, table
from ..core.errors import say
from .options import add_attacker_options, add_device_option, add_project_option
from .parsers import command_parser
from .running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        build_parser(), argv, _compare, "interrupted; the same command goes on from what is finished"
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "compare",
        "Compare methods on one data set and one budget: what attackers get, what is left for Re-ID and for "
        "other tasks, recovery, bytes and speed. Models are trained, files protected, attacked and used; a "
        "killed run continues.",
        "--methods configs/compare/synthetic.yml --output output/compared",
    )
    parser.add_argument(
        "--methods", type=Path, required=True, help="YAML file that names data and methods (docs/compare.md)"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for compare.json, compare.html and all runs"
    )
    parser.add_argument(
        "--schedule",
        type=float,
        default=1.0,
        help="share of each config's schedule that its model is trained for (default 1)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0.05,
        help="share of the full training of attackers and of those who learn from protected files "
        "(default 0.05)",
    )
    add_attacker_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of everything that is trained (default 0)")
    add_device_option(parser)
    add_project_option(parser)
    return parser


def _compare(options: argparse.Namespace) -> None:
    named = {name: value for name, value in vars(options).items() if name != "project"}
    request = CompareRequest(**named)
    methods, findings = run_comparison(request)
    result = result_of(request, methods, findings)
    file = save_result(result, options.output)
    page = write_page(result, options.output)
    say(table(result), sys.stdout)
    say(f"{file}\n{page}", sys.stdout)
