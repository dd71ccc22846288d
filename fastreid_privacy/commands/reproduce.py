"""``fastreid-privacy reproduce``: check all that is asked, make the missing runs, write tables and report."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import UserError, say
from ..core.signals import sigterm_interrupts
from ..reproduce.captions import protocol_note, schedule_note
from ..reproduce.formats import html_tables, write_tables
from ..reproduce.paper_report import write_paper_report
from ..reproduce.plan import OPERATORS, TABLES
from ..reproduce.protocols import PAPER, PROTOCOLS
from ..reproduce.reproduction import PLAN_FILE, Reproduction, read_plan
from ..reproduce.runs import check_plan, locked, make_runs
from .options import add_project_option
from .parsers import command_parser, names_of, seeds
from .running import run_command

# What a reproduction replaces in its own folder.
WRITTEN = ("tables.md", "tables.csv", "tables.html", "report.html", "figures")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "reproduce",
        "Train and test every model that the asked tables of the paper's section 4 need, and "
        "write the tables with the paper's figures beside ours. Finished runs are left alone and "
        "interrupted ones continued: give the same command again.",
        "--config-file configs/Market/privacy_agw.yml --tables 1,3,4,5",
    )
    parser.add_argument(
        "--config-file",
        required=True,
        help="any config of the data set, such as configs/Market/privacy_agw.yml",
    )
    tables = tuple(map(str, TABLES))
    by_people = {"2": "table 2 needs people: tools/human_study.py makes it"}
    parser.add_argument(
        "--tables", type=names_of(tables, by_people), default=tables, help="of 1, 3, 4, 5 (default: all)"
    )
    parser.add_argument(
        "--operators",
        type=names_of(OPERATORS),
        default=OPERATORS,
        help="of blur, pixelate, noise (default: all)",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=(0,),
        help="whole numbers; of several, tables show mean and standard deviation (default: 0)",
    )
    parser.add_argument(
        "--budget",
        default="1",
        help="the fraction of the config's epochs to train, above 0 and at most 1 (default: 1)",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=PAPER,
        help="paper (default): raw and protected images in two passes through Re-ID, desensitized before "
        "padding and cropping, pixelation by the corner of a block, the learning rate divided at the start "
        "of the epochs of SOLVER.STEPS, counted from 1; joint: this project's one batch for both, the rest "
        "as the config has it",
    )
    parser.add_argument(
        "--output",
        "--output-dir",
        metavar="FOLDER",
        default="",
        help="of the reproduction (default: output/<the config's folder>/reproduce, with the joint "
        "protocol reproduce_joint)",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        help="processes of each training, as of tools/train_net.py (default: 1)",
    )
    add_project_option(parser)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides for every run"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    logging.getLogger("fastreid_privacy").addHandler(logging.NullHandler())  # each run warns in its own log
    with sigterm_interrupts():
        return run_command(
            build_parser(),
            argv,
            lambda options: reproduce(asked(options)),
            "interrupted; the same command continues",
        )


def asked(options: argparse.Namespace) -> Reproduction:
    """The reproduction that a command line asks for.

    Raises:
        UserError: for a budget that cannot be, and for a config that cannot be trained.
    """
    try:
        budget = float(options.budget)
    except ValueError:
        budget = 0.0
    if not 0 < budget <= 1:
        raise UserError(
            f"--budget is {options.budget}; give a fraction of the schedule above 0 and at most 1"
        )
    return Reproduction(
        config_file=options.config_file,
        overrides=options.opts,
        tables=sorted(map(int, options.tables)),
        operators=list(options.operators),
        seeds=sorted(options.seeds),
        budget=budget,
        protocol=options.protocol,
        output_dir=options.output,
        processes=options.num_gpus,
    )


def reproduce(reproduction: Reproduction) -> Path:
    """Make what is missing of a reproduction, its tables after each run, its report at the end.

    Returns:
        Its folder.

    Raises:
        UserError: for what cannot be run; whatever was finished before stays.
    """
    folder = Path(reproduction.output_dir)
    others = [name for name in WRITTEN if (folder / name).exists()]
    if others and not (folder / PLAN_FILE).exists():
        raise UserError(
            f"{folder} holds {others[0]} and no {PLAN_FILE}: it is no reproduction's; choose another --output"
        )
    reproduction.record()  # a folder of another reproduction is refused before anything is read or written
    with locked(folder) as descriptor:
        missing = check_plan(reproduction)
        reproduction.save_plan()
        runs = reproduction.runs
        say(
            f"{len(runs) - len(missing)} of {len(runs)} runs are finished; --protocol "
            f"{reproduction.protocol}; epochs of a training: {reproduction.epochs}; plan: "
            f"{folder / PLAN_FILE}",
            sys.stdout,
        )
        make_runs(reproduction, missing, descriptor, after_each=lambda: write_tables(folder))
        files = write_tables(folder)
        page = write_paper_report(folder, html_tables(folder), _page_caption(read_plan(folder)))
    say(f"tables: {', '.join(map(str, files))}\nreport: {page}", sys.stdout)
    return folder


def _page_caption(plan: Mapping) -> str:
    notes = [note for note in (protocol_note(plan), schedule_note(plan)) if note]
    return f"Made with {'; '.join(notes)}."
