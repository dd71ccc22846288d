"""How near an inexact index comes to the exact search, and what each costs in memory and time here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np

from .index import EFFORT, search_parameters, stored_features

SAMPLE, TIMED = 500, 100  # queries for recall, and of these for the time
DEPTH = 10
TIMES = ("milliseconds", "flat_milliseconds")  # of the figures: those that differ each time


def compare_with_exact(index: faiss.Index, flat: faiss.IndexFlat, kind: str, effort: int) -> dict[str, float]:
    """Search an inexact index and the flat one for a sample of the gallery's own images, each without itself.

    Args:
        index: of kind "ivfpq" or "hnsw", over the features of ``flat``.
        flat: the exact one.
        kind: of ``index``.
        effort: of its searches.

    Returns:
        ``queries``; ``recall@1`` and ``recall@10``: the share, 0–1, of the exact search's best 1 and 10 that
        ``index`` finds among its best 1 and 10; ``megabytes`` (2^20 bytes) and ``milliseconds`` (median of
        single queries) of it, and ``flat_…`` of the exact one.
    """
    features = stored_features(flat)
    sample = np.unique(np.linspace(0, len(features) - 1, min(SAMPLE, len(features))).astype(int))
    queries, parameters = features[sample], search_parameters(kind, effort)
    kept = min(DEPTH, flat.ntotal - 1)
    found = _without_itself(index.search(queries, kept + 1, params=parameters)[1], sample)
    exact = _without_itself(flat.search(queries, kept + 1)[1], sample)
    return {
        "queries": len(sample),
        "recall@1": _recall(found, exact, 1),
        "recall@10": _recall(found, exact, kept),
        "megabytes": megabytes(index),
        "flat_megabytes": megabytes(flat),
        "milliseconds": _milliseconds(
            lambda query: index.search(query, DEPTH, params=parameters), queries[:TIMED]
        ),
        "flat_milliseconds": _milliseconds(lambda query: flat.search(query, DEPTH), queries[:TIMED]),
    }


def megabytes(index: faiss.Index) -> float:
    """The size of an index as FAISS stores it, in 2^20 bytes."""
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        size += len(data)

    faiss.write_index(index, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
    return size / 2**20


def _without_itself(indices: np.ndarray, sample: np.ndarray) -> list[list[int]]:
    """Answers of one image more than wanted, without the image that asked, or else without the last."""
    return [
        [place for place in row.tolist() if place != own][: len(row) - 1]
        for row, own in zip(indices, sample, strict=True)
    ]


def _recall(found: list[list[int]], exact: list[list[int]], depth: int) -> float:
    shares = [len(set(a[:depth]) & set(b[:depth])) / depth for a, b in zip(found, exact, strict=True)]
    return float(np.mean(shares))


def _milliseconds(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    search(queries[:1])
    times = []
    for row in range(len(queries)):
        start = time.perf_counter()
        search(queries[row : row + 1])
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def describe(measured: dict[str, float], kind: str, settings: dict[str, int]) -> str:
    """The figures of :func:`compare_with_exact` as lines for a terminal."""
    shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    return "\n".join(
        (
            f"{'':8}{'recall@1':>10}{'recall@10':>11}{'size':>13}{'one query':>13}",
            f"{kind:8}{measured['recall@1']:>10.3f}{measured['recall@10']:>11.3f}"
            f"{measured['megabytes']:>9.1f} MiB{measured['milliseconds']:>10.2f} ms",
            f"{'flat':8}{1:>10.3f}{1:>11.3f}"
            f"{measured['flat_megabytes']:>9.1f} MiB{measured['flat_milliseconds']:>10.2f} ms",
            f"{measured['queries']} images of the gallery as queries, each without itself, on this machine; "
            f"{shown}; a higher --{EFFORT[kind]} at query finds more",
        )
    )
