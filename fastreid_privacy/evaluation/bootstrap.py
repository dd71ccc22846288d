"""Whether one model ranks better than another on the same queries: the paired bootstrap."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_atomically
from .ranking import QueryRanks

logger = logging.getLogger(__name__)


def paired_bootstrap(ours: np.ndarray, theirs: np.ndarray, *, draws: int = 10_000, seed: int = 0) -> dict[str, float]:
    """The difference of two rank-1 figures on the same queries, and its 95 % interval over resampled queries.

    Args:
        ours, theirs: Q places of the first true match, from 1; 0 where a query has none. The same queries in the same order.
        draws: how often the queries are drawn again, with replacement.
        seed: of the draws.

    Returns:
        "difference", "low" and "high", in points of rank-1: ours minus theirs, and the 2.5 and 97.5 percentiles.

    Raises:
        UserError: when the two are not of the same queries.
    """
    if ours.shape != theirs.shape or not np.array_equal(ours > 0, theirs > 0):
        raise UserError(f"the two models were tested on different queries ({len(ours)} and {len(theirs)}): nothing to compare")
    counts = ours > 0
    gain = (ours[counts] == 1).astype(np.int64) - (theirs[counts] == 1)
    # A query gains, loses or stays: the counts of a resample are multinomial, and no query need be drawn one by one.
    shares = [(gain == value).mean() for value in (1, -1, 0)]
    drawn = np.random.default_rng(seed).multinomial(len(gain), shares, size=draws)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / len(gain), [2.5, 97.5])
    return {"difference": 100 * float(gain.mean()), "low": float(low), "high": float(high)}


def ranks_path(results: Path) -> Path:
    """The file of query ranks beside a results.json."""
    return results.with_name(results.stem.replace("results", "query_ranks") + ".npz")


def save_query_ranks(ranks: dict[str, QueryRanks], results: Path) -> None:
    """Write the place of each query's first true match, by pair of domains, beside results.json."""
    places = {pair: rank.first_places for pair, rank in ranks.items()}
    write_atomically(ranks_path(results), lambda file: np.savez_compressed(file, **places))


def compare_with(results: Path, other: Path) -> dict[str, dict[str, float]]:
    """Paired bootstrap of every pair of domains that both evaluations have; {} where the other one kept no query ranks, or others."""
    if not ranks_path(other).is_file():
        return {}
    with np.load(ranks_path(results)) as ours, np.load(ranks_path(other)) as theirs:
        try:
            return {pair: paired_bootstrap(ours[pair], theirs[pair]) for pair in ours.files if pair in theirs.files}
        except UserError as error:  # results that the user names may be of another test set
            logger.warning("No bootstrap against %s: %s", other, error)
            return {}
