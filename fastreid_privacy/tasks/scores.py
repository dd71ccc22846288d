"""How good a mask, a pose or a classification is, in percent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR = 0.1  # of the person's height: a joint that is not farther off counts as found


def overlap(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Intersection over union, over the pixels of all images together.

    Args:
        found: N×H×W bool, where the person is said to be.
        true: the same, where they are.

    Returns:
        "IoU" of the person, and "mIoU", its mean with that of the background. What neither has is found.
    """
    shares = [
        float((one & other).sum() / union) if (union := (one | other).sum()) else 1.0
        for one, other in ((found, true), (~found, ~true))
    ]
    return {"IoU": 100 * shares[0], "mIoU": 100 * sum(shares) / 2}


def correct_keypoints(
    found: np.ndarray, true: np.ndarray, visible: np.ndarray, heights: Sequence[float] | np.ndarray
) -> dict[str, float]:
    """PCK: the share of visible joints that are found not farther off than a tenth of the person's height.

    Args:
        found: N×K×2, pixels.
        true: the same.
        visible: N×K bool: which of them count, one at least.
        heights: N, of the people, pixels.

    Returns:
        "PCK".
    """
    far = np.linalg.norm(found - true, axis=2) / np.asarray(heights)[:, None]
    return {"PCK": 100 * float((far[visible] <= NEAR).mean())}


def balanced_accuracy(found: np.ndarray, true: np.ndarray) -> float:
    """The mean, over the kinds that occur, of the share of each that is named as such.

    Args:
        found: N, numbers of kinds.
        true: the same.
    """
    return 100 * float(np.mean([(found[true == kind] == kind).mean() for kind in np.unique(true)]))
