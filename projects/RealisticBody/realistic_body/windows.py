"""Where a network looks: a window around each person of an image, at the network's size, and put back.

What the region hides is taken out before anything is resized, so that no hidden pixel gets into what the
network sees, nor into what stays around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastreid_privacy.desensitize.regions import fitted

ROOM = {"full_body": 1.2, "head": 2.0}
"""How much larger than the part the window is, by part: both sides, at least."""
NEAR = 0.1  # of the tallest piece's height: pieces of a region that are not farther apart are one person


class Window(NamedTuple):
    """What of an image a network sees.

    Attributes:
        mask: H×W bool, of the image's size: the region of one person.
        rows: of the image that are inside.
        columns: likewise.
    """

    mask: np.ndarray
    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the image."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def windows_of(region: np.ndarray, size: tuple[int, int], part: str) -> list[Window]:
    """A window for each person of a region, the largest person first; nothing for an empty region.

    People who touch, or nearly do, are one: nothing in a region tells them apart. Windows have the shape of
    the network's images, but where the image's edges cut them.

    Args:
        region: H×W bool.
        size: (height, width) of the network's images.
        part: of :data:`ROOM`.
    """
    return [Window(mask, *_around(mask, size, ROOM[part])) for mask in _people(region)]


def _people(region: np.ndarray) -> list[np.ndarray]:
    """The pixels of each person, H×W bool."""
    if not region.any():
        return []
    *_, about, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    reach = 1 + round(NEAR * int(about[1:, cv2.CC_STAT_HEIGHT].max()))
    grown = cv2.dilate(region.astype(np.uint8), np.ones((reach, reach), np.uint8))
    count, labels = cv2.connectedComponents(grown)
    masks = [region & (labels == label) for label in range(1, count)]
    return sorted(masks, key=lambda mask: -int(mask.sum()))


def _around(mask: np.ndarray, size: tuple[int, int], room: float) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    high, wide = (room * (found[-1] + 1 - found[0]) for found in (rows, columns))
    shape = size[0] / size[1]
    high, wide = max(high, wide * shape), max(wide, high / shape)
    middles = [(found[0] + found[-1] + 1) / 2 for found in (rows, columns)]
    lengths = zip(middles, (high, wide), mask.shape, strict=True)
    down, across = (_inside(middle, round(length), side) for middle, length, side in lengths)
    return down, across


def _inside(middle: float, length: int, side: int) -> slice:
    """An interval moved into 0 … side, and cut where it is longer."""
    length = min(length, side)
    start = min(max(0, round(middle - length / 2)), side - length)
    return slice(start, start + length)


class Seen(NamedTuple):
    """Windows at the network's size.

    Attributes:
        raw: N×3×h×w, 0–255: with what its own region hides, and no other; black where others are.
        around: N×3×h×w, 0–255: without it; of no meaning where ``regions`` is 1.
        regions: N×1×h×w, 0 or 1: 1 where anything is hidden.
    """

    raw: Tensor
    around: Tensor
    regions: Tensor


def seen(image: Tensor, windows: Sequence[Window], size: tuple[int, int]) -> Seen:
    """What is in the windows of an image.

    Args:
        image: 3×H×W, RGB, 0–255, float.
        windows: at least one.
        size: (height, width) of the network's images.
    """
    raw, around, regions = [], [], []
    everybody = np.logical_or.reduce([window.mask for window in windows])
    for window in windows:
        there = (..., window.rows, window.columns)
        own, hidden = (
            torch.from_numpy(mask[window.rows, window.columns]).to(image)[None, None]
            for mask in (window.mask, everybody)
        )
        pixels = image[there][None] * (1 - (hidden - own))
        shown = _resized(1 - hidden, size)
        raw.append(_resized(pixels, size))
        around.append(_resized(pixels * (1 - hidden), size) / shown.clamp(min=1e-3))
        regions.append(fitted(hidden, size))
    return Seen(*map(torch.cat, (raw, around, regions)))


def put_back(image: Tensor, windows: Sequence[Window], filled: Tensor) -> Tensor:
    """An image with the regions of its windows filled; every other pixel stays exactly as it is.

    Args:
        image: 3×H×W, RGB, 0–255, float.
        windows: N.
        filled: N×3×h×w, 0–255.
    """
    image = image.clone()
    for window, picture in zip(windows, filled, strict=True):
        there = (..., window.rows, window.columns)
        large = _resized(picture[None], window.size, "bicubic")[0].clamp(0, 255)
        hidden = torch.from_numpy(window.mask[window.rows, window.columns]).to(image.device)
        image[there] = torch.where(hidden, large, image[there])
    return image


def _resized(images: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return interpolate(images, size, mode=mode, antialias=True)
