"""The command lines of ``train.py`` and ``sweep.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_privacy.commands.options import add_device_option, positive
from fastreid_privacy.commands.parsers import numbers
from fastreid_privacy.commands.running import check_pairs
from fastreid_privacy.config import load_config
from fastreid_privacy.core.errors import exit_code, say

from .networks import Sizes
from .sweep import NAMES, SweepRequest, run_sweep, table
from .training import Plan, train


def train_command(arguments: Sequence[str] | None = None) -> int:
    """Run ``train.py``; returns its exit code: 0, 2 after ``error: …``, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Train the networks of IdentityDP on any fastreid data set. A killed run continues.",
        epilog="example: python projects/IdentityDP/train.py --config-file "
        "projects/IdentityDP/configs/synthetic.yml",
    )
    sizes = Sizes(0, 0)
    parser.add_argument("--config-file", required=True, help="data, size of the images, epochs, OUTPUT_DIR")
    parser.add_argument(
        "--identity-epochs",
        type=positive,
        default=10,
        help="first epochs, of the identity encoder alone (10)",
    )
    parser.add_argument(
        "--dimension", type=int, default=sizes.dimension, help=f"d of the embedding ({sizes.dimension})"
    )
    parser.add_argument(
        "--width", type=int, default=sizes.width, help=f"channels of the first layers ({sizes.width})"
    )
    parser.add_argument(
        "--code", type=int, default=sizes.code, help=f"channels of the attribute code ({sizes.code})"
    )
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config keys, behind all flags")
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words)

    def run() -> None:
        check_pairs(parser, options.options, words)
        cfg = load_config(options.config_file, options.options)
        height, width = cfg.INPUT.SIZE_TRAIN
        named = Sizes(int(height), int(width), options.dimension, options.width, options.code)
        say(str(train(Plan(cfg, named, options.identity_epochs))), sys.stdout)

    return exit_code(run, "interrupted; the same command goes on from the last epoch")


def sweep_command(arguments: Sequence[str] | None = None) -> int:
    """Run ``sweep.py``; returns its exit code: 0, 2 after ``error: …``, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Measure identity_dp over its privacy budget: who is found, how near the pictures are, "
        "what other tasks learn from them, how much several draws differ.",
        epilog="example: python projects/IdentityDP/sweep.py --model identity_dp.safetensors "
        "--raw SyntheticPedestrians --stranger raw/model_best.pth --output output/sweep",
    )
    parser.add_argument("--model", type=Path, required=True, help="identity_dp.safetensors of train.py")
    parser.add_argument("--raw", required=True, help="folder in Market-1501 naming, or name of a data set")
    parser.add_argument("--stranger", type=Path, required=True, help="Re-ID model of raw images")
    parser.add_argument("--output", type=Path, required=True, help=f"folder for {', '.join(NAMES)}")
    parser.add_argument(
        "--epsilons",
        type=_numbers,
        default=(1000, 500, 200, 100, 50, 10),
        help="budgets (1000,500,200,100,50,10)",
    )
    parser.add_argument("--draws", type=positive, default=4, help="draws of an image that are compared (4)")
    parser.add_argument(
        "--tasks", type=float, default=0.05, help="share of the full training of other tasks; 0: none (0.05)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise and of what is trained (0)")
    add_device_option(parser)
    options = parser.parse_args(arguments)

    def run() -> None:
        say(table(run_sweep(SweepRequest(**vars(options)))), sys.stdout)
        say(str(options.output), sys.stdout)

    return exit_code(run, "interrupted; nothing was written")


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas, each once, for argparse."""
    found = numbers(text, float)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers with commas between them, each once")
    return found
