"""What cloth looks like: pattern images in body coordinates, cached per garment, and a map of soft folds."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from .identity import Colour, Logo, Pattern

UNIT = 320
"""Pixels of a pattern image per body height."""
CLOTH_WIDTH, CLOTH_HEIGHT = 0.56, 0.66
"""Size of a pattern image in body heights; the garment's origin, collar or belt, is its top edge's middle."""


@functools.lru_cache(maxsize=4096)
def cloth(colour: Colour, pattern: Pattern) -> np.ndarray:
    """The cloth of a garment.

    Returns:
        H×W×3 RGB uint8, 0–255, read-only by convention as it is cached.
    """
    height, width = round(CLOTH_HEIGHT * UNIT), round(CLOTH_WIDTH * UNIT)
    period = max(4, round(pattern.period * UNIT))
    inked = max(2, round(period * pattern.fill))
    rows, columns = np.mgrid[0:height, 0:width]
    columns = columns - width // 2
    match pattern.kind:
        case "stripes":
            where = rows % period < inked
        case "columns":
            where = columns % period < inked
        case "diagonal":
            where = (rows + columns) % round(1.4 * period) < inked
        case "checks":
            where = (rows // period + columns // period) % 2 == 0
        case "dots":
            offset = (rows // period % 2) * (period // 2)
            down, across = rows % period - period / 2, (columns + offset) % period - period / 2
            where = down**2 + across**2 < (0.3 * period) ** 2
        case "grid":
            where = (rows % period < max(2, inked // 2)) | (columns % period < max(2, inked // 2))
        case "zigzag":
            bent = rows + np.abs(columns % (2 * period) - period)
            where = bent % round(1.2 * period) < round(1.2 * inked)
        case "seam":
            where = np.abs(np.abs(columns) - 0.075 * UNIT) < 0.008 * UNIT
        case _:
            where = np.zeros((height, width), bool)
    share, contrast = float(where.mean()), np.array(pattern.contrast, float)
    first = np.array(colour) - share * contrast
    # a colour that would leave the range moves back, and its partner with it
    below, above = np.minimum(first, first + contrast), np.maximum(first, first + contrast) - 250
    first += np.clip(-below, 0, None) - np.clip(above, 0, None)
    if pattern.kind == "plain":
        first, contrast = np.array(colour, float), np.zeros(3)
    return np.clip(np.rint(first + where[:, :, None] * contrast), 0, 255).astype(np.uint8)


def print_logo(
    image: np.ndarray, logo: Logo, centre: tuple[float, float], size: float, squeeze: float
) -> None:
    """Draw a print on the chest or back, in place.

    Args:
        image: H×W×3 RGB uint8.
        logo: what is printed.
        centre: its middle, in pixels.
        size: its side, in pixels.
        squeeze: horizontal foreshortening, 0–1.
    """
    x, y = round(centre[0]), round(centre[1])
    half, wide = max(1, round(size / 2)), max(1, round(size / 2 * squeeze))
    colour = logo.colour
    match logo.kind:
        case "disc":
            cv2.ellipse(image, (x, y), (wide, half), 0, 0, 360, colour, -1)
        case "ring":
            cv2.ellipse(image, (x, y), (wide, half), 0, 0, 360, colour, max(2, half // 3))
        case "square":
            cv2.rectangle(image, (x - wide, y - half), (x + wide, y + half), colour, -1)
        case "triangle":
            cv2.fillConvexPoly(
                image, np.array([(x - wide, y + half), (x + wide, y + half), (x, y - half)], np.int32), colour
            )
        case "cross":
            arm = max(1, half // 3)
            cv2.rectangle(image, (x - wide, y - arm), (x + wide, y + arm), colour, -1)
            cv2.rectangle(
                image, (x - max(1, wide // 3), y - half), (x + max(1, wide // 3), y + half), colour, -1
            )
        case "text":
            for line in (-0.7, 0.0, 0.7):
                top, right = int(y + line * half), x + int(wide * (0.9 - 0.5 * abs(line)))
                cv2.rectangle(image, (x - wide, top), (right, top + max(1, half // 4)), colour, -1)
        case "number":
            bar = max(2, wide // 3)
            cv2.rectangle(image, (x - wide, y - half), (x - wide + bar, y + half), colour, -1)
            cv2.rectangle(image, (x + wide // 3, y - half), (x + wide, y + half), colour, bar)


@functools.lru_cache(maxsize=8)
def folds(height: int, width: int) -> np.ndarray:
    """Soft light and dark of folded cloth, to be cropped at random.

    Returns:
        H×W×3 uint8 around 128; 128 leaves a colour as it is.
    """
    rng = np.random.default_rng(20)
    coarse = rng.normal(0, 1, (max(2, height // 20), max(2, width // 9))).astype(np.float32)
    fine = rng.normal(0, 1, (max(2, height // 6), max(2, width // 7))).astype(np.float32)
    size = (width, height)
    field = 7 * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    field = field + 4 * cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(np.clip(128 + field, 70, 180).astype(np.uint8), cv2.COLOR_GRAY2RGB)
