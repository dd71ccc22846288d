"""The options of ``anonymize`` that seal raw files or templates, and what it says of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..collection.carrying import BESIDE, PIXELS, SEGMENT, WAYS
from ..collection.describing import Describer
from ..core.errors import UserError, say
from ..keys.sealing import SEARCH, read_sealer
from ..retrieval.extract import load_extractor
from ..video.live_input import is_video
from .engines import loading_device


def add_sealing_options(parser: argparse.ArgumentParser) -> None:
    """``--seal``, ``--search``, ``--reid``, ``--carry`` and ``--carry-fit``."""
    parser.add_argument(
        "--seal",
        type=Path,
        action="append",
        metavar="PUBLIC_KEY",
        help="store each raw file, encrypted to this key; given several times, each of the keys opens it",
    )
    parser.add_argument(
        "--search",
        type=Path,
        action="append",
        metavar="PUBLIC_KEY",
        help="store the Re-ID feature of each raw image, encrypted to this search key; may be repeated",
    )
    parser.add_argument(
        "--reid", type=Path, metavar="MODEL", help="of --search: reid.pth of tools/export.py, or a checkpoint"
    )
    parser.add_argument(
        "--carry",
        choices=WAYS,
        help="where to store either: beside the protected file (default), or in it, so that a single file "
        "can be opened: pixels, in the lowest bits of a png, or segment, in application segments of a jpg",
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
        UserError: as :func:`fastreid_privacy.keys.sealing.read_sealer` and
            :func:`fastreid_privacy.retrieval.load_extractor`.
    """
    return {
        "seal": read_sealer(options.seal) if options.seal else None,
        "search": _describer(options) if options.search else None,
        "carry": options.carry or BESIDE,
        "fit": options.carry_fit == "best",
    }


def _describer(options: argparse.Namespace) -> Describer:
    seal, extract = read_sealer(options.search, SEARCH), load_extractor(options.reid, loading_device(options))
    return Describer(seal, extract.fingerprint, extract.seen, extract)


def refuse_sealing_options(options: argparse.Namespace) -> None:
    """Refuse options of sealed originals and templates that do not go together.

    Raises:
        UserError: naming them.
    """
    if options.search and not options.reid:
        raise UserError("--search needs the Re-ID model that describes the raw images: name it with --reid")
    if options.reid and not options.search:
        raise UserError("--reid describes raw images for a search key: give the key with --search")
    if options.search and is_video(options.input):
        raise UserError("--search is for images: the boxes of a video carry no templates")
    if options.carry and not (options.seal or options.search):
        raise UserError(
            "--carry says where sealed originals go, and templates: give the owner's key with --seal, or a "
            "search key with --search"
        )
    if options.carry_fit and not options.seal:
        raise UserError("--carry-fit says what becomes of originals: give the owner's key with --seal")
    if options.carry_fit and options.carry != PIXELS:
        raise UserError("--carry-fit goes with --carry pixels: elsewhere there is room for every original")
    if options.carry == PIXELS and options.format == "jpg":
        raise UserError("--carry pixels needs --format png: jpg files do not keep the lowest bits")
    if options.carry == SEGMENT and options.format != "jpg":
        raise UserError("--carry segment needs --format jpg: its segments hold the original")


def say_carried(options: argparse.Namespace, entries: Iterable[dict]) -> None:
    """How much the files carry, how much lies beside them, and how many originals were encoded anew."""
    entries = list(entries)
    if options.search:
        inside = sum("template_carried" in entry for entry in entries)
        lying = sum("template" in entry for entry in entries)
        say(f"{inside:,} templates are carried in the files, {lying:,} lie beside", sys.stdout)
    if options.carry in (None, BESIDE) or not options.seal:
        return
    within = [entry for entry in entries if "carried" in entry]
    anew = [entry["fitted"]["psnr"] for entry in within if "fitted" in entry]
    say(f"{len(within):,} originals are carried in the files ({options.carry})", sys.stdout)
    if anew:
        worst = min((psnr for psnr in anew if psnr is not None), default=None)
        told = "no pixel differs" if worst is None else f"{worst:.2f} dB at worst"
        say(f"{len(anew):,} of them did not fit and were encoded anew as WebP: {told}", sys.stdout)
    if len(within) < len(entries):
        say(f"{len(entries) - len(within):,} originals did not fit: they lie beside, in .sealed files")
