"""Retrieval figures: CMC, mAP and mINP of any query sets against one gallery, exact, without a full distance
matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.errors import UserError
from .distances import Features, Gallery, choose_device
from .expansion import expand
from .places import places_of_matches
from .protocol import Labels, TrueMatches
from .ranking_options import RankingOptions
from .rerank import JaccardDistances
from .roc import RocCounter

CMC_RANKS = (1, 5, 10)


class QueryRanks(NamedTuple):
    """What each query's ranking says; 0 in all three for a query without a true match under another camera. Q
    values each."""

    first_places: np.ndarray  # place of the first true match, from 1
    average_precisions: np.ndarray  # 0–1
    inverse_penalties: np.ndarray  # 0–1


class Ranking(NamedTuple):
    """What ranking one query set against one gallery gives."""

    queries: QueryRanks
    verification: dict[str, float]  # "TPR@FPR=1e-04" and so on, percent; empty where it was not asked for
    best: (
        np.ndarray
    )  # of the queries that were asked for: gallery indices of their first images, n×k, filled up with −1

    @property
    def figures(self) -> dict[str, float | int]:
        """The figures of :func:`evaluate_retrieval`."""
        return {**summarize(self.queries), **self.verification}


def evaluate_retrieval(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    metric: str = "cosine",
    *,
    expansion: Mapping | None = None,
    rerank: Mapping | None = None,
    roc: bool = False,
    device: str = "auto",
    block_bytes: int | None = None,
) -> dict[str, float | int]:
    """Rank the gallery for every query and measure where its true matches are.

    Gallery images of the query's identity under the query's camera are left out; every other identity,
    distractors included, is wrong. Images at an equal distance rank in gallery order, and equal gallery
    features are at an equal distance. A query without a true match under another camera is left out and
    counted.

    Args:
        query_features: Q×D, any float type, compared in float32; memory-mapped arrays are read part by part.
        gallery_features: G×D.
        query_pids: Q identities, compared as they are.
        gallery_pids: G identities.
        query_camids: Q cameras.
        gallery_camids: G cameras.
        metric, expansion, rerank, roc: see :class:`RankingOptions`.
        device: where distances are computed and sorted: "cpu", "cuda" (the current GPU) or "cuda:N"; "auto":
            a GPU where there is one.
        block_bytes: memory for the distances of one block of queries; by default 256 MiB.

    Returns:
        "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP" in percent (0–100), and "excluded_queries", a count. With
        fewer than 10 gallery images Rank-10 is the share of queries that have a match anywhere. With ``roc``
        also "TPR@FPR=1e-04" and so on, percent.

    Raises:
        UserError: for an unknown metric, empty or mismatched inputs, features that are not finite, or no
            query with a true match under another camera.

    Example:
        >>> features = np.eye(2, dtype=np.float32)
        >>> evaluate_retrieval(features, features, [1, 2], [1, 2], [0, 0], [1, 1])["Rank-1"]
        100.0

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, section 4. mINP: Ye et al.,
        Deep Learning for Person Re-identification: A Survey and Outlook, section 3.4.
    """
    options = RankingOptions(metric, expansion, rerank, roc)
    sides = (query_pids, query_camids), (gallery_pids, gallery_camids)
    (ranking,) = rank(
        [query_features], gallery_features, *sides, options, device=device, block_bytes=block_bytes
    )
    return ranking.figures


def rank(
    queries: Sequence[np.ndarray | Tensor],
    gallery: np.ndarray | Tensor,
    query_labels: tuple[ArrayLike, ArrayLike],
    gallery_labels: tuple[ArrayLike, ArrayLike],
    options: RankingOptions,
    *,
    best_of: Sequence[int] = (),
    best: int = 10,
    device: str = "auto",
    block_bytes: int | None = None,
) -> list[Ranking]:
    """Rank one gallery for several sets of the same queries: the query images in several domains.

    Args:
        queries: Q×D each.
        gallery: G×D.
        query_labels, gallery_labels: identities and cameras.
        options: metric, and what comes on top of it.
        best_of: indices of queries whose first ``best`` gallery images are wanted.
        device, block_bytes: as of :func:`evaluate_retrieval`.

    Returns:
        One ranking for each set.

    Raises:
        UserError: as :func:`evaluate_retrieval`.
    """
    together = {"best_of": best_of, "best": best, "device": choose_device(device), "block_bytes": block_bytes}
    if not (options.expansion or options.rerank):
        return _rank_sets(queries, gallery, query_labels, gallery_labels, options, **together)
    # Expansion and re-ranking look at queries and gallery as one set of images: nothing can be shared between
    # query sets.
    return [
        ranking
        for rows in queries
        for ranking in _rank_sets([rows], gallery, query_labels, gallery_labels, options, **together)
    ]


def _rank_sets(
    queries, gallery, query_labels, gallery_labels, options, best_of, best, device, block_bytes
) -> list[Ranking]:
    sets, side = [Features(rows, "query", device) for rows in queries], Features(gallery, "gallery", device)
    for features in sets:
        if features.dimension != side.dimension:
            raise UserError(
                f"query features have dimension {features.dimension}, gallery features {side.dimension}: "
                "take both from one model"
            )
    labels = [Labels.checked(*query_labels, len(features), "query") for features in sets]
    matches = TrueMatches(labels[0], Labels.checked(*gallery_labels, len(side), "gallery"))
    if options.expansion:
        *queries, gallery = expand(queries[0], gallery, **options.expansion, device=str(device))
        sets, side = (
            [Features(queries[0], "expanded query", device)],
            Features(gallery, "expanded gallery", device),
        )
    blocks = Gallery(side, options.metric).distances(sets, block_bytes)
    if options.rerank:
        blocks = _reranked(blocks, queries[0], gallery, options, device)
    counters = [RocCounter(len(matches.counts) * len(side)) for _ in sets] if options.roc else []
    return _rank_blocks(blocks, matches, len(sets), counters, best_of, best)


def _reranked(
    blocks: Iterator[tuple[int, Tensor]], query, gallery, options: RankingOptions, device: torch.device
):
    """The blocks with (1 − weight)·Jaccard + weight·original distance in place of the original."""
    rerank = dict(options.rerank)
    weight = rerank.pop("weight", 0.3)
    jaccard = JaccardDistances(query, gallery, **rerank, metric=options.metric, device=str(device))
    for start, block in blocks:
        rows = torch.from_numpy(jaccard.rows(start, start + len(block))).to(device)
        yield start, block.mul_(weight).add_(rows, alpha=1 - weight)


def _rank_blocks(
    blocks: Iterator[tuple[int, Tensor]],
    matches: TrueMatches,
    sets: int,
    counters: list[RocCounter],
    best_of: Sequence[int],
    best: int,
) -> list[Ranking]:
    count = len(matches.counts)
    ranks = QueryRanks(np.zeros(sets * count, dtype=np.int64), np.zeros(sets * count), np.zeros(sets * count))
    lists = [np.full((len(best_of), best), -1, dtype=np.int64) for _ in range(sets)]
    for start, block in blocks:
        for number in range(
            start // count, -(-(start + len(block)) // count)
        ):  # the sets that this block has queries of
            first, last = max(start, number * count), min(start + len(block), (number + 1) * count)
            rows, offset = block[first - start : last - start], first - number * count
            images = torch.from_numpy(matches.of(offset, offset + len(rows)))
            rows[
                tuple(
                    torch.from_numpy(index).to(rows.device)
                    for index in matches.left_out_of(offset, offset + len(rows))
                )
            ] = torch.inf
            places = places_of_matches(rows, images.to(rows.device)).cpu().numpy()
            for values, figures in zip(
                ranks, _figures_of(places, matches.counts[offset : offset + len(rows)]), strict=True
            ):
                values[first:last] = figures
            for line, query in enumerate(best_of):
                if offset <= query < offset + len(rows):
                    lists[number][line] = _first_of(rows[query - offset], best)
            if counters:
                _count_pairs(counters[number], rows, images)
    verification = [counter.compute() for counter in counters] or [{}] * sets
    split = [
        QueryRanks(*(values[number * count : (number + 1) * count] for values in ranks))
        for number in range(sets)
    ]
    return [Ranking(*parts) for parts in zip(split, verification, lists, strict=True)]


def _figures_of(places: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First place, average precision and inverse negative penalty of each query from the places of its
    matches, rows×M, unused ones 0."""
    unused = np.arange(places.shape[1]) >= counts[:, None]
    places = np.sort(np.where(unused, np.iinfo(places.dtype).max, places), axis=1)
    precisions = np.where(unused, 0, np.arange(1, places.shape[1] + 1) / places)
    found = np.maximum(counts, 1)
    any_match = counts > 0
    last = places[np.arange(len(places)), found - 1]
    return (
        np.where(any_match, places[:, 0], 0),
        precisions.sum(1) / found,
        np.where(any_match, counts / last, 0),
    )


def _first_of(distances: Tensor, count: int) -> np.ndarray:
    """Indices of the nearest gallery images in order, equal ones in gallery order, what is left out
    (infinite) not among them."""
    distances = distances.cpu().numpy()
    nearest = np.argsort(distances, kind="stable")[:count]
    nearest[np.isinf(distances[nearest])] = -1
    return np.concatenate([nearest, np.full(count - len(nearest), -1)])


def _count_pairs(counter: RocCounter, distances: Tensor, matches: Tensor) -> None:
    """Give the counter the distances of true pairs and of all others; what is left out is infinite already,
    and the block is used up."""
    rows, columns = (matches >= 0).nonzero(as_tuple=True)
    true = tuple(index.to(distances.device) for index in (rows, matches[rows, columns]))
    true_pairs = distances[true]
    distances[true] = torch.inf
    counter.update(true_pairs.cpu().numpy(), distances[distances.isfinite()].cpu().numpy())


def summarize(ranks: QueryRanks) -> dict[str, float | int]:
    """CMC, mAP and mINP of :func:`evaluate_retrieval` from those of each query; at least one query must
    count."""
    counts = ranks.first_places > 0
    cmc = {f"Rank-{rank}": 100 * float(np.mean(ranks.first_places[counts] <= rank)) for rank in CMC_RANKS}
    means = {"mAP": ranks.average_precisions, "mINP": ranks.inverse_penalties}
    means = {name: 100 * float(np.mean(values[counts])) for name, values in means.items()}
    return {**cmc, **means, "excluded_queries": int((~counts).sum())}
