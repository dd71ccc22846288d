"""A short video that is dropped into the page: the people that are found in its first frames.

libav opens files by their names. The video gets one that leads to memory alone, which ends with this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..core.errors import UserError
from ..video.hog import HogDetector
from ..video.stream import read_frames

LAST = 250  # frames: of a longer video the others are not looked at
STEP = 25  # every so many frames people are looked for
MOST = 12  # people
WHOLE = 3  # frames that are shown where nobody is found
NEW = 0.5  # share of its own area that a box may have in common with a surer one of the same frame


class Seen(NamedTuple):
    """A part of a frame.

    Attributes:
        name: in words: "person 2, frame 26".
        pixels: uint8 H×W×3.
    """

    name: str
    pixels: np.ndarray


def look_through(content: bytes, name: str) -> list[Seen]:
    """The people in the first frames of a video, as OpenCV's own weak detector finds them.

    Args:
        content: of the video's file.
        name: of the file, for messages.

    Returns:
        At most twelve; where nobody is found, a few whole frames.

    Raises:
        UserError: when it is no video that can be read, or this system has no files in memory.
    """
    found: list[Seen] = []
    frames: list[Seen] = []
    detector = HogDetector()
    with _in_memory(content) as path:
        try:
            for frame in islice(read_frames(path), 0, LAST, STEP):
                frames.append(Seen(f"frame {frame.number}", frame.pixels))
                boxes = _apart(detector(frame.number, frame.pixels)[::-1])  # the surest first
                for left, top, right, bottom in boxes[: MOST - len(found)]:
                    pixels = np.ascontiguousarray(frame.pixels[top:bottom, left:right])
                    found.append(Seen(f"person {len(found) + 1}, frame {frame.number}", pixels))
                if len(found) == MOST:
                    break
        except UserError as error:
            raise UserError(str(error).replace(path, name)) from None
    return found or frames[:WHOLE]


def _apart(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Boxes without those that lie for the most part on one before them."""
    kept: list[tuple[int, int, int, int]] = []
    for box in boxes:
        area = (box[2] - box[0]) * (box[3] - box[1])
        shared = [
            max(0, min(box[2], other[2]) - max(box[0], other[0]))
            * max(0, min(box[3], other[3]) - max(box[1], other[1]))
            for other in kept
        ]
        if all(each < NEW * area for each in shared):
            kept.append(box)
    return kept


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that lies in memory, on no disk."""
    if not hasattr(os, "memfd_create"):
        raise UserError(
            "this system has no files in memory, so a video would have to be written to the disk: drop in a "
            "picture of one of its frames"
        )
    descriptor = os.memfd_create("video", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
