"""Frames get their people: from a file of boxes, or from a detector, followed over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..collection.pipeline import side_by_side
from ..core.errors import UserError
from .boxes import Box, Detector, MotBoxes, whole_pixels
from .people import CARRIED, DETECTED, Person
from .stream import Frame
from .tracker import AHEAD, Edges, Tracker

Boxes = MotBoxes | Detector
KEEP_FRAMES, MARGIN = 25, 0.1  # of a detector, on the command line
MOST_AHEAD = 100  # frames that wait in memory at most


@dataclass(frozen=True)
class Placing:
    """What is made of the boxes that a file has or a detector finds.

    Attributes:
        keep_frames: for how many frames somebody whom a detector has found stays protected where it misses
            them; 0: each frame is taken by itself, without a tracker.
        detect_every: every how many frames the detector is asked; between them boxes are the tracker's.
        margin: by how much a box grows on each side, as a share of its width or height.

    Raises:
        UserError: for values that make no sense, or leave somebody unprotected between two detections.
    """

    keep_frames: int = 0
    detect_every: int = 1
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.keep_frames < 0:
            raise UserError(f"--keep-frames is {self.keep_frames}; it is 0 or more")
        if not 1 <= self.detect_every <= MOST_AHEAD:
            raise UserError(f"--detect-every is {self.detect_every}; it lies between 1 and {MOST_AHEAD}")
        if self.keep_frames < self.detect_every - 1:
            raise UserError(
                f"--detect-every {self.detect_every} needs --keep-frames {self.detect_every - 1} or more, or "
                "nobody would be protected between two detections"
            )
        if not 0 <= self.margin <= 1:
            raise UserError(f"--margin is {self.margin}; it lies between 0 and 1")

    @property
    def ahead(self) -> int:
        """How many frames a box waits for those that follow."""
        return max(AHEAD, self.detect_every) if self.keep_frames else 0

    def about(self, boxes: Boxes) -> dict:
        """What the boxes depend on, for the manifest: nothing where they are as they were given."""
        about: dict = {"margin": self.margin} if self.margin else {}
        if not isinstance(boxes, MotBoxes) and self.keep_frames:
            about |= {"keep_frames": self.keep_frames, "detect_every": self.detect_every}
        return {**boxes.about, **about}


def placed(frames: Generator[Frame], boxes: Boxes, placing: Placing, workers: int | None) -> Generator[Frame]:
    """Give each frame its people.

    Args:
        frames: of a video, in order.
        boxes: a file of boxes, or a detector.
        placing: what is made of them.
        workers: threads that detect; None: as many as there are cores.

    Yields:
        The frames in order, a few late where a detector's boxes are followed over time.
    """
    with closing(frames):
        if isinstance(boxes, MotBoxes):
            for frame in frames:
                frame.people = _grown(boxes.people(frame.number, frame.pixels), frame.pixels, placing.margin)
                yield frame
            return
        with closing(side_by_side(frames, _finder(boxes, placing), workers)) as found:
            yield from followed(found, placing)


def found_in(
    frames: Iterable[Frame], detector: Detector, placing: Placing
) -> Iterator[tuple[Frame, Sequence[Box] | None]]:
    """Frames with what a detector finds in each, one after the other; None where it is not asked.

    Args:
        frames: in order; the numbers of some may be missing, as of a live input.
        detector: finds people.
        placing: says how often.
    """
    due = 1
    for frame in frames:
        asked = frame.number >= due
        due = frame.number + placing.detect_every if asked else due
        yield frame, detector(frame.number, frame.pixels) if asked else None


def _finder(detector: Detector, placing: Placing) -> Callable[[Frame], tuple[Frame, Sequence[Box] | None]]:
    """What gives a frame and the boxes that are found in it; None where the detector is not asked."""

    def find(frame: Frame) -> tuple[Frame, Sequence[Box] | None]:
        asked = (frame.number - 1) % placing.detect_every == 0
        return frame, detector(frame.number, frame.pixels) if asked else None

    return find


def followed(found: Iterable[tuple[Frame, Sequence[Box] | None]], placing: Placing) -> Generator[Frame]:
    """Frames with the boxes of a tracker, or each by itself where there is to be none.

    Args:
        found: frames, numbered from 1, with what the detector found in each. Numbers may be missing: people
            go on meanwhile.
        placing: what is made of it.
    """
    if not placing.keep_frames:
        for frame, boxes in found:
            people = [Person(box, how=DETECTED) for box in boxes or ()]
            frame.people = _grown(people, frame.pixels, placing.margin)
            yield frame
        return
    tracker, waiting = Tracker(placing.keep_frames, placing.ahead), deque[Frame]()
    for frame, boxes in found:
        waiting.append(frame)
        while tracker.now < frame.number:
            tracker.see(boxes if tracker.now + 1 == frame.number else None)
            while waiting[0].number <= tracker.now - placing.ahead:
                yield _with_boxes(waiting.popleft(), tracker, placing.margin)
    while waiting:
        yield _with_boxes(waiting.popleft(), tracker, placing.margin)


def _with_boxes(frame: Frame, tracker: Tracker, margin: float) -> Frame:
    frame.people = []
    for identity, edges, place in tracker.boxes(frame.number):
        if box := _inside(edges, frame.pixels, margin):
            frame.people.append(Person(box, identity, CARRIED if place is None else DETECTED))
    return frame


def _grown(people: Sequence[Person], pixels: np.ndarray, margin: float) -> list[Person]:
    grown = ((person, _inside(person.box, pixels, margin)) for person in people)
    return [person._replace(box=box) for person, box in grown if box]


def _inside(edges: Edges, pixels: np.ndarray, margin: float) -> Box | None:
    """The pixels of a box that has grown by a margin, inside the picture."""
    left, top, right, bottom = edges
    across, down = margin * (right - left), margin * (bottom - top)
    height, width = pixels.shape[:2]
    return whole_pixels(left - across, top - down, right + across, bottom + down, width, height)
