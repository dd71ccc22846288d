"""A picture and its mask, painted part by part."""

from __future__ import annotations

import cv2
import numpy as np

from .identity import Colour


class Layer:
    """A picture and its mask, painted part by part.

    Args:
        height: of the canvas, pixels.
        width: of the canvas, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.image = np.zeros((height, width, 3), np.uint8)
        self.mask = np.zeros((height, width), np.uint8)

    def fill(self, outline: np.ndarray, paint: Colour | np.ndarray, edge: Colour | None = None) -> None:
        """Fill an outline (N×2 int32) with a colour, or what a picture of the canvas' size shows there."""
        cv2.fillPoly(self.mask, [outline], 255)
        if isinstance(paint, tuple):
            cv2.fillPoly(self.image, [outline], paint)
        else:
            x, y, width, height = cv2.boundingRect(outline)
            left, top = max(x, 0), max(y, 0)
            right, bottom = min(x + width, self.mask.shape[1]), min(y + height, self.mask.shape[0])
            if right <= left or bottom <= top:
                return
            part = np.zeros((bottom - top, right - left), np.uint8)
            cv2.fillPoly(part, [outline - (left, top)], 255)
            target = self.image[top:bottom, left:right]
            np.copyto(target, paint[top:bottom, left:right], where=part[:, :, None] > 0)
        if edge is not None:
            cv2.polylines(self.image, [outline], True, edge, 1)

    def ellipse(
        self,
        x: float,
        y: float,
        half_width: float,
        half_height: float,
        colour: Colour,
        start: int = 0,
        end: int = 360,
    ) -> None:
        """Fill an ellipse or a sector of it (degrees, clockwise from the right)."""
        centre, axes = (round(x), round(y)), (max(1, round(half_width)), max(1, round(half_height)))
        cv2.ellipse(self.mask, centre, axes, 0, start, end, 255, -1)
        cv2.ellipse(self.image, centre, axes, 0, start, end, colour, -1)
