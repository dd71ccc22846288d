"""``fastreid-privacy recover``: protected files to recovered ones, or sealed originals opened."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.opening import load_recovery
from ..collection.compare import compare_collection, figures_text, in_all, raw_files
from ..collection.recover import read_protected, recover_collection
from ..collection.source import read_pseudonym_key
from ..collection.unseal import unseal_collection
from ..core.errors import UserError, one_line, say
from ..keys.sealing import IDENTITY
from ..manifest import MANIFEST, OPERATOR, Manifest, files_of
from .engines import add_engine_options, engine_of, loading_device, refuse_cluster
from .options import (
    add_passphrase_options,
    add_project_option,
    add_run_options,
    add_tars_option,
    passphrase_of,
    refuse_tars,
)
from .parsers import command_parser, place, refuse_stores
from .private_key import read_private_key
from .running import run_command
from .video import recover_video_of
from .written import report_failed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _recover, "interrupted; the same command continues")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "recover",
        "Recover what tools/anonymize.py has protected. A killed run continues.",
        "--key release/recovery.key --input PROTECTED --output RECOVERED --verify RAW",
        "--identity keys/identity.key --input PROTECTED --output RAW_AGAIN",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--key",
        type=Path,
        help="recovery.key or .onnx.key of tools/export.py, or a checkpoint (model_best.pth)",
    )
    how.add_argument(
        "--identity",
        type=Path,
        metavar="PRIVATE_KEY",
        help="open sealed originals with identity.key of tools/export.py",
    )
    parser.add_argument(
        "--input",
        type=place,
        required=True,
        help="folder that anonymize.py wrote; with --identity also a folder of any files that carry their "
        "originals, or one of them",
    )
    parser.add_argument(
        "--output",
        type=place,
        required=True,
        help="folder for the recovered images (png): new, empty or continued; of --key, both folders may be "
        "s3://… and what else fsspec opens",
    )
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="RAW",
        help="folder of the raw images, or raw video: print PSNR and SSIM of each",
    )
    parser.add_argument(
        "--pseudonymize",
        type=Path,
        metavar="KEYFILE",
        help="key of the names, for --verify where they are pseudonyms",
    )
    add_passphrase_options(parser)
    add_tars_option(parser)
    add_run_options(parser)
    add_engine_options(parser)
    add_project_option(parser)
    return parser


def _recover(options: argparse.Namespace) -> None:
    if options.identity:
        _unseal(options)
        return
    if options.pseudonymize and not options.verify:
        raise UserError("--pseudonymize only finds raw images for --verify: leave it out")
    protected = read_protected(options.input)
    collection = protected.manifest
    if OPERATOR in collection.header:
        raise UserError(
            f"{options.input} was protected by {collection.header['method']}, which no key undoes: only raw "
            "files that were sealed come back (--identity)"
        )
    key = read_pseudonym_key(options.pseudonymize) if options.pseudonymize else None
    image_map = load_recovery(
        options.key,
        loading_device(options),
        passphrase_of(options),
        runtime=options.runtime,
        precision=options.precision,
    )
    if "video" in collection.header:
        refuse_cluster(options, "a video")
        refuse_stores(options, "a video")
        refuse_tars(options, "a video")
        recover_video_of(options, protected, image_map)
        return
    originals: dict[str, Path] = {}
    if options.verify:
        key = key if collection.header["pseudonyms"] else None
        originals = raw_files(options.verify, protected.recovered_names.values(), key)
    done = recover_collection(
        protected,
        options.output,
        image_map,
        batch_size=options.batch_size,
        engine=engine_of(options),
        tar_images=options.tars,
    )
    not_compared = _verify(options, done, originals) if options.verify else {}
    say(
        f"{len(done.entries):,} of {len(collection.entries):,} images recovered: {options.output / MANIFEST}",
        sys.stdout,
    )
    if collection.failed:
        say(
            f"{len(collection.failed):,} images of the collection were never protected; "
            f"{options.input / MANIFEST} names them"
        )
    report_failed(done.failed, "recovered")
    report_failed(not_compared, "compared")


def _verify(options: argparse.Namespace, done: Manifest, originals: dict[str, Path]) -> dict[str, str]:
    """Print the figures of each image and of all; returns the reasons why some have none, by path."""
    compared: list[dict] = []
    failed: dict[str, str] = {}
    made = files_of(options.output, done.entries.values())
    for figures in compare_collection(made, sorted(done.entries), originals, options.workers):
        if "failed" in figures:
            failed[figures["path"]] = figures["failed"]
        else:
            say(f"{figures_text(figures)}  {one_line(figures['path'])}", sys.stdout)
            compared.append(figures)
    if compared:
        say(f"{figures_text(in_all(compared))}  in all, {len(compared):,} images", sys.stdout)
    return failed


def _unseal(options: argparse.Namespace) -> None:
    if options.verify or options.pseudonymize:
        raise UserError(
            "--verify and --pseudonymize go with --key: sealed originals are exact, and name themselves"
        )
    if options.runtime or options.precision != "float32":
        raise UserError(
            "--runtime and --precision go with --key: sealed originals are opened without a network"
        )
    identity = read_private_key(options.identity, options, IDENTITY)
    refuse_cluster(options, "sealed originals")
    refuse_stores(options, "opening sealed originals")
    refuse_tars(options, "sealed originals")
    opened = unseal_collection(options.input, options.output, identity)
    for name, how in sorted(opened.fitted.items()):
        quality = "without loss" if how.quality is None else f"quality {how.quality}"
        psnr = "no pixel differs" if how.psnr is None else f"{how.psnr:.2f} dB"
        say(f"{one_line(name)}: encoded anew to fit, {quality}, {psnr}", sys.stdout)
    say(f"{opened.number:,} sealed originals opened: {options.output}", sys.stdout)
    report_failed(opened.failed, "opened")
