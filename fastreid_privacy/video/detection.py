"""How many of the people in the boxes of a video a detector finds, before and after protection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..collection.pipeline import side_by_side
from ..core.errors import UserError
from .boxes import ManifestBoxes
from .people import Box
from .stream import Frame, read_frames

OVERLAP = 0.5  # intersection over union from which a found box is that of a person


def count_found(people: Sequence[Box], found: Sequence[Box]) -> int:
    """How many boxes of people a detector has found.

    The surest box chooses first, among the people whom none has chosen, the one whom it overlaps most.

    Args:
        people: where they are.
        found: by the detector, the least sure one first.
    """
    left = list(people)
    for box in reversed(found):
        overlaps = [overlap(person, box) for person in left]
        if overlaps and max(overlaps) >= OVERLAP:
            left.pop(int(np.argmax(overlaps)))
    return len(people) - len(left)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0 to 1."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    inside = max(0, across) * max(0, down)
    areas = ((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return inside / (sum(areas) - inside)


def measure_detection(
    raw: str | Path,
    protected: str | Path,
    entry: dict,
    detector: Callable[[int, np.ndarray], list[Box]],
    workers: int | None = None,
) -> dict[str, int]:
    """Look for people in both videos, and count how many of the protected boxes are found.

    Args:
        raw: the raw video.
        protected: the protected one.
        entry: of the protected video in its manifest; its boxes are the people.
        detector: a frame's number and pixels to boxes, the least sure one first.
        workers: threads; None: as many as there are cores.

    Returns:
        "people", and how many of them are found in "raw" and in "protected".

    Raises:
        UserError: when one of the videos cannot be read, or is another one than when it was protected.
    """
    boxes = ManifestBoxes(entry)

    def measure(pair: tuple[Frame | None, Frame | None]) -> tuple[int, int, int]:
        before, after = pair
        if before is None or after is None or before.pixels.shape != after.pixels.shape:
            raise UserError(
                f"{raw} is another video than that of {protected}: their frames differ in number or size"
            )
        people = boxes(before.number, before.pixels)
        if not people:
            return 0, 0, 0
        found = [count_found(people, detector(each.number, each.pixels)) for each in (before, after)]
        return len(people), found[0], found[1]

    pairs = zip_longest(read_frames(raw), read_frames(protected))
    total = np.sum(list(side_by_side(pairs, measure, workers)), axis=0).tolist()
    return dict(zip(("people", "raw", "protected"), total, strict=True))
