"""Ranking: the four settings beside four matrix products alone and fastreid's evaluator; larger galleries."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.evaluation import ReidEvaluator, rank

from ..config import default_config
from ..core.version import __version__
from ..evaluation.ranking import rank as rank_sets
from ..evaluation.ranking_options import RankingOptions


class Size(NamedTuple):
    """Of a retrieval task, and the length of its features."""

    queries: int
    gallery: int
    dimension: int

    def scaled(self, scale: float) -> Size:
        """The same with fewer images: ten queries at least, and a gallery in which they are found."""
        gallery = max(int(self.gallery * scale), min(self.gallery, 2 * PEOPLE))
        return Size(max(int(self.queries * scale), 10), gallery, self.dimension)


MARKET = Size(3368, 15913, 2048)  # with ResNet-50
MSMT17 = Size(11659, 82161, 2048)
MILLION = Size(1000, 1_000_000, 512)
PEOPLE, CAMERAS = 750, 6
Labels = tuple[np.ndarray, np.ndarray]
"""Identities and cameras of the images of one side."""


def timed(function: Callable[[], object]) -> tuple[float, float | None]:
    """Seconds of one call, and GiB of memory above what was in use before it.

    None where the system does not say the memory (Linux does). Pages of mapped files, which the system takes
    back whenever it likes, are not counted.
    """
    before = _memory()
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], _memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        function()
        return time.perf_counter() - start, (peak[0] - before) / 2**20 if before else None
    finally:
        done.set()
        watcher.join()


def _memory() -> int:
    """KiB in use by this process, without files; 0 where the system does not say."""
    status = Path("/proc/self/status")
    found = status.exists() and re.search(r"^RssAnon:\s+(\d+)", status.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def best_of(runs: int, *functions: Callable[[], object]) -> list[tuple[float, float | None]]:
    """The fastest call and the highest peak of each function, called in turn.

    Others on the machine only ever slow a call down.
    """
    results = [[timed(function) for function in functions] for _ in range(runs)]
    return [
        (
            min(seconds for seconds, _ in calls),
            max((peak for _, peak in calls if peak is not None), default=None),
        )
        for calls in zip(*results, strict=True)
    ]


def print_row(name: str, seconds: float, peak: float | None = None, note: str = "") -> None:
    """A line of the table; ``peak`` in GiB."""
    memory = "" if peak is None else f"peak {peak:5.2f} GiB above the features"
    print(f"  {name:38} {seconds:8.2f} s   {note:38} {memory}", flush=True)


def features_of(
    size: Size, kind: type[np.floating], domains: Sequence[str]
) -> tuple[dict[str, np.ndarray], Labels, Labels]:
    """Random features of each domain, queries in front, and the labels of queries and gallery."""
    queries, gallery, dimension = size
    draw = np.random.default_rng(0)
    features = {}
    for domain in domains:
        features[domain] = np.empty((queries + gallery, dimension), dtype=kind)
        for start in range(0, queries + gallery, 4096):
            part = features[domain][start : start + 4096]
            part[:] = draw.standard_normal(part.shape, dtype=np.float32)
    pids = draw.integers(1, PEOPLE + 1, queries + gallery)
    camids = draw.integers(0, CAMERAS, queries + gallery)
    return features, (pids[:queries], camids[:queries]), (pids[queries:], camids[queries:])


def bench_market(scale: float, runs: int, device: str) -> None:
    """OI→OI, PI→OI, OI→PI and PI→PI at the size of Market-1501."""
    size = MARKET.scaled(scale)
    features, query, gallery = features_of(size, np.float32, ("OI", "PI"))
    n = size.queries
    tensors = {domain: torch.from_numpy(rows) for domain, rows in features.items()}
    unit = {domain: F.normalize(rows.to(device)) for domain, rows in tensors.items()}

    def ours() -> None:
        for domain in tensors:
            rank_sets(
                [rows[:n] for rows in tensors.values()],
                tensors[domain][n:],
                query,
                gallery,
                RankingOptions(),
                device=device,
            )

    def products() -> None:
        for rows in unit.values():
            for others in unit.values():
                others[:n] @ rows[n:].T
        if device != "cpu":
            torch.cuda.synchronize()

    print(f"\nRanking {n:,} × {size.gallery:,} × {size.dimension}, four pairs of domains, {device}")
    (seconds, peak), (alone, _) = best_of(runs, ours, products)
    print_row("ours", seconds, peak, f"{seconds / alone:.2f} × the matrix products alone")
    print_row("four matrix products alone", alone)
    if device != "cpu":
        return

    def peer(name: str, calls: int, cython: Callable | None) -> None:
        one, peak = best_of(calls, lambda: fastreid_evaluator(tensors["OI"], n, query, gallery, cython))[0]
        print_row(name, 4 * one, peak, f"{4 * one / seconds:.2f} × ours (one pair, times 4)")

    name = "fastreid ReidEvaluator, Cython"
    if cython := fastreid_cython():
        peer(name, runs, cython)
    else:
        print(f"  {name}: not built, no C compiler or no Cython here")
    peer("fastreid ReidEvaluator, Python", 1, None)  # takes a minute


def fastreid_evaluator(
    features: torch.Tensor, num_query: int, query: Labels, gallery: Labels, cython: Callable | None
) -> None:
    """One pair of domains by fastreid's own evaluator; without ``cython``, by its Python."""
    before = rank.IS_CYTHON_AVAI, getattr(rank, "evaluate_cy", None)
    rank.IS_CYTHON_AVAI, rank.evaluate_cy = cython is not None, cython
    try:
        evaluator = ReidEvaluator(default_config(), num_query)
        pids, camids = (torch.from_numpy(np.concatenate(sides)) for sides in zip(query, gallery, strict=True))
        evaluator.process({"targets": pids, "camids": camids}, features)
        evaluator.evaluate()
    finally:
        rank.IS_CYTHON_AVAI, rank.evaluate_cy = before


def fastreid_cython() -> Callable | None:
    """fastreid's Cython ranking, compiled in a temporary folder; None where that fails.

    The installed package is left as it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "rank_cylib")
        shutil.copytree(Path(rank.__file__).with_name("rank_cylib"), target)
        built = subprocess.run(
            [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=target, capture_output=True
        )
        files = list(target.glob("rank_cy*.so")) + list(target.glob("rank_cy*.pyd"))
        if built.returncode or not files:
            return None
        spec = importlib.util.spec_from_file_location("rank_cy", files[0])
        assert spec is not None and spec.loader is not None  # of a file that is there
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.evaluate_cy


def bench_large(name: str, size: Size, device: str, on_disk: bool) -> None:
    """One pair of domains with float16 features, in memory or mapped from a file."""
    features, query, gallery = features_of(size, np.float16, ("OI",))
    if not on_disk:
        _bench_one_pair(name, features["OI"], query, gallery, device, "in memory")
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "features.npy")
        np.save(file, features.pop("OI"))
        _bench_one_pair(name, np.load(file, mmap_mode="r"), query, gallery, device, "from disk")


def _bench_one_pair(
    name: str, rows: np.ndarray, query: Labels, gallery: Labels, device: str, where: str
) -> None:
    n, count = len(query[0]), len(gallery[0])
    print(
        f"\n{name}: ranking {n:,} × {count:,} × {rows.shape[1]}, float16 features {where}, one pair of "
        f"domains, {device}"
    )
    seconds, peak = timed(
        lambda: rank_sets([rows[:n]], rows[n:], query, gallery, RankingOptions(), device=device)
    )
    some, part = (
        torch.from_numpy(rows[first:last].astype(np.float32)).to(device)
        for first, last in ((0, min(n, 2048)), (n, n + 8192))
    )
    of_part = min(timed(lambda: (some @ part.T).sum().item())[0] for _ in range(3))
    alone = of_part * (n / len(some)) * (count / len(part))
    print_row("ours", seconds, peak, f"{seconds / alone:.2f} × the matrix product (from a part)")


def bench_ranking(parts: Sequence[str], scale: float, runs: int) -> None:
    """Everything about ranking, on the CPU and on a GPU where there is one.

    Args:
        parts: of market, msmt17 and million; others are left to others.
        scale: of queries and gallery, above 0 and at most 1.
        runs: calls of each, of larger galleries always one.
    """
    threads = torch.get_num_threads()
    print(f"fastreid_privacy {__version__}, torch {torch.__version__}, {threads} threads")
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        if "market" in parts:
            bench_market(scale, runs, device)
        if "msmt17" in parts:
            bench_large("MSMT17", MSMT17.scaled(scale), device, on_disk=False)
        if "million" in parts:
            bench_large("A million images", MILLION.scaled(scale), device, on_disk=True)
