"""``fastreid-privacy export``: a checkpoint to the parts of its holders, or a key pair of either kind."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.release import LIST
from ..checkpoints.splitting import split_checkpoint
from ..core.errors import UserError, say
from ..keys.pairs import HYBRID, X25519, recipient
from ..keys.sealing import IDENTITY, SEARCH, new_identity, read_public_key
from .options import (
    add_not_private_option,
    add_passphrase_options,
    add_project_option,
    passphrase_given,
    passphrase_of,
)
from .parsers import command_parser
from .running import run_command

WHO = {
    "anonymizer": "for the camera side",
    "recovery": "the key, for its holder alone",
    "reid": "for researchers; plain fastreid reads the .pth",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _export, "interrupted")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "export",
        "Split a checkpoint into what its holders get, or make a key pair.",
        "--weights output/demo/model_best.pth --output release/",
        "--new-identity --output keys/",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--weights", type=Path, help="checkpoint to split, such as output/demo/model_best.pth")
    what.add_argument(
        "--new-identity", action="store_true", help="make identity.pub and identity.key, for sealed originals"
    )
    what.add_argument(
        "--new-search", action="store_true", help="make search.pub and search.key, for search templates"
    )
    parser.add_argument(
        "--key-type",
        choices=(X25519, HYBRID),
        help=f"of a key pair: {X25519} (default), or {HYBRID}, ML-KEM-768 with X25519, for archives that "
        "must outlast today's cryptography; what is sealed is 1,088 bytes larger",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    parser.add_argument(
        "--onnx", action="store_true", help="write each part of --weights as an ONNX graph, too"
    )
    parser.add_argument(
        "--unencrypted",
        action="store_true",
        help="write the recovery key or the private key without a passphrase",
    )
    add_not_private_option(parser)
    add_passphrase_options(parser)
    add_project_option(parser)
    return parser


def _export(options: argparse.Namespace) -> None:
    holder = IDENTITY if options.new_identity else SEARCH if options.new_search else None
    if options.unencrypted and passphrase_given(options):
        raise UserError("--unencrypted needs no passphrase: leave out one of them")
    if options.onnx and holder:
        raise UserError("--onnx is for the parts of --weights: a key pair holds no network")
    if options.key_type and not holder:
        raise UserError(
            "--key-type is for --new-identity and --new-search: the parts of --weights have no key pair"
        )
    if options.not_private and holder:
        raise UserError("--not-private is for --weights: a key pair holds no model")
    if options.unencrypted:
        say("warning: whoever reads the unencrypted key file can use it")
    passphrase = passphrase_of(options, confirm=True)

    if holder:
        secret = None if options.unencrypted else passphrase()
        public, private = new_identity(options.output, secret, options.key_type or X25519, holder)
        who = "the owner" if holder == IDENTITY else "those who may search"
        fingerprint = recipient(read_public_key(public, holder))
        say(
            f"{public}: for the camera side; its fingerprint is {fingerprint}\n"
            f"{private}: for {who} alone; without it no {holder.seals} that are sealed can be opened",
            sys.stdout,
        )
        return
    written = split_checkpoint(
        options.weights,
        options.output,
        None if options.unencrypted else passphrase,
        onnx=options.onnx,
        not_private=options.not_private,
    )
    for part, who in WHO.items():
        files = " and ".join(str(written[name]) for name in (part, f"{part}_onnx") if name in written)
        say(f"{files}: {who}" if files else f"no {part}: the checkpoint holds none", sys.stdout)
    release = options.output / LIST
    digest = hashlib.sha256(release.read_bytes()).hexdigest()
    say(f"{release}: for each of them, beside their file; its SHA-256 is {digest}", sys.stdout)
