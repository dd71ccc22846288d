"""The parts of rendered people, by what their renderer knows: the outline of the person, and the joints."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

from fastreid_privacy.data.synthetic.plan import SyntheticOptions, planned_images
from fastreid_privacy.data.synthetic.truth import JOINTS, PersonTruth, truth_of_planned

from .parts import filled

# Half the sides of the face's box, in distances from the middle of the head to the neck.
FACE_WIDE, FACE_HIGH = 0.75, 0.85


def rendered_part(part: str, path: Path) -> np.ndarray | None:
    """The part of the person in an image of a data set that the renderer wrote.

    Args:
        part: of :data:`.parts.PARTS`.
        path: of the image.

    Returns:
        H×W bool; None where it is no such image, nobody is in it, or the part cannot be seen.
    """
    truth = truth_of_image(path)
    if truth is None:
        return None
    mask = part_of_truth(part, truth)
    return mask if mask.any() else None


def truth_of_image(path: Path) -> PersonTruth | None:
    """What is true of an image in a folder of the renderer; None: no such image, or nobody in it."""
    found = SyntheticOptions.of_image(path)
    if found is None:
        return None
    options, name = found
    return _rendering(options).truth(name)


def part_of_truth(part: str, truth: PersonTruth) -> np.ndarray:
    """The part of a rendered person.

    The full body is the person with clothes and bag; the upper body what of it is above the middle of the
    hips, the head what is above the neck; the face is a box around the middle of the head.
    """
    joints = dict(zip(JOINTS, truth.joints.astype(float), strict=True))
    rows = np.arange(len(truth.mask))[:, None]
    if part == "full_body":
        return truth.mask
    if part == "upper_body":
        return truth.mask & (rows <= (joints["left_hip"][1] + joints["right_hip"][1]) / 2)
    if part == "head":
        return truth.mask & (rows <= joints["neck"][1])
    (x, y), reach = joints["head"] + 0.5, float(np.hypot(*(joints["neck"] - joints["head"])))
    wide, high = FACE_WIDE * reach, FACE_HIGH * reach
    return filled((x - wide, y - high, x + wide, y + high), truth.mask.shape)


class _Rendering:
    """The plan of a data set, and the truth of those of its images that were asked for."""

    def __init__(self, options: SyntheticOptions):
        self.lock = threading.Lock()
        self.shots = {shot.name: shot for shot in planned_images(options)}
        self.found: dict[str, PersonTruth | None] = {}

    def truth(self, name: str) -> PersonTruth | None:
        with self.lock:
            if name not in self.found:
                shot = self.shots.pop(name, None)  # drawing uses its generator up
                self.found[name] = None if shot is None else truth_of_planned(shot)
            return self.found[name]


_lock = threading.Lock()


@lru_cache(maxsize=2)
def _made(options: SyntheticOptions) -> _Rendering:
    return _Rendering(options)


def _rendering(options: SyntheticOptions) -> _Rendering:
    with _lock:  # of several threads, one makes the plan
        return _made(options)
