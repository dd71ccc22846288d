"""What one query set's rankings say, gathered from its distances as they come, some queries at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .places import places_of_matches
from .protocol import TrueMatches
from .roc import RocCounter

CMC_RANKS = (1, 5, 10)


class QueryRanks(NamedTuple):
    """What each query's ranking says, Q values each; 0 in all three for a query without a true match.

    Attributes:
        first_places: place of the first true match, from 1.
        average_precisions: 0–1.
        inverse_penalties: 0–1.
    """

    first_places: np.ndarray
    average_precisions: np.ndarray
    inverse_penalties: np.ndarray


class Ranking(NamedTuple):
    """What ranking one query set against one gallery gives.

    Attributes:
        queries: of each query.
        verification: "TPR@FPR=1e-04" and so on, percent; empty where it was not asked for.
        best: of the queries that were asked for: gallery indices of their first images, n×k, filled up
            with −1.
    """

    queries: QueryRanks
    verification: dict[str, float | None]
    best: np.ndarray

    @property
    def figures(self) -> dict[str, float | int | None]:
        """The figures of :func:`.ranking.evaluate_retrieval`."""
        return {**summarize(self.queries), **self.verification}


class QuerySet:
    """The ranking of one query set, while its distances come in.

    Args:
        matches: the true matches of its queries, and what is left out.
        gallery_size: G.
        best_of: indices of queries whose first ``best`` gallery images are wanted.
        best: how many.
        roc: whether verification is measured.
    """

    def __init__(self, matches: TrueMatches, gallery_size: int, best_of: Sequence[int], best: int, roc: bool):
        count = len(matches.counts)
        self._matches, self._best_of = matches, best_of
        self._ranks = QueryRanks(np.zeros(count, dtype=np.int64), np.zeros(count), np.zeros(count))
        self._best = np.full((len(best_of), best), -1, dtype=np.int64)
        self._pairs = RocCounter(count * gallery_size) if roc else None

    def add(self, start: int, distances: Tensor) -> None:
        """Rank the gallery for some queries.

        Args:
            start: index of the first of them.
            distances: n×G float32 of these queries, on any device. They are overwritten.
        """
        stop, device = start + len(distances), distances.device
        matches = torch.from_numpy(self._matches.of(start, stop))
        rows, images = map(torch.from_numpy, self._matches.left_out_of(start, stop))
        distances[rows.to(device), images.to(device)] = torch.inf
        places = places_of_matches(distances, matches.to(device)).cpu().numpy()
        figures = _figures_of(places, self._matches.counts[start:stop])
        for values, new in zip(self._ranks, figures, strict=True):
            values[start:stop] = new
        for row, query in enumerate(self._best_of):
            if start <= query < stop:
                self._best[row] = _nearest(distances[query - start], self._best.shape[1])
        if self._pairs:
            _count_pairs(self._pairs, distances, matches)

    def ranking(self) -> Ranking:
        """The result, when all queries have been added."""
        return Ranking(self._ranks, self._pairs.compute() if self._pairs else {}, self._best)


def summarize(ranks: QueryRanks) -> dict[str, float | int]:
    """CMC, mAP and mINP from those of each query, of which at least one must count.

    Returns:
        "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP" in percent, and "excluded_queries", a count.
    """
    counts = ranks.first_places > 0
    first_places = ranks.first_places[counts]
    cmc = {f"Rank-{rank}": 100 * float(np.mean(first_places <= rank)) for rank in CMC_RANKS}
    return {
        **cmc,
        "mAP": 100 * float(np.mean(ranks.average_precisions[counts])),
        "mINP": 100 * float(np.mean(ranks.inverse_penalties[counts])),
        "excluded_queries": int((~counts).sum()),
    }


def _figures_of(places: np.ndarray, counts: np.ndarray) -> QueryRanks:
    """What the rankings of some queries say.

    Args:
        places: n×M, of the true matches of each query, unused ones 0.
        counts: n, how many of a row are used.
    """
    unused = np.arange(places.shape[1]) >= counts[:, None]
    places = np.sort(np.where(unused, np.iinfo(places.dtype).max, places), axis=1)
    precisions = np.where(unused, 0, np.arange(1, places.shape[1] + 1) / places)
    found = np.maximum(counts, 1)
    any_match = counts > 0
    last = places[np.arange(len(places)), found - 1]
    return QueryRanks(
        np.where(any_match, places[:, 0], 0),
        precisions.sum(1) / found,
        np.where(any_match, counts / last, 0),
    )


def _nearest(distances: Tensor, count: int) -> np.ndarray:
    """Indices of the nearest gallery images of one query in order, filled up with −1.

    Equal ones are in gallery order; what is left out (infinite) is not among them.
    """
    row = distances.cpu().numpy()
    nearest = np.argsort(row, kind="stable")[:count]
    nearest[np.isinf(row[nearest])] = -1
    return np.concatenate([nearest, np.full(count - len(nearest), -1)])


def _count_pairs(counter: RocCounter, distances: Tensor, matches: Tensor) -> None:
    """Give the counter the distances of true pairs, and of all others but those that are left out.

    What is left out is infinite already. The distances are used up.
    """
    rows, columns = (matches >= 0).nonzero(as_tuple=True)
    true = rows.to(distances.device), matches[rows, columns].to(distances.device)
    true_pairs = distances[true]
    distances[true] = torch.inf
    counter.update(true_pairs.cpu().numpy(), distances[distances.isfinite()].cpu().numpy())
