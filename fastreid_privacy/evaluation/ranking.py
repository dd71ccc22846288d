"""Ranking one gallery for any number of query sets, exact, without a full distance matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.errors import UserError
from .distances import Features, Gallery, choose_device
from .expansion import expand
from .protocol import Labels, TrueMatches
from .query_ranks import QueryRanks, QuerySet, Ranking
from .ranking_options import RankingOptions
from .rerank import JaccardDistances

__all__ = ["QueryRanks", "Ranking", "evaluate_retrieval", "rank"]


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
) -> dict[str, float | int | None]:
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
        also "TPR@FPR=1e-04" and so on, percent; None where every pair is a true one.

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
    chosen = choose_device(device)
    # Expansion and re-ranking look at queries and gallery as one set of images: nothing can be shared then.
    apart = options.expansion or options.rerank
    rankings = []
    for rows in [[one] for one in queries] if apart else [queries]:
        sets = [Features(one, "query", chosen) for one in rows]
        side = Features(gallery, "gallery", chosen)
        matches = _true_matches(sets, side, query_labels, gallery_labels)
        gathered = [QuerySet(matches, len(side), best_of, best, options.roc) for _ in sets]
        blocks = _distances(sets, side, options, block_bytes)
        for number, start, distances in _of_each_set(blocks, len(matches.counts)):
            gathered[number].add(start, distances)
        rankings += [one.ranking() for one in gathered]
    return rankings


def _true_matches(
    queries: Sequence[Features],
    gallery: Features,
    query_labels: tuple[ArrayLike, ArrayLike],
    gallery_labels: tuple[ArrayLike, ArrayLike],
) -> TrueMatches:
    """The true matches of the queries, the same in every set, after checking that both sides fit."""
    for features in queries:
        if features.dimension != gallery.dimension:
            raise UserError(
                f"query features have dimension {features.dimension}, gallery features {gallery.dimension}: "
                "take both from one model"
            )
    labels = [Labels.checked(query_labels, len(features), "query") for features in queries]
    return TrueMatches(labels[0], Labels.checked(gallery_labels, len(gallery), "gallery"))


def _distances(
    queries: Sequence[Features], gallery: Features, options: RankingOptions, block_bytes: int | None
) -> Iterator[tuple[int, Tensor]]:
    """Blocks of distances as :meth:`Gallery.distances` gives them.

    They are of expanded features, or re-ranked, where that is asked for: then of one query set.
    """
    rows, others, device = queries[0].rows, gallery.rows, gallery.device
    if options.expansion:
        rows, others = expand(rows, others, **options.expansion, device=str(device))
        queries = [Features(rows, "expanded query", device)]
        gallery = Features(others, "expanded gallery", device)
    blocks = Gallery(gallery, options.metric).distances(queries, block_bytes)
    return _reranked(blocks, rows, others, options, device) if options.rerank else blocks


def _reranked(
    blocks: Iterator[tuple[int, Tensor]],
    query: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    options: RankingOptions,
    device: torch.device,
) -> Iterator[tuple[int, Tensor]]:
    """The blocks with (1 − weight)·Jaccard + weight·original distance in place of the original."""
    rerank = dict(options.rerank or {})
    weight = rerank.pop("weight", 0.3)
    jaccard = JaccardDistances(query, gallery, **rerank, metric=options.metric, device=str(device))
    for start, block in blocks:
        rows = torch.from_numpy(jaccard.rows(start, start + len(block))).to(device)
        yield start, block.mul_(weight).add_(rows, alpha=1 - weight)


def _of_each_set(blocks: Iterator[tuple[int, Tensor]], count: int) -> Iterator[tuple[int, int, Tensor]]:
    """Cut the blocks of several query sets, one behind the other, where a set ends.

    Args:
        blocks: as :meth:`Gallery.distances` gives them.
        count: queries of each set.

    Yields:
        The number of a set, the index in it of the first query, and the distances of that query and of those
        behind it.
    """
    for start, block in blocks:
        while len(block):
            number, first = divmod(start, count)
            rows = block[: count - first]
            yield number, first, rows
            start, block = start + len(rows), block[len(rows) :]
