#!/usr/bin/env python3
"""Benchmarks, peers beside us in one run: ranking against fastreid's evaluator, a training step against plain
AGW's, and protecting a collection against its stages alone.

Ranking: the fastest of several calls, larger galleries one call; steps: the median of several. To be read as
ratios; memory is the peak above what the inputs need.
"""

import argparse
import statistics
import time
from pathlib import Path

from bench_collection import bench_collection
from bench_ranking import bench_ranking

import torch  # isort: skip  (fastreid works once fastreid_privacy, which bench_ranking imports, is there)
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_privacy.config import load_config
from fastreid_privacy.training.solver import build_optimizer

CONFIG = Path(__file__).parents[1] / "configs" / "Synthetic" / "privacy_agw.yml"
PARTS = ("market", "msmt17", "million", "steps", "collection")


def median_time(function, runs: int) -> float:
    """Median seconds of ``runs`` calls after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def bench_steps(runs: int) -> None:
    """One optimisation step of each model of the demo, beside fastreid's plain AGW on the same images."""
    print("\nTraining step, demo size (32 images)")
    images, targets = torch.randint(0, 256, (32, 3, 128, 64)).float(), torch.arange(32) // 4
    plain = None
    rows = {"fastreid AGW": None, "upper bound": "none", "Base": "conventional", "full method": "learned"}
    for name, protection in rows.items():
        options = ["MODEL.HEADS.NUM_CLASSES", "80", "PRIVACY.PROTECTION", protection or "none"]
        cfg = load_config(CONFIG, options + ([] if protection else ["MODEL.META_ARCHITECTURE", "Baseline"]))
        model = build_model(cfg).train()
        optimizer = build_optimizer(cfg, model)

        def step(model=model, optimizer=optimizer):
            with EventStorage(0):
                losses = model(
                    {"images": images.clone().to(model.device), "targets": targets.to(model.device)}
                )
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()

        seconds = median_time(step, runs)
        plain = plain or seconds
        print(f"  {name:22}  {seconds:8.2f} s   {seconds / plain:6.2f} × fastreid AGW")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", default=",".join(PARTS), help=f"what to measure, of {', '.join(PARTS)} (default all)"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="queries and gallery as a fraction of their sizes (default 1)",
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="calls of each, for larger galleries always one (default 3)"
    )
    args = parser.parse_args()
    parts = args.parts.split(",")
    if not 0 < args.scale <= 1 or args.runs < 1:
        parser.error("--scale must be above 0 and at most 1, --runs at least 1")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    bench_ranking(parts, args.scale, args.runs)
    if "steps" in parts:
        bench_steps(args.runs)
    if "collection" in parts:
        bench_collection(max(100, round(10_000 * args.scale)))


if __name__ == "__main__":
    main()
