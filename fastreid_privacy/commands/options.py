"""Options that several commands have, and how their words become values."""

from __future__ import annotations

import argparse
import os

from ..checkpoints.image_maps import PRECISIONS, RUNTIMES


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)  # argparse says what is no number
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options that both directions share."""
    parser.add_argument("--batch-size", type=positive, default=32, help="images at a time (default 32)")
    parser.add_argument(
        "--workers",
        type=positive,
        default=os.cpu_count() or 1,
        help="threads, each of which has a batch (default: cores)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto (default: a GPU where there is one), cpu, cuda or cuda:N"
    )
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
