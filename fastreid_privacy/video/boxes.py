"""Where people are in the frames of a video: rectangles in pixels, from a MOT file or a manifest."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from ..core.pictures import read_bytes

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels from 0; right and bottom are not inside."""


def whole_pixels(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Box | None:
    """The pixels that a rectangle touches inside a frame of ``width`` × ``height``; None: it lies outside."""
    box = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )
    return box if box[0] < box[2] and box[1] < box[3] else None


class MotBoxes:
    """Boxes of a MOT file.

    A line for each: ``frame, identity, left, top, width, height`` and whatever follows; frames count from 1.
    Every line counts, whatever its confidence or class: a box too many hides a stranger's car, one too few
    shows a person. Tools differ in whether the first pixel is 0 or 1, so a box reaches one pixel further to
    the left and to the top.

    Args:
        path: of the file.

    Attributes:
        about: for the manifest: which boxes were protected.

    Raises:
        UserError: for a file that cannot be read or holds no box, and for a line that is none.
    """

    def __init__(self, path: str | Path):
        try:
            content = read_bytes(path)
        except UserError as error:
            raise UserError(f"--boxes {path}: {error}") from None
        self.path = path
        self.of_frame: dict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
        for number, text in enumerate(content.decode("utf-8-sig", "replace").splitlines(), start=1):
            if text.strip():
                frame, box = self._line(number, text)
                self.of_frame[frame].append(box)
        if not self.of_frame:
            raise UserError(f"--boxes {path} holds no box")
        self.about = {"boxes": "mot", "boxes_sha256": hashlib.sha256(content).hexdigest()}

    def _line(self, number: int, text: str) -> tuple[int, tuple[float, float, float, float]]:
        """The frame and the box, left, top, right, bottom, of a line."""
        words = text.replace(",", " ").split()
        try:
            frame, _, left, top, width, height = (float(word) for word in words[:6])
            finite = all(map(math.isfinite, (frame, left + width, top + height)))
            if not finite or frame < 1 or frame % 1 or width <= 0 or height <= 0:
                raise ValueError
        except ValueError:
            raise UserError(
                f"line {number} of --boxes {self.path} is {text.strip()[:80]!r}; a MOT line is frame, "
                "identity, left, top, width, height in pixels, with frames from 1 and sides above 0"
            ) from None
        return int(frame), (left - 1, top - 1, left + width, top + height)

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """The boxes of a frame, as whole pixels inside it, in the file's order."""
        height, width = pixels.shape[:2]
        boxes = (whole_pixels(*box, width, height) for box in self.of_frame.get(number, ()))
        return [box for box in boxes if box]

    def check(self, frames: int, video: Path) -> None:
        """Refuse boxes of frames that the video does not have: the file belongs to another one.

        Args:
            frames: how many the video has.
            video: for the message.

        Raises:
            UserError: naming such a frame.
        """
        beyond = sorted(number for number in self.of_frame if number > frames)
        if beyond:
            more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
            raise UserError(
                f"--boxes {self.path} has boxes of frame {beyond[0]}{more}, but {video} has {frames:,} "
                "frames; do they belong together?"
            )


def manifest_rows(numbered: Iterable[tuple[int, Sequence[Box]]]) -> list[list[int]]:
    """Boxes as a manifest keeps them: [frame, left, top, width, height] each."""
    return [
        [number, left, top, right - left, bottom - top]
        for number, boxes in numbered
        for left, top, right, bottom in boxes
    ]


class ManifestBoxes:
    """The boxes of a protected video, from its line of the manifest.

    Args:
        entry: with ``boxes``, ``width``, ``height`` and ``frames``.

    Raises:
        UserError: when they are no boxes inside its frames.
    """

    def __init__(self, entry: dict):
        self.of_frame: dict[int, list[Box]] = defaultdict(list)
        try:
            if type(entry["frames"]) is not int:
                raise ValueError
            for number, left, top, width, height in entry["boxes"]:
                if any(type(value) is not int for value in (number, left, top, width, height)):
                    raise ValueError
                if not 1 <= number <= entry["frames"] or min(width, height) < 1 or min(left, top) < 0:
                    raise ValueError
                if left + width > entry["width"] or top + height > entry["height"]:
                    raise ValueError
                self.of_frame[number].append((left, top, left + width, top + height))
        except (ValueError, TypeError, KeyError):
            raise UserError(f"the manifest's boxes of {entry['path']} are damaged") from None

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """The boxes of a frame, in the order in which they were put into it."""
        return self.of_frame.get(number, [])
