"""``fastreid-privacy bench``: what to measure, how large, how often."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..bench.cluster import bench_cluster
from ..bench.collection import bench_collection
from ..bench.ranking import bench_ranking
from ..bench.steps import bench_steps, check_config
from ..core.errors import UserError
from .options import positive
from .parsers import command_parser, names_of
from .running import run_command

PARTS = ("market", "msmt17", "million", "steps", "collection", "cluster")
COLLECTION = 10_000  # images to protect at --scale 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), argv, _measure, "interrupted")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        "bench",
        "Benchmarks, peers beside us in one run: ranking against fastreid's evaluator, a training step "
        "against plain AGW's, and protecting a collection against its stages alone, and by tasks of Ray "
        "against threads. Ranking: the fastest of several calls, larger galleries one call; steps: the "
        "fastest of several. To be read as ratios; memory is the peak above what the inputs need.",
        "--parts market,steps --scale 0.3",
    )
    parser.add_argument(
        "--parts",
        type=names_of(PARTS),
        default=PARTS,
        help=f"what to measure, of {', '.join(PARTS)} (default all)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="queries and gallery as a fraction of their sizes (default 1)",
    )
    parser.add_argument(
        "--runs", type=positive, default=3, help="calls of each, for larger galleries always one (default 3)"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="where training steps are taken (default: the CPU, and a GPU where there is one)",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides for training steps"
    )
    return parser


def _measure(options: argparse.Namespace) -> None:
    if not 0 < options.scale <= 1:
        raise UserError(f"--scale is {options.scale:g}; it must be above 0 and at most 1")
    if "steps" not in options.parts and (options.opts or options.device):
        raise UserError("--device and KEY VALUE pairs are for training steps: name steps with --parts")
    bench(options.parts, options.scale, options.runs, options.opts, options.device)


def bench(
    parts: Sequence[str], scale: float, runs: int, options: Sequence[str] = (), device: str | None = None
) -> None:
    """Measure and print.

    Args:
        parts: of ``PARTS``.
        scale: of queries, gallery and collection, above 0 and at most 1.
        runs: calls of each.
        options: KEY VALUE words for training steps.
        device: of training steps, as of :func:`fastreid_privacy.bench.steps.bench_steps`.

    Raises:
        UserError: where training steps cannot be measured.
    """
    if "steps" in parts:
        check_config(options, device)
    bench_ranking(parts, scale, runs)
    if "steps" in parts:
        bench_steps(runs, options, device)
    if "collection" in parts:
        bench_collection(max(100, round(COLLECTION * scale)))
    if "cluster" in parts:
        bench_cluster(max(1024, round(COLLECTION * scale)))
