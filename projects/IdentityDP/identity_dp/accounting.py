"""What ε the images of one person have together.

Two answers, which both hold. The plain one adds: k images have k·ε. The tighter one allows a small failure
probability δ, and counts by Rényi divergences: of order α, those of independent noises add.

The noise of one number with scale b, moved by s·b, has the divergence (Mironov, 2017, proposition 6)

    D_α(s) = 1/(α−1) · log( α/(2α−1) · e^((α−1)s) + (α−1)/(2α−1) · e^(−αs) )

and an embedding has the sum of its d numbers. Which two vectors of length one are worst? Two opposite ones
whose numbers all have one size, 1/√d: D_α is a concave function of s² (its slope in s is zero at s = 0 and
concave from there on, so slope/s falls), the squares of the moves of two vectors sum up to at most 4 / b²,
and a sum of concave functions of shares is largest where the shares are equal. So each image costs
d·D_α(2 / (b√d)), which some pair of embeddings does have; nothing smaller holds for all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .mechanism import Budget

DELTA = 1e-6
"""δ: how likely the tighter ε may fail."""

ORDERS = np.concatenate([1 + np.geomspace(1e-6, 1, 400), np.geomspace(2, 1e5, 600)])
"""α, over which the best is looked for; every one of them gives an ε that holds."""


def laplace_divergence(moved: float, orders: np.ndarray = ORDERS) -> np.ndarray:
    """D_α of Laplace noise and the same noise moved.

    Args:
        moved: s, in scales of the noise.
        orders: α, above 1.

    Returns:
        One value for each order.
    """
    first = np.log(orders / (2 * orders - 1)) + (orders - 1) * moved
    second = np.log((orders - 1) / (2 * orders - 1)) - orders * moved
    return np.maximum(np.logaddexp(first, second) / (orders - 1), 0)


def epsilon_of(divergences: np.ndarray, delta: float = DELTA, orders: np.ndarray = ORDERS) -> float:
    """The ε that belongs to Rényi divergences (Balle et al., 2020, theorem 21).

    Args:
        divergences: one for each order.
        delta: δ.
        orders: α.
    """
    slack = np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(np.min(divergences + slack)))


def composed(budget: Budget, images: int, delta: float = DELTA) -> dict[str, float]:
    """The ε of several images of one person.

    Args:
        budget: of each.
        images: how many.
        delta: δ of the tighter one.

    Returns:
        "added": for δ = 0; "tighter": for δ, never more than "added".
    """
    added = images * budget.guaranteed
    moved = 2 / math.sqrt(budget.dimension) / budget.scale
    tighter = epsilon_of(images * budget.dimension * laplace_divergence(moved), delta)
    return {"added": added, "tighter": min(added, tighter)}


def account_of(budget: Budget) -> Callable[[Sequence[int | None]], dict[str, Any]]:
    """What ``anonymize`` prints and keeps at its end.

    Args:
        budget: of each image.

    Returns:
        A function of the identity of each image that was written, None where nobody knows it: such images
        all count as one person's, and as everybody's.
    """

    def account(people: Sequence[int | None]) -> dict[str, Any]:
        known = Counter(person for person in people if person is not None)
        unknown = len(people) - known.total()
        most = unknown + max(known.values(), default=0)
        together = composed(budget, most)
        return {
            "images": len(people),
            "images_of_unknown_people": unknown,
            "most_images_of_one_person": most,
            "epsilon_of_one_person": rounded_up(together["added"]),
            "delta": DELTA,
            "epsilon_of_one_person_at_delta": rounded_up(together["tighter"]),
            "covers": "the identity embedding, not the picture: the attribute code has no budget",
            "counts": "the files of this folder as they are now: further runs, and versions that --renew "
            "replaced, add to it",
        }

    return account


def about_budget(budget: Budget) -> dict[str, Any]:
    """What results and manifests say of a budget."""
    return {
        "epsilon": budget.epsilon,
        "sensitivity": budget.sensitivity,
        "sensitivity_source": budget.source,
        "dimension": budget.dimension,
        "laplace_scale": budget.scale,
        "epsilon_for_any_two_embeddings": rounded_up(budget.guaranteed),
    }


def rounded_up(epsilon: float) -> float:
    """An ε with six digits, never smaller than it is.

    Example:
        >>> rounded_up(14.9999991), rounded_up(1234567.0), rounded_up(0.0)
        (15.0, 1234570.0, 0.0)
    """
    if epsilon <= 0:
        return 0.0
    digits = 5 - math.floor(math.log10(epsilon))
    return math.ceil(epsilon * 10.0**digits) / 10.0**digits
