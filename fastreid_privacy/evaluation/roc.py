"""Verification (fastreid's ``TEST.ROC``): the true pairs accepted where hardly any false pair may be."""

from __future__ import annotations

import numpy as np

ONE_IN = (10_000, 1_000, 100)  # false pairs of which one is accepted: FPR 1e-4, 1e-3, 1e-2


class RocCounter:
    """TPR at small FPRs over all pairs of a query and a gallery image, exact, from blocks of their distances.

    A pair is accepted where its distance is not above a threshold, which is the highest one at which at most
    the given share of false pairs is accepted. Pairs at an equal distance are accepted together, or not at
    all: where the share would be exceeded by false pairs at one distance, no true pair at this distance is
    accepted either. With fewer false pairs than the share counts in (10,000 for 1e-4), none is accepted.

    All distances of true pairs are kept, and of false pairs the smallest 1 %. (fastreid 1.4.0 takes the label
    of false pairs for that of true ones.)

    Args:
        false_pairs_at_most: an upper bound on their number, for instance Q·G; the closer, the less is kept.

    Example:
        >>> counter = RocCounter(200)
        >>> counter.update(np.array([0.1, 0.3, 0.9]), np.linspace(0.2, 1, 200))
        >>> round(counter.compute()["TPR@FPR=1e-04"], 1)
        33.3
    """

    def __init__(self, false_pairs_at_most: int):
        self._at_most, self._kept = false_pairs_at_most, false_pairs_at_most // min(ONE_IN) + 1
        self._true: list[np.ndarray] = []
        self._nearest: list[np.ndarray] = []  # false pairs, in blocks
        self._held, self._farthest = 0, np.inf  # how many these are, and above what none is needed
        self._false_pairs = 0

    def update(self, true: np.ndarray, false: np.ndarray) -> None:
        """Add pairs.

        Args:
            true: distances of pairs of one identity, any number, not NaN. Pairs that do not count are left
                out by the caller.
            false: distances of pairs of different identities.

        Raises:
            ValueError: when there are more false pairs than was said.
        """
        self._false_pairs += len(false)
        if self._false_pairs > self._at_most:
            raise ValueError(f"{self._false_pairs} false pairs, where at most {self._at_most} were announced")
        self._true.append(np.array(true))
        self._nearest.append(false[false < self._farthest])
        self._held += len(self._nearest[-1])
        if self._held > 2 * self._kept:
            nearest = np.concatenate(self._nearest)
            nearest.partition(self._kept - 1)
            self._nearest, self._held = [nearest[: self._kept].copy()], self._kept
            self._farthest = nearest[self._kept - 1]

    def compute(self) -> dict[str, float | None]:
        """The figures over all pairs so far.

        Returns:
            "TPR@FPR=1e-04", "TPR@FPR=1e-03" and "TPR@FPR=1e-02" in percent (0–100); None where there were no
            true or no false pairs.
        """
        true = np.concatenate(self._true or [np.empty(0)])
        nearest = np.sort(np.concatenate(self._nearest or [np.empty(0)]))
        figures: dict[str, float | None] = {}
        for one_in in ONE_IN:
            accepted = None
            if len(true) and self._false_pairs:
                # Of the first false pair that must not be accepted; no pair at its distance is, either.
                refused = nearest[self._false_pairs // one_in]
                accepted = 100 * float(np.mean(true < refused))
            figures[f"TPR@FPR={1 / one_in:.0e}"] = accepted
        return figures
