"""The options of ``anonymize`` that seal raw files, and what it says of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..collection.carrying import BESIDE, PIXELS, SEGMENT, WAYS
from ..core.errors import UserError, say
from ..keys.sealing import read_sealer


def add_sealing_options(parser: argparse.ArgumentParser) -> None:
    """``--seal``, ``--carry`` and ``--carry-fit``."""
    parser.add_argument(
        "--seal",
        type=Path,
        action="append",
        metavar="PUBLIC_KEY",
        help="store each raw file, encrypted to this key; given several times, each of the keys opens it",
    )
    parser.add_argument(
        "--carry",
        choices=WAYS,
        help="where to store it: beside the protected file (default), or in it, so that a single file can be "
        "opened: pixels, in the lowest bits of a png, or segment, in application segments of a jpg",
    )
    parser.add_argument(
        "--carry-fit",
        choices=(BESIDE, "best"),
        help="of --carry pixels, for a raw file that does not fit: beside (default), or best: encode it "
        "anew, as WebP of the best quality that fits",
    )


def sealing(options: argparse.Namespace) -> dict[str, Any]:
    """What :class:`fastreid_privacy.collection.protect.ProtectionOptions` has of them.

    Raises:
        UserError: as :func:`fastreid_privacy.keys.sealing.read_sealer`.
    """
    return {
        "seal": read_sealer(options.seal) if options.seal else None,
        "carry": options.carry or BESIDE,
        "fit": options.carry_fit == "best",
    }


def refuse_sealing_options(options: argparse.Namespace) -> None:
    """Refuse options of sealed originals that do not go together.

    Raises:
        UserError: naming them.
    """
    if options.carry and not options.seal:
        raise UserError("--carry says where sealed originals go: give the owner's key with --seal")
    if options.carry_fit and options.carry != PIXELS:
        raise UserError("--carry-fit goes with --carry pixels: elsewhere there is room for every original")
    if options.carry == PIXELS and options.format == "jpg":
        raise UserError("--carry pixels needs --format png: jpg files do not keep the lowest bits")
    if options.carry == SEGMENT and options.format != "jpg":
        raise UserError("--carry segment needs --format jpg: its segments hold the original")


def say_carried(options: argparse.Namespace, entries: Iterable[dict]) -> None:
    """How many originals the files carry, how many lie beside them, and how many were encoded anew."""
    if options.carry in (None, BESIDE):
        return
    entries = list(entries)
    within = [entry for entry in entries if "carried" in entry]
    anew = [entry["fitted"]["psnr"] for entry in within if "fitted" in entry]
    say(f"{len(within):,} originals are carried in the files ({options.carry})", sys.stdout)
    if anew:
        worst = min((psnr for psnr in anew if psnr is not None), default=None)
        told = "no pixel differs" if worst is None else f"{worst:.2f} dB at worst"
        say(f"{len(anew):,} of them did not fit and were encoded anew as WebP: {told}", sys.stdout)
    if len(within) < len(entries):
        say(f"{len(entries) - len(within):,} originals did not fit: they lie beside, in .sealed files")
