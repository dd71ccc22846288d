"""The parts of a person, as fractions of the rectangle that the person fills."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

PARTS = {
    "full_body": (0.0, 0.0, 1.0, 1.0),
    "upper_body": (0.0, 0.0, 0.6, 1.0),
    "head": (0.0, 0.0, 0.26, 1.0),
    "face": (0.0, 0.2, 0.26, 0.6),
}
"""(top, left, height, width), fractions of the sides. Of a crop the rectangle is the whole image."""
BOXES = ("face",)  # parts that are a rectangle whatever the person's outline

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels from 0; right and bottom are not inside."""


def part_of_crop(part: str, size: tuple[int, int]) -> np.ndarray:
    """The part of somebody who fills the image: H×W bool; ``size`` is (height, width)."""
    return part_of_box(part, (0, 0, size[1], size[0]), size)


def part_of_box(part: str, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The part of somebody who fills a rectangle.

    Args:
        part: of :data:`PARTS`.
        box: of the person; it may reach out of the image, and the part is taken of all of it.
        size: (height, width) of the image.

    Returns:
        H×W bool: every pixel of the image that the part touches; nothing where it lies outside.
    """
    left, top, right, bottom = box
    down, across, high, wide = PARTS[part]
    height, width = bottom - top, right - left
    left, top = left + across * width, top + down * height
    return filled((left, top, left + wide * width, top + high * height), size)


def part_of_mask(part: str, mask: np.ndarray, box: Box | None = None) -> np.ndarray:
    """The part of somebody whose outline is known: what of it lies in the part of its rectangle.

    Args:
        part: of :data:`PARTS`; one of :data:`BOXES` is that part of the rectangle itself.
        mask: H×W bool, where the person is.
        box: the rectangle, which may reach out of the image; None: that of the mask.
    """
    if not mask.any():
        return mask
    found = part_of_box(part, box or box_of_mask(mask), mask.shape)
    return found if part in BOXES else found & mask


def box_of_mask(mask: np.ndarray) -> Box:
    """The rectangle of what is inside a mask, H×W bool, in which something is."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def filled(box: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """H×W bool: the pixels that a rectangle (left, top, right, bottom) touches."""
    left, top, right, bottom = box
    mask = np.zeros(size, bool)
    rows, columns = (
        slice(max(0, math.floor(first + 1e-6)), max(0, math.ceil(last - 1e-6)))
        for first, last in ((top, bottom), (left, right))
    )
    mask[rows, columns] = True
    return mask
