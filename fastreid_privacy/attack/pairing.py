"""Whether raw and protected files of one name belong together, as far as rough shapes and colours tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .subjects import Subject, Subjects
from .views import View, batches

LOOKED_AT = 250  # neighbouring names of the known and of the measured images each
GRID = (8, 4)  # places whose colours are compared
ALIKE, MARGIN = 0.9, 0.3  # correlation with another's raw image, and how much less it is with its own


class Pairing(NamedTuple):
    """How protected files look beside the raw ones of all names that were looked at.

    Attributes:
        looked_at: protected files.
        like_another: those that are like the raw image of another name, and not like their own.
        own, other: mean correlation of these with their own raw image, and with the other.
        example: (a protected file's name, the name whose raw image it is like); ("", "") of none.
    """

    looked_at: int
    like_another: int
    own: float
    other: float
    example: tuple[str, str]


def compare_pairs(protected: View, raw: View, subjects: Subjects) -> Pairing:
    """Correlate rough pictures of protected files with those of raw ones.

    A method that leaves nothing to compare, as a mask does, gives no file that is like another's.
    """
    known = sorted(subjects.known, key=lambda each: each.name)[:LOOKED_AT]
    some = list({each.name: each for each in (*known, *subjects.measured[:LOOKED_AT])}.values())
    alike = _rough(protected, some) @ _rough(raw, some).T
    own = alike.diagonal().copy()
    np.fill_diagonal(alike, -1)
    nearest = alike.argmax(1)
    other = alike[np.arange(len(some)), nearest]
    wrong = np.flatnonzero((other >= ALIKE) & (own <= other - MARGIN))
    if not len(wrong):
        return Pairing(len(some), 0, float(own.mean()), float(other.mean()), ("", ""))
    first = wrong[0]
    example = some[first].name, some[nearest[first]].name
    return Pairing(len(some), len(wrong), float(own[wrong].mean()), float(other[wrong].mean()), example)


def rough(images: Tensor) -> np.ndarray:
    """Few pixels of each image: products of two rows are their correlation, whatever the images' sizes.

    Args:
        images: N×3×H×W, RGB, 0–255.

    Returns:
        N×96 float64, at mean 0 and length 1; 0 of an image of one colour, which is like no other.
    """
    pixels = adaptive_avg_pool2d(images, GRID).flatten(1).double().numpy()
    centred = pixels - pixels.mean(1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3)


def _rough(view: View, subjects: Sequence[Subject]) -> np.ndarray:
    return np.concatenate([rough(view(some)) for some in batches(subjects)])
