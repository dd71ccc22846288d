"""Where people are in a frame by OpenCV's own detector, which needs no weights, and is weak."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .boxes import Detector, whole_pixels
from .people import Box

# Share of a found window that is background, on the left and right, at the top, and at the bottom: it learned
# from windows of 64×128 pixels with a border around each person.
SIDES, TOP, BOTTOM = 0.1, 0.07, 0.13
PADDING = 16  # pixels that OpenCV puts around a picture
# Height and width in pixels of the smallest picture that holds a window when it is padded: a smaller one ends
# OpenCV's process.
SMALLEST = 128 - 2 * PADDING, 64 - 2 * PADDING


class HogDetector(Detector):
    """People who stand or walk, at least about 100 pixels high, by histograms of oriented gradients.

    It misses many people, and finds some who are not there. Boxes of a better detector, or of a person who
    has looked, protect more.
    """

    name = "OpenCV's HOG"
    about: Mapping[str, object] = {"boxes": "hog", "opencv": cv2.__version__}

    def __init__(self) -> None:
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        """As of any detector; a frame below 32×96 is continued by its edge."""
        height, width = pixels.shape[:2]
        image = np.ascontiguousarray(pixels[..., ::-1])
        below, beside = (max(0, least - side) for least, side in zip(SMALLEST, (height, width), strict=True))
        if below or beside:
            image = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        windows, scores = self.hog.detectMultiScale(
            image, winStride=(4, 4), padding=(PADDING, PADDING), scale=1.05
        )
        found = []
        # OpenCV's threads find equal scores in any order
        for at in sorted(range(len(windows)), key=lambda at: (np.ravel(scores)[at], *windows[at])):
            left, top, across, down = windows[at]
            right, bottom = left + (1 - SIDES) * across, top + (1 - BOTTOM) * down
            box = whole_pixels(left + SIDES * across, top + TOP * down, right, bottom, width, height)
            found += [box] if box else []
        return found
