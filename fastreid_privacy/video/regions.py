"""Boxes cut out of frames, sent through a network at its own size, and put back so that the way back is as
exact as it can be.

Where a box is larger than the network's image, each of the network's pixels becomes a block of the frame's;
averaging the blocks gives the network's image back exactly, and from a lossy codec with less noise. Where it
is smaller, pixels are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..collection.protect import check_changed
from ..core.pictures import resize
from .boxes import Box
from .stream import Frame

SMALLEST = 64  # pixels; how high conventional operators take a box to be at least
Network = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""uint8 H×W×3 pictures to the same number of the same size; at most a batch of them."""


def spread(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A network's image at the size of its box.

    Args:
        picture: uint8 h×w×3.
        size: (height, width) of the box.

    Returns:
        uint8 of that size; each side is repeated pixels where it grows, bicubic with antialiasing where it
        shrinks.
    """
    picture = resize(
        picture, tuple(min(there, wanted) for there, wanted in zip(picture.shape[:2], size, strict=True))
    )
    rows, columns = (_sources(large, small) for large, small in zip(size, picture.shape[:2], strict=True))
    return picture[rows][:, columns]


def gather(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The network's image from what :func:`spread` made of it: exact where the box is at least as large.

    Args:
        region: uint8 H×W×3, of a frame.
        size: (height, width) of the network.
    """
    for axis, small in enumerate(size):
        large = region.shape[axis]
        if large > small:
            firsts = np.searchsorted(_sources(large, small), np.arange(small))
            counts = np.diff(np.append(firsts, large)).reshape(
                [-1 if axis == other else 1 for other in range(3)]
            )
            region = np.round(np.add.reduceat(region.astype(np.float64), firsts, axis=axis) / counts).astype(
                np.uint8
            )
    return resize(region, size)


def _sources(large: int, small: int) -> np.ndarray:
    """For each of ``large`` pixels, which of ``small`` ones it repeats; each is repeated once at least."""
    return np.arange(large) * small // large


def protect_regions(
    frames: Sequence[Frame], network: Network, size: tuple[int, int] | None, batch_size: int
) -> None:
    """Replace what is in the boxes of frames by what the network makes of it, in place.

    All boxes are cut from the raw frame; where they overlap, later ones lie on top. So the upper box is
    whole, and recovery takes from the lower one what can be seen of it.

    Args:
        frames: with their boxes.
        network: the anonymizer; the batches are always the same boxes, whoever calls.
        size: (height, width) of the network; None: a conventional operator, which takes each box as it is.
        batch_size: of the network.
    """

    def cut(region: np.ndarray) -> np.ndarray:
        return _whole_person(region) if size is None else resize(region, size)

    def fit(picture: np.ndarray, raw: np.ndarray) -> np.ndarray:
        height, width = raw.shape[:2]
        protected = picture[:height, :width] if size is None else spread(picture, (height, width))
        check_changed(raw, protected)
        return protected

    _replace(frames, network, batch_size, cut, fit)


def recover_regions(
    frames: Sequence[Frame], network: Network, size: tuple[int, int], batch_size: int
) -> None:
    """Undo :func:`protect_regions`, in place, as far as the network can."""
    _replace(
        frames,
        network,
        batch_size,
        cut=lambda region: gather(region, size),
        fit=lambda picture, region: resize(picture, region.shape[:2]),
    )


def region(pixels: np.ndarray, box: Box) -> np.ndarray:
    """The part of a frame that a box covers; a view."""
    left, top, right, bottom = box
    return pixels[top:bottom, left:right]


def _whole_person(region: np.ndarray) -> np.ndarray:
    """A region with its last row repeated until it is as high as a person of its width, and SMALLEST at
    least.

    Blur and pixelation scale with the height: of a box that the frame's edge cuts to a few rows, or of a tiny
    one, they would leave what is there.
    """
    height, width = region.shape[:2]
    return np.pad(region, ((0, max(0, 2 * width - height, SMALLEST - height)), (0, 0), (0, 0)), mode="edge")


def _replace(
    frames: Sequence[Frame], network: Network, batch_size: int, cut: Callable, fit: Callable
) -> None:
    places = [(frame, np.ascontiguousarray(frame.pixels), box) for frame in frames for box in frame.boxes]
    for frame in frames:
        frame.pixels = frame.pixels.copy()  # boxes are cut from the frame as it was
    for start in range(0, len(places), batch_size):
        batch = [
            (frame, np.ascontiguousarray(region(before, box)), box)
            for frame, before, box in places[start : start + batch_size]
        ]
        for (frame, raw, box), picture in zip(batch, network([cut(raw) for _, raw, _ in batch]), strict=True):
            region(frame.pixels, box)[:] = fit(picture, raw)
