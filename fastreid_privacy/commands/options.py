"""Options that several commands have, and how their words become values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..checkpoints.opening import PRECISIONS, RUNTIMES
from ..collection.guard import Guard
from ..collection.pipeline import MOST_WORKERS
from ..core.errors import UserError, say
from ..keys.passphrase import read_passphrase
from ..manifest import OPERATOR, Manifest
from .parsers import words

LARGEST_BATCH = 4096  # images: each has its place in memory, also where there are fewer
LARGEST_TAR = 1_000_000  # images


def say_guarded(guard: Guard | None, kept: Sequence[float]) -> None:
    """What the guard did, where there is one.

    Args:
        guard: of the run.
        kept: of all images, or boxes, that are there.
    """
    if guard is not None:
        say(guard.told(kept), sys.stdout)


def say_accounted(done: Manifest) -> None:
    """What an operator says of its images and accounts for over all of them, where it does.

    Args:
        done: what the run has written.
    """
    for word, value in {**done.header.get(OPERATOR, {}), **done.account}.items():
        say(f"{done.header['method']}, {word.replace('_', ' ')}: {value}", sys.stdout)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)  # argparse says what is no number
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def at_most(most: int) -> Callable[[str], int]:
    """A whole number from 1 to ``most``, for argparse."""

    def number(text: str) -> int:
        if positive(text) > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most:,}")
        return int(text)

    return number


def add_not_private_option(parser: argparse.ArgumentParser) -> None:
    """The option that says that a model is meant which is NOT PRIVATE."""
    parser.add_argument(
        "--not-private",
        action="store_true",
        help="take a model all the same that did not meet the privacy constraint at its last check; what is "
        "written says so",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options that both directions share."""
    add_batch_option(parser, 32)
    add_workers_option(parser)
    add_device_option(parser)
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="onnx: onnxruntime, also for files that are no .onnx (default: as the file)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the network under torch (default float32)",
    )


def add_tars_option(parser: argparse.ArgumentParser) -> None:
    """``--tars``: how many images each tar file gets; 0 where files are to lie alone."""
    parser.add_argument(
        "--tars",
        type=at_most(LARGEST_TAR),
        default=0,
        metavar="N",
        help="write tar files of N images each (000000.tar, 000001.tar, …; up to a batch more) instead of "
        "single files",
    )


def refuse_tars(options: argparse.Namespace, what: str) -> None:
    """Refuse tar files as an output of what is written otherwise.

    Args:
        options: parsed.
        what: this is.

    Raises:
        UserError: naming it.
    """
    if options.tars:
        raise UserError(f"--tars is for collections of images, not {what}: leave it out")


def add_batch_option(parser: argparse.ArgumentParser, default: int) -> None:
    """``--batch-size``: images."""
    parser.add_argument(
        "--batch-size",
        type=at_most(LARGEST_BATCH),
        default=default,
        help=f"images at a time (default {default}, at most {LARGEST_BATCH})",
    )


def add_workers_option(parser: argparse.ArgumentParser) -> None:
    """``--workers``: threads."""
    parser.add_argument(
        "--workers",
        type=at_most(MOST_WORKERS),
        help=f"threads, each of which has a batch (default: cores, at most {MOST_WORKERS}); with --engine "
        "ray those of each task (default 1)",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """``--device``: where networks run."""
    parser.add_argument(
        "--device", default="auto", help="auto (default: a GPU where there is one), cpu, cuda or cuda:N"
    )


def add_attacker_options(parser: argparse.ArgumentParser) -> None:
    """``--pairs``, ``--stranger`` and ``--width``: what attackers hold and how large they are."""
    parser.add_argument(
        "--pairs", type=words, default=("all",), help="leaked pairs of row A3: numbers, or all (default all)"
    )
    parser.add_argument(
        "--stranger",
        type=Path,
        help="Re-ID model of raw images, a checkpoint or .onnx with its .yaml (default: one is trained)",
    )
    parser.add_argument(
        "--width", type=positive, default=24, help="channels of the attacker's first layer (default 24)"
    )


def add_project_option(parser: argparse.ArgumentParser) -> None:
    """``--project``: read with :func:`fastreid_privacy.core.projects.load_projects`, before all else."""
    parser.add_argument(
        "--project",
        action="append",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folder whose Python package registers operators or networks: its code is run; may be repeated",
    )


def add_passphrase_options(parser: argparse.ArgumentParser) -> None:
    """``--passphrase-env`` and ``--passphrase-fd``; without either, a prompt asks."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--passphrase-env",
        metavar="NAME",
        help="environment variable that holds the passphrase (default: a prompt asks)",
    )
    group.add_argument(
        "--passphrase-fd", metavar="N", type=int, help="file descriptor whose first line is the passphrase"
    )


def passphrase_of(options: argparse.Namespace, confirm: bool = False) -> Callable[[], str]:
    """What reads the passphrase, when it is needed.

    Args:
        options: parsed.
        confirm: whether a prompt asks twice.
    """
    return lambda: read_passphrase(options.passphrase_env, options.passphrase_fd, confirm=confirm)


def passphrase_given(options: argparse.Namespace) -> bool:
    """Whether the command line says where the passphrase comes from."""
    return options.passphrase_env is not None or options.passphrase_fd is not None


def refuse_idle_passphrase(options: argparse.Namespace, *keys: str) -> None:
    """Refuse a passphrase where no key is named that it could open.

    Args:
        options: parsed.
        keys: the options that name keys, as ``search_key``.

    Raises:
        UserError: naming these.
    """
    if passphrase_given(options) and not any(getattr(options, key) for key in keys):
        named = " or ".join(f"--{key.replace('_', '-').removesuffix('s')}" for key in keys)
        raise UserError(f"the passphrase would open nothing: name a key with {named}, or leave it out")
