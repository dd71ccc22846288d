"""``fastreid-privacy app``: a page in the browser of this computer, to see what others will see."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..app.attacks import KnownAttack, find_attack
from ..app.galleries import load_galleries
from ..app.judging import Judging
from ..app.methods import load_methods
from ..app.page import Desk
from ..app.release import Release, check_release, open_release
from ..app.server import Server
from ..app.worst import Suspect, find_suspects
from ..collection.source import read_pseudonym_key
from ..core.errors import UserError, say
from .options import add_device_option, add_project_option, at_most
from .parsers import command_parser
from .running import PAIRS, run_command

LARGEST_PORT = 2**16 - 1
MOST_SHOWN = 10_000  # images to decide about


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _show, "ended; no picture that was shown is kept")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "app",
        "A page in the browser of this computer: what a picture becomes under each method, and whether a "
        "protected folder may be given out.",
        "--weights learned=release/anonymizer.safetensors --key release/recovery.key",
        "--weights release/anonymizer.safetensors --reid release/reid.pth --gallery RAW --gallery PROTECTED",
        "--release PROTECTED --raw RAW",
    )
    parser.add_argument(
        "--weights",
        action="append",
        type=named_file,
        default=[],
        metavar="NAME=FILE",
        help="a trained anonymizer, as of anonymize, and what it is to be called; may be repeated. The "
        "conventional operators are always there",
    )
    parser.add_argument(
        "--key",
        default="",
        metavar="FILE",
        help="recovery key that the page names first; its passphrase is typed there",
    )
    parser.add_argument(
        "--gallery",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="where people are looked for: an index of retrieve build, or a folder of pictures; may be "
        "repeated, for raw and for protected images",
    )
    parser.add_argument(
        "--reid",
        type=Path,
        metavar="FILE",
        help="the Re-ID model that looks: a checkpoint, or reid.pth of tools/export.py",
    )
    parser.add_argument(
        "--release", type=Path, metavar="FOLDER", help="a folder that anonymize wrote: may it be given out?"
    )
    parser.add_argument(
        "--raw", type=Path, metavar="FOLDER", help="of --release: its raw images; the worst are told by them"
    )
    parser.add_argument(
        "--pseudonymize",
        type=Path,
        metavar="KEYFILE",
        help="of --raw: key of the names, where they are pseudonyms",
    )
    parser.add_argument(
        "--attack",
        type=Path,
        metavar="FILE",
        help="attack.json, whose strongest attack is shown (default: looked for beside --release)",
    )
    parser.add_argument(
        "--review",
        type=Path,
        metavar="FILE",
        help="of --release: where decisions are written (default: FOLDER.review.jsonl beside it)",
    )
    parser.add_argument(
        "--worst",
        type=at_most(MOST_SHOWN),
        default=20,
        help="of --release: how many images to decide about (default 20)",
    )
    parser.add_argument(
        "--port", type=port, default=0, help="of the address, 127.0.0.1 (default: any that is free)"
    )
    add_device_option(parser)
    add_project_option(parser)
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help=f"{PAIRS}, of the conventional operators: PRIVACY.DESENSITIZER.BLUR_SIGMA 8",
    )
    return parser


def _show(options: argparse.Namespace) -> None:
    make_server(options).run(
        lambda address: say(f"open in a browser of this computer: {address}\nCtrl-C ends it", sys.stdout)
    )


def make_server(options: argparse.Namespace) -> Server:
    """The pages that a command line asks for.

    Raises:
        UserError: when something that it names cannot be used.
    """
    if options.key and not options.weights:
        raise UserError("--key recovers what --weights have protected: name them, or leave it out")
    if options.reid and not options.gallery:
        raise UserError("--reid looks for people in a --gallery: name one, or leave it out")
    attack = find_attack(options.attack, options.release)
    desk = Desk(
        load_methods(options.weights, options.opts, options.device),
        load_galleries(options.gallery, options.reid, options.device),
        options.key,
        options.device,
        _judging(options, attack),
        attack,
    )
    return Server(desk, options.port)


def _judging(options: argparse.Namespace, attack: KnownAttack | None) -> Judging | None:
    """The folder of ``--release``, looked at."""
    if options.release is None:
        for name in ("raw", "pseudonymize", "review"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name} goes with --release: name the protected folder, or leave it out")
        return None
    if options.pseudonymize and not options.raw:
        raise UserError("--pseudonymize only finds the raw images of --raw: leave it out")
    release = open_release(options.release, options.review, attack)
    key = read_pseudonym_key(options.pseudonymize) if options.pseudonymize else None

    def find(release: Release) -> tuple[list[Suspect], str]:
        return find_suspects(release, options.worst, options.raw, key)

    return Judging(release, *find(release), check_release(release), find=find)


def named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE, or a file that goes by its own name, for argparse."""
    name, equals, path = text.partition("=")
    if not equals or "/" in name:
        return Path(text).name, Path(text)
    if not name.strip() or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name.strip(), Path(path)


def port(text: str) -> int:
    """A port from 0, which is any, for argparse."""
    number = int(text)  # argparse says what is no number
    if not 0 <= number <= LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port: give 1 to {LARGEST_PORT}")
    return number
