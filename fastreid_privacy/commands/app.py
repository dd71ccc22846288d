"""``fastreid-privacy app``: a page in the browser of this computer, to see what others will see."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..app.galleries import load_galleries
from ..app.methods import load_methods
from ..app.page import Desk
from ..app.server import Server
from ..core.errors import UserError, exit_code, say
from ..core.projects import load_projects
from .options import PAIRS, add_device_option, add_project_option, check_pairs
from .parsers import command_parser

LARGEST_PORT = 2**16 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (:func:`fastreid_privacy.core.errors.exit_code`)."""
    parser, words = build_parser(), sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words)

    def show() -> None:
        check_pairs(parser, options.options, words)
        make_server(options).run(
            lambda address: say(f"open in a browser of this computer: {address}\nCtrl-C ends it", sys.stdout)
        )

    return exit_code(show, "ended; nothing of what was shown is kept")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "app",
        "A page in the browser of this computer: what a picture becomes under each method.",
        "--weights learned=release/anonymizer.safetensors --key release/recovery.key",
        "--weights release/anonymizer.safetensors --reid release/reid.pth --gallery RAW --gallery PROTECTED",
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
        "--port", type=port, default=0, help="of the address, 127.0.0.1 (default: any that is free)"
    )
    add_device_option(parser)
    add_project_option(parser)
    parser.add_argument(
        "options",
        nargs="*",
        metavar="KEY VALUE",
        help=f"{PAIRS}, of the conventional operators: PRIVACY.DESENSITIZER.BLUR_SIGMA 8",
    )
    return parser


def make_server(options: argparse.Namespace) -> Server:
    """The pages that a command line asks for.

    Raises:
        UserError: when something that it names cannot be used.
    """
    load_projects(options.project)
    if options.reid and not options.gallery:
        raise UserError("--reid looks for people in a --gallery: name one, or leave it out")
    desk = Desk(
        load_methods(options.weights, options.options, options.device),
        load_galleries(options.gallery, options.reid, options.device),
        options.key,
        options.device,
    )
    return Server(desk, options.port)


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
