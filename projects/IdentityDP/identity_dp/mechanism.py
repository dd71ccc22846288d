"""ε-IdentityDP: Laplace noise on the identity embedding, and back to length one.

An embedding e of length one becomes (e + Laplace(b)) / ‖e + Laplace(b)‖, with noise of its own for each of
the d numbers and b = Δ / ε. Any two embeddings differ by at most 2√d in the sum of absolute differences (two
opposite ones whose numbers all have one size), so Δ = 2√d holds for all images that there are. A smaller Δ,
as one that was measured on a data set, holds for nobody else: see :class:`Budget`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_privacy import UserError

from .sampling import laplace_steps

STEP_BITS = 24
GRID = 2.0**-STEP_BITS
"""The distance of two values that a number of an embedding may have before noise is added."""

INSIDE = 1 - 2.0**-40  # embeddings are shortened by this, so that rounding makes none longer than one
LEAST, MOST = 1e-6, 1e9  # of ε: beyond them noise is all there is, or none


def worst_sensitivity(dimension: int) -> float:
    """2√d: the largest L1 distance of two vectors of length one."""
    return 2 * math.sqrt(dimension)


@dataclass(frozen=True)
class Budget:
    """How much noise an embedding gets, and what that promises.

    Attributes:
        epsilon: ε, asked for, for pairs of embeddings at most ``sensitivity`` apart.
        sensitivity: Δ, L1.
        dimension: d.
    """

    epsilon: float
    sensitivity: float
    dimension: int

    @classmethod
    def of(cls, epsilon: float, sensitivity: float, dimension: int) -> Budget:
        """The budget that options ask for.

        Args:
            epsilon: above 0.
            sensitivity: above 0; 0: the worst case.
            dimension: of the embedding.

        Raises:
            UserError: for an ε or a Δ that is none.
        """
        if not LEAST <= epsilon <= MOST:  # NaN is not, either
            raise UserError(
                f"PRIVACY.DESENSITIZER.IDENTITY_DP_EPSILON is {epsilon}; a privacy budget is a number "
                f"above 0, from {LEAST:g} to {MOST:g}"
            )
        worst = worst_sensitivity(dimension)
        if sensitivity != 0 and not LEAST <= sensitivity <= worst:
            raise UserError(
                f"PRIVACY.DESENSITIZER.IDENTITY_DP_SENSITIVITY is {sensitivity}; it is 0 for the worst case, "
                f"2√{dimension} = {worst:.4g}, or a smaller number above 0"
            )
        return cls(epsilon, sensitivity or worst, dimension)

    @property
    def halves(self) -> int:
        """Twice the scale of the noise, in steps of the grid, rounded up: never less noise than asked for."""
        return math.ceil(2 * self.sensitivity / self.epsilon / GRID)

    @property
    def scale(self) -> float:
        """b, the scale of the noise that is drawn."""
        return self.halves / 2 * GRID

    @property
    def guaranteed(self) -> float:
        """The ε that holds for any two embeddings, whatever Δ was taken: 2√d / b."""
        return worst_sensitivity(self.dimension) / self.scale

    @property
    def source(self) -> str:
        """Where Δ comes from, in words."""
        if self.sensitivity == worst_sensitivity(self.dimension):
            return "worst case 2√d: holds for any two embeddings of length one"
        return f"given: no guarantee; for any two embeddings ε is {self.guaranteed:.4g}"


def to_grid(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings as whole numbers of steps: cut towards zero, so that none becomes longer than one.

    Args:
        embeddings: N×d, of length one but for rounding.

    Returns:
        int64 N×d; the sum of the squares of a row is at most 2^48.

    Raises:
        UserError: when there are values that are no numbers: the model is broken.
    """
    vectors = np.asarray(embeddings, np.float64)
    if not np.isfinite(vectors).all():
        raise UserError("identity_dp: the identity embedding of an image is not finite: the model is broken")
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.trunc(vectors / lengths * (INSIDE / GRID)).astype(np.int64)


def perturb(embeddings: np.ndarray, budget: Budget, sources: Sequence[random.Random]) -> np.ndarray:
    """The embeddings of new identities.

    Args:
        embeddings: N×d, of length one.
        budget: for each of them.
        sources: of the randomness, one each.

    Returns:
        float32 N×d, of length one.

    Raises:
        UserError: as :func:`to_grid`.
    """
    steps = to_grid(embeddings)
    noise = [laplace_steps(budget.dimension, budget.halves, source) for source in sources]
    noisy = (steps + np.array(noise, np.int64).reshape(steps.shape)).astype(np.float64)
    lengths = np.linalg.norm(noisy, axis=1, keepdims=True)
    upward = np.eye(1, budget.dimension)  # of no length at all, which has no direction
    return np.where(lengths > 0, noisy / np.maximum(lengths, 1), upward).astype(np.float32)


def largest_distance(embeddings: np.ndarray) -> float:
    """The largest L1 distance of two embeddings of a data set: what a Δ measured on it would be.

    Args:
        embeddings: N×d.
    """
    rows = np.asarray(embeddings, np.float64)
    return max((float(np.abs(rows - row).sum(axis=1).max()) for row in rows), default=0.0)
