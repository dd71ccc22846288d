"""Whether one model ranks better than another on the same queries: the paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import UserError


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, *, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """The difference of two rank-1 figures, and its 95 % interval over resampled queries.

    Args:
        ours, theirs: Q places of the first true match, from 1; 0 where a query has none. The same queries in
            the same order.
        draws: how often the queries are drawn again, with replacement.
        seed: of the draws.

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
    gain = (ours[counts] == 1).astype(np.int64) - (theirs[counts] == 1)
    # A query gains, loses or stays: the counts of a resample are multinomial, no query is drawn by itself.
    shares = [(gain == value).mean() for value in (1, -1, 0)]
    drawn = np.random.default_rng(seed).multinomial(len(gain), shares, size=draws)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / len(gain), [2.5, 97.5])
    return {"difference": 100 * float(gain.mean()), "low": float(low), "high": float(high)}


def compare_pairs(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """:func:`paired_bootstrap` of every pair of domains that both models were tested on.

    Args:
        ours, theirs: pair, such as "OI-PI" → Q places of the first true match.

    Raises:
        UserError: when the two were tested on different queries.
    """
    return {pair: paired_bootstrap(ours[pair], theirs[pair]) for pair in ours if pair in theirs}
