"""``fastreid-privacy attack``: what others get back from protected files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..attack.cells import HOLDS
from ..attack.grid import run_attacks
from ..attack.page import write_page
from ..attack.request import AttackRequest
from ..attack.stored import result_of, save_result, table
from ..core.errors import say
from .options import (
    add_attacker_options,
    add_device_option,
    add_passphrase_options,
    add_project_option,
    passphrase_of,
    refuse_idle_passphrase,
)
from .parsers import command_parser, seeds, words
from .running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        build_parser(), argv, _attack, "interrupted; the same command goes on from what is finished"
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "attack",
        "Attack protected files, of this or of any other tool, with what attackers may hold: "
        + "; ".join(f"{row}: {what}" for row, what in HOLDS.items())
        + ". People that an attacker learns from are never among those measured.",
        "--raw SyntheticPedestrians --protected protected --output attacked",
        "--raw RAW --protected BLURRED --rows A1,A3 --pairs 16,64,all --budget 0.1 --output attacked",
    )
    sides = "folder in Market-1501 naming, or a data set that fastreid knows"
    parser.add_argument("--raw", required=True, help=f"raw images: a {sides}")
    parser.add_argument(
        "--protected", required=True, help=f"their protected files, of the same folders and names: a {sides}"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for attack.json and attack.html")
    parser.add_argument(
        "--rows", type=words, default=(), help=f"of {', '.join(HOLDS)} (default: all that can be made)"
    )
    add_attacker_options(parser)
    parser.add_argument(
        "--budget", type=float, default=0.05, help="share of the full training of attackers (default 0.05)"
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=(0,),
        help="of what is trained; the strongest attack counts, and Re-ID has the first of them (default 0)",
    )
    parser.add_argument(
        "--beside",
        type=words,
        default=("blur", "pixelate", "noise", "mask"),
        help='operators to attack in the same way (default blur,pixelate,noise,mask; "" for none)',
    )
    parser.add_argument(
        "--operator",
        default="",
        help="what made the protected files: row A1 tries its inverse (default blur), row A5 its keys",
    )
    parser.add_argument(
        "--model", type=Path, help="checkpoint that the attacker holds, for rows A2, A4, A5 and A6"
    )
    parser.add_argument("--recovery-key", type=Path, help="the right key, for rows A5 and A6")
    parser.add_argument(
        "--near-key",
        action="append",
        type=Path,
        default=[],
        dest="near_keys",
        metavar="FILE",
        help="recovery key of another anonymizer, tried by row A5; may be repeated",
    )
    parser.add_argument(
        "--search-key",
        type=Path,
        metavar="PRIVATE_KEY",
        help="search.key of tools/export.py, for row A7: opens the templates that protected files carry "
        "(encrypted keys of one run need one passphrase)",
    )
    parser.add_argument(
        "--foreign", default="", help="raw images of other people, for row A2: folder or data set"
    )
    parser.add_argument(
        "--parrots",
        type=words,
        default=(),
        help="backbones that learn Re-ID from the protected files: resnet18,osnet,mobilenet (default none)",
    )
    add_project_option(parser)
    add_device_option(parser)
    add_passphrase_options(parser)
    return parser


def _attack(options: argparse.Namespace) -> None:
    refuse_idle_passphrase(options, "recovery_key", "near_keys", "search_key")
    apart = ("passphrase_env", "passphrase_fd", "project")
    named = {name: value for name, value in vars(options).items() if name not in apart}
    request = AttackRequest(**named, passphrase=passphrase_of(options))
    outcome = run_attacks(request)
    result = result_of(request, outcome)
    file = save_result(result, options.output)
    page = write_page(result, outcome, options.output)
    say(table(result), sys.stdout)
    say(f"{file}\n{page}", sys.stdout)
