#!/usr/bin/env python3
"""Benchmarks, peers beside us in one run: ranking against fastreid's evaluator, and a training step against plain AGW's.

Times are the median of several runs on this machine, to be read as ratios; memory is the peak above what the inputs need.
"""

import argparse
import importlib.util
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fastreid_privacy  # isort: skip  (makes fastreid work)
import numpy as np
import torch
import torch.nn.functional as F
from fastreid.evaluation import rank
from fastreid.modeling import build_model
from fastreid.utils.compute_dist import build_dist
from fastreid.utils.events import EventStorage

from fastreid_privacy.config import load_config
from fastreid_privacy.evaluation import evaluate_retrieval
from fastreid_privacy.solver import build_optimizer

CONFIG = Path(__file__).parents[1] / "configs" / "Synthetic" / "privacy_agw.yml"
MARKET = (3368, 15913, 2048)  # queries, gallery, dimension of Market-1501 with ResNet-50


def median_time(function, runs: int) -> float:
    """Median seconds of ``runs`` calls after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def fastreid_cython():
    """fastreid's Cython ranking, compiled in a temporary folder, never in the installed package; None where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "rank_cylib")
        shutil.copytree(Path(rank.__file__).with_name("rank_cylib"), target)
        built = subprocess.run([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=target, capture_output=True)
        files = list(target.glob("rank_cy*.so")) + list(target.glob("rank_cy*.pyd"))
        if built.returncode or not files:
            return None
        spec = importlib.util.spec_from_file_location("rank_cy", files[0])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.evaluate_cy


def bench_ranking(scale: float, runs: int) -> None:
    """Four domain pairs by us, beside four matrix products alone and fastreid's two paths on the same features."""
    queries, gallery, dimension = (int(MARKET[0] * scale), int(MARKET[1] * scale), MARKET[2])
    draw = np.random.default_rng(0)
    features = torch.from_numpy(draw.standard_normal((queries + gallery, dimension), dtype=np.float32))
    pids, camids = draw.integers(0, max(750 * scale, 2), queries + gallery), draw.integers(0, 6, queries + gallery)
    q, g = features[:queries], features[queries:]
    labels = (pids[:queries], pids[queries:], camids[:queries], camids[queries:])
    print(f"\nRanking {queries:,} × {gallery:,} × {dimension}, one pair of domains")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = median_time(lambda: evaluate_retrieval(q, g, *labels), runs)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    product = median_time(lambda: F.normalize(q) @ F.normalize(g).T, runs)
    print(f"  ours                    {ours:8.2f} s   {ours / product:6.2f} × the matrix product   peak {peak:.2f} GiB above the features")
    print(f"  matrix product alone    {product:8.2f} s")
    cython = fastreid_cython()
    paths = {"fastreid, Cython": cython, "fastreid, Python": rank.evaluate_py}
    for name, evaluate in paths.items():
        if evaluate is None:
            print(f"  {name:22}  not built: no C compiler or no Cython here")
            continue
        seconds = median_time(lambda evaluate=evaluate: evaluate(build_dist(q, g, "cosine"), *labels, 50, False), 1)
        print(f"  {name:22}  {seconds:8.2f} s   {seconds / ours:6.2f} × ours")


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
                losses = model({"images": images.clone().to(model.device), "targets": targets.to(model.device)})
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()

        seconds = median_time(step, runs)
        plain = plain or seconds
        print(f"  {name:22}  {seconds:8.2f} s   {seconds / plain:6.2f} × fastreid AGW")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="queries and gallery as a fraction of Market-1501's (default 1)")
    parser.add_argument("--runs", type=int, default=3, help="counted runs (default 3)")
    args = parser.parse_args()
    if args.scale <= 0 or args.runs < 1:
        parser.error("--scale must be above 0 and --runs at least 1")
    print(f"fastreid_privacy {fastreid_privacy.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    bench_ranking(args.scale, args.runs)
    bench_steps(args.runs)


if __name__ == "__main__":
    main()
