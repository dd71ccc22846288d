"""What protection must change of a picture at least, so that options which do next to nothing are noticed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.errors import UserError
from ..desensitize.desensitizer import REFERENCE_HEIGHT
from ..desensitize.regions import at_size

FLOOR = 0.1
"""What an operator changes at least, as a share of what the paper's blur changes (mean levels)."""

PAPER_SIGMA = 12.0  # of the paper's blur, at REFERENCE_HEIGHT


def check_changed(
    raw: np.ndarray,
    protected: np.ndarray,
    *,
    conventional: bool,
    shown: np.ndarray | None = None,
    region: np.ndarray | None = None,
) -> None:
    """Refuse protection that leaves a picture as it is; one of a single colour shows nothing, and may stay.

    A conventional operator must also change the picture by :data:`FLOOR` of what the paper's blur would: the
    mean absolute difference of the levels counts. So the blur itself passes on whatever picture, and so does
    any operator on one that is as smooth as a blurred one.

    Args:
        raw: uint8 H×W×3.
        protected: likewise.
        conventional: whether an operator made it; a trained network is measured in its evaluation.
        shown: what the operator was given, where it is higher than ``raw``, which is its top.
        region: the part that the operator is to change, H×W bool: only that is looked at; None: everything.

    Raises:
        UserError: the reason, without the path.
    """
    inside = np.ones(raw.shape[:2], bool) if region is None else region
    before, after = raw[inside], protected[inside]
    if np.array_equal(before, after) and (before != before[:1]).any():
        raise UserError(
            "it would stay as it is: the operator's options are too weak for it, or it is too small for them"
        )
    if not conventional:
        return
    change = float(np.abs(np.subtract(before, after, dtype=np.int16)).mean())
    least = FLOOR * change_of_blur(raw, raw if shown is None else shown, region)
    if change < least:
        raise UserError(
            f"it would stay nearly as it is: its levels change by {change:.2g} on average, and {least:.2g}, "
            f"{FLOOR:.0%} of what the paper's blur changes, is the least; choose a stronger operator or "
            "stronger options"
        )


def change_of_blur(raw: np.ndarray, shown: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean absolute difference of levels that the paper's blur would make, rounded to 8 bits.

    Of a higher picture every second, third, … row and column is taken, so that it has at most
    ``REFERENCE_HEIGHT`` rows: the blur of a large picture is much work, and its mean is known from a part.

    Args:
        raw: uint8 H×W×3.
        shown: what is blurred, at least as high as ``raw``, which is its top.
        region: H×W bool: the part that counts; None: everything.
    """
    step = -(-shown.shape[0] // REFERENCE_HEIGHT)
    sampled = shown[::step, ::step].astype(np.float32)
    sigma = PAPER_SIGMA * len(sampled) / REFERENCE_HEIGHT
    blurred = np.rint(ndimage.gaussian_filter(sampled, sigma, axes=(0, 1), mode="mirror"))
    rows = len(range(0, raw.shape[0], step))
    change = np.abs(blurred - sampled)[:rows]
    if region is None:
        return float(change.mean())
    return float(change[at_size(region, change.shape[:2])].mean())
