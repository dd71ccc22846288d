"""Boxes of a detector followed over time: smoothed, carried over frames that it missed, one number for each.

Each edge of a box is followed by a Kalman filter that takes the speed to be nearly constant; the edges of one
box share its variances, which count in units of the detector's own error, so that no size is needed. Found
boxes go to tracks greedily: the pair of a predicted and a found box with the largest intersection over union
first. A box is given a fixed number of frames late, smoothed by those that follow (Rauch, Tung and Striebel):
who is found late is protected before, and a gap that ends within these frames is bridged.

Nobody is taken away. A box always covers what the detector found. Where it found nothing, and does not find
the person again within the frames ahead, the box covers both the last one found and the predicted one: who
has stopped and who has gone on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .detection import overlap
from .people import Box

AHEAD = 5  # frames that a box waits for those that follow
LEAST_OVERLAP = 0.2  # intersection over union from which a found box may be that of a track
ACCELERATION = 1 / 8  # standard deviation of the change of speed in a frame; the detector's error is 1
FIRST_SPEED = 1.25  # standard deviation of the speed of somebody who is new, in a frame
STEP = np.array([[1.0, 1.0], [0.0, 1.0]])  # place and speed of an edge, one frame later
DRIFT = ACCELERATION**2 * np.array([[0.25, 0.5], [0.5, 1.0]])  # what a frame adds to their covariance
Edges = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""


class Tracked(NamedTuple):
    """A box of a track.

    Attributes:
        identity: of the track, from 1 in the order in which they were found.
        edges: in pixels; they may reach out of the picture.
        place: of the found box among those of its frame; None: it was carried.
    """

    identity: int
    edges: Edges
    place: int | None


class _Past(NamedTuple):
    """What a track was after a frame: place and speed of each edge, 4×2, those predicted from it for the next
    frame, and the gain with which the next frame corrects them, 2×2."""

    state: np.ndarray
    predicted: np.ndarray
    gain: np.ndarray


class _Track:
    """Somebody who is followed.

    Args:
        identity: number.
        frame: in which the box was found.
        box: found.
        place: of the box among those of its frame.
        ahead: frames that it has to remember.
    """

    def __init__(self, identity: int, frame: int, box: Box, place: int, ahead: int):
        self.identity, self.first, self.last, self.ahead = identity, frame, frame, ahead
        self.state = np.column_stack([box, np.zeros(4)])
        self.covariance = np.diag([1.0, FIRST_SPEED**2])
        self.found = {frame: (box, place)}
        self.past: deque[_Past] = deque(maxlen=ahead)

    def predict(self) -> None:
        """Go on to the next frame."""
        before, state = self.covariance, self.state
        self.covariance = STEP @ before @ STEP.T + DRIFT
        self.state = state @ STEP.T
        gain = before @ STEP.T @ np.linalg.inv(self.covariance)
        self.past.append(_Past(state, self.state, gain))

    def correct(self, frame: int, box: Box, place: int) -> None:
        """Take a found box in."""
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + 1)
        self.state = self.state + np.outer(np.array(box) - self.state[:, 0], gain)
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        self.found[frame], self.last = (box, place), frame

    def forget(self, before: int) -> None:
        """Drop found boxes that no frame from ``before`` on needs: all but the last one of them."""
        older = sorted(frame for frame in self.found if frame < before)
        for frame in older[:-1]:
            del self.found[frame]

    def edges(self) -> Edges:
        """Where it is predicted to be, or is, in the newest frame."""
        return _ordered(self.state[:, 0])

    def at(self, frame: int, now: int) -> Tracked:
        """The box in a frame, smoothed by all that is known up to the frame ``now``."""
        state = self.state
        start = max(frame, self.first)
        for past in list(self.past)[len(self.past) - (now - start) :][::-1]:
            state = past.state + (state - past.predicted) @ past.gain.T
        edges = _ordered(state[:, 0] - (start - frame) * state[:, 1])
        if frame in self.found:
            box, place = self.found[frame]
            return Tracked(self.identity, _hull(edges, box), place)
        if frame < self.first:
            return Tracked(self.identity, _hull(edges, self.found[self.first][0]), None)
        if any(found > frame for found in self.found):  # between two that were found
            return Tracked(self.identity, edges, None)
        return Tracked(self.identity, _hull(edges, self.found[max(self.found)][0]), None)


class Tracker:
    """Follows everybody, frame by frame.

    Args:
        keep: frames for which somebody is carried after they were last found, and before they were first
            found.
        ahead: frames that a box waits for those that follow.
    """

    def __init__(self, keep: int, ahead: int = AHEAD):
        self.keep, self.ahead, self.now, self.known = keep, ahead, 0, 0
        self.tracks: list[_Track] = []

    def see(self, found: Sequence[Box] | None) -> None:
        """Go on by a frame.

        Args:
            found: in it, by the detector; None: it was not asked.
        """
        self.now += 1
        for track in self.tracks:
            track.predict()
        if found is None:
            return
        taken = self._match(found)
        for place, track in taken.items():
            track.correct(self.now, found[place], place)
        for place, box in enumerate(found):
            if place not in taken:
                self.known += 1
                self.tracks.append(_Track(self.known, self.now, box, place, self.ahead))

    def _match(self, found: Sequence[Box]) -> dict[int, _Track]:
        """Which track each found box belongs to, by its place; those of nobody are not there."""
        alive = [track for track in self.tracks if self.now - track.last <= self.keep]
        pairs = [
            (-overlap(track.edges(), box), track.identity, place, track)
            for track in alive
            for place, box in enumerate(found)
        ]
        taken: dict[int, _Track] = {}
        followed: set[int] = set()
        for shared, identity, place, track in sorted(pairs, key=lambda pair: pair[:3]):
            if -shared >= LEAST_OVERLAP and place not in taken and identity not in followed:
                taken[place] = track
                followed.add(identity)
        return taken

    def boxes(self, frame: int) -> list[Tracked]:
        """The boxes of a frame: carried ones first, then as the detector found them.

        Args:
            frame: from 1; one of the last ``ahead`` frames that were seen, or the newest. They are asked for
                in order, each once.
        """
        tracked = []
        for track in self.tracks:
            before = [found for found in track.found if found <= frame]
            if track.first - frame <= self.keep and (not before or frame - max(before) <= self.keep):
                tracked.append(track.at(frame, self.now))
        for track in self.tracks:
            track.forget(frame + 1)
        self.tracks = [track for track in self.tracks if track.last + self.keep > frame]
        return sorted(tracked, key=lambda box: (-1 if box.place is None else box.place, box.identity))


def _ordered(places: np.ndarray) -> Edges:
    """Edges of which none has passed the one across from it."""
    left, top, right, bottom = places.tolist()
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _hull(one: Edges, other: Edges) -> Edges:
    """The smallest box that covers two."""
    left, top = min(one[0], other[0]), min(one[1], other[1])
    return left, top, max(one[2], other[2]), max(one[3], other[3])
