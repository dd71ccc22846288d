"""What an annotation of a COCO file marks: the outline or the rectangle of somebody, or of a part of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from fastreid_privacy.core.images import LARGEST

from .parts import Box, box_of_mask, filled

FAR = 1e6  # pixels; nothing that belongs to an image reaches as far
Size = tuple[int, int]  # height, width


class Shape(NamedTuple):
    """An annotation: its rectangle, which may reach out of the image, and its outline if it has one."""

    box: Box
    mask: np.ndarray | None


def read_shape(annotation: Mapping[str, Any], size: Size) -> Shape:
    """An annotation, of which something is in the image.

    Raises:
        ValueError: saying what is wrong with it.
    """
    shape = _outline_or_box(annotation, size)
    if not (filled(shape.box, size) if shape.mask is None else shape.mask).any():
        raise ValueError(f"it lies outside of the image, which is {size[0]}×{size[1]} (height × width)")
    return shape


def _outline_or_box(annotation: Mapping[str, Any], size: Size) -> Shape:
    """The ``segmentation`` of an annotation, else its ``bbox``.

    Raises:
        ValueError: saying what is wrong with it.
    """
    given = annotation.get("segmentation")
    if isinstance(given, Mapping):
        return _of_runs(given, size)
    if given:
        return _of_polygons(given, size)
    box = numbers_of(annotation.get("bbox"))
    if box is None or len(box) != 4 or min(box[2:]) <= 0:
        raise ValueError(
            "a bbox has four numbers, x, y, width and height, none beyond a million, and sides above 0"
        )
    left, top, width, height = box
    return Shape((left, top, left + width, top + height), None)


def _of_polygons(polygons: Any, size: Size) -> Shape:
    """The inside of polygons x, y, x, y, …; pixels that a side touches are inside."""
    mask, corners = np.zeros(size, np.uint8), []
    if not isinstance(polygons, list):
        raise ValueError("a segmentation is a list of polygons, or runs with counts and size")
    for polygon in polygons:
        numbers = numbers_of(polygon)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            raise ValueError("a polygon has at least three pairs of numbers, none beyond a million")
        points = np.array(numbers)
        corners.append(np.rint(points.reshape(-1, 2) - 0.5).astype(np.int32))
        cv2.fillPoly(mask, corners[-1:], 1)
    (left, top), (right, bottom) = (at(np.concatenate(corners), axis=0).tolist() for at in (np.min, np.max))
    return Shape((left, top, right + 1, bottom + 1), mask.astype(bool))


def _of_runs(runs: Mapping[str, Any], size: Size) -> Shape:
    """A mask from the lengths of its runs, outside first, down one column after the other."""
    counts, told = runs.get("counts"), numbers_of(runs.get("size"))
    if isinstance(counts, str):
        raise ValueError("its runs are compressed, which is not read: save lists of numbers, or polygons")
    lengths = numbers_of(counts, LARGEST)
    if told is None or lengths is None or len(told) != 2:
        raise ValueError("runs have counts, a list of numbers, and size, the height and the width")
    if tuple(told) != size:
        raise ValueError(f"its runs are of an image of {runs['size']}, and this one is {list(size)}")
    if min(lengths, default=-1) < 0 or any(each % 1 for each in lengths) or sum(lengths) != size[0] * size[1]:
        raise ValueError("its runs do not fill the image")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, np.array(lengths, np.int64))
    mask = inside.reshape(size[1], size[0]).T.copy()
    return Shape(box_of_mask(mask) if mask.any() else (0, 0, 0, 0), mask)


def numbers_of(values: Any, most: float = FAR) -> list[float] | None:
    """A list of numbers as floats; None where it is none, or one is not finite or beyond ``most``."""
    if not isinstance(values, list | tuple):
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return [float(value) for value in values] if all(abs(value) <= most for value in values) else None
