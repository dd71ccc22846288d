"""Whether one model ranks better than another on the same queries: the paired bootstrap over people.

Queries of one person are alike, so people are drawn, with replacement, and with each all of its queries.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import UserError

BLOCK = 2**20  # numbers that are drawn at a time


def mean_over_people(
    gains: np.ndarray, people: np.ndarray, *, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """The mean of a figure of queries, and its 95 % interval over drawn people.

    Args:
        gains: Q numbers.
        people: Q identities.
        draws: how often as many people are drawn as there are.
        seed: of the draws.

    Returns:
        "difference", "low" and "high", in hundredths: the mean, and its 2.5 and 97.5 percentiles.
    """
    names, of_query = np.unique(people, return_inverse=True)
    gained = np.bincount(of_query, weights=gains)
    counts = np.bincount(of_query)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(1, BLOCK // len(names))
    for start in range(0, draws, rows):
        drawn = random.integers(len(names), size=(min(rows, draws - start), len(names)))
        means[start : start + rows] = gained[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return {"difference": 100 * float(gained.sum() / counts.sum()), "low": float(low), "high": float(high)}


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, people: np.ndarray, *, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """The difference of two rank-1 figures, and its 95 % interval over drawn people.

    Args:
        ours, theirs: Q places of the first true match, from 1; 0 where a query has none. The same queries in
            the same order.
        people: Q identities of the queries.
        draws, seed: as of :func:`mean_over_people`.

    Returns:
        "difference", "low" and "high", in points of rank-1: ours minus theirs, and the 2.5 and 97.5
        percentiles.

    Raises:
        UserError: when the two are not of the same queries.
    """
    if ours.shape != theirs.shape or not np.array_equal(ours > 0, theirs > 0):
        raise UserError(
            f"the two models were tested on different queries ({len(ours)} and {len(theirs)}): nothing to "
            "compare"
        )
    counts = ours > 0
    gains = (ours[counts] == 1).astype(np.int64) - (theirs[counts] == 1)
    return mean_over_people(gains, people[counts], draws=draws, seed=seed)


def compare_pairs(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], people: np.ndarray
) -> dict[str, dict[str, float]]:
    """:func:`paired_bootstrap` of every pair of domains that both models were tested on.

    Args:
        ours, theirs: pair, such as "OI-PI" → Q places of the first true match.
        people: Q identities of the queries.

    Raises:
        UserError: when the two were tested on different queries.
    """
    return {pair: paired_bootstrap(ours[pair], theirs[pair], people) for pair in ours if pair in theirs}
