"""Boxes cut out of frames, sent through a network at its own size, and put back.

The way back is as exact as it can be. Where a box is larger than the network's image, each of the network's
pixels becomes a block of the frame's; averaging the blocks gives the network's image back exactly, and from a
lossy codec with less noise. Where it is smaller, pixels are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..collection.floor import check_changed
from ..core.errors import named
from ..core.pictures import resize
from .people import Box
from .stream import Frame

SMALLEST = 64  # pixels; how high conventional operators take a box to be at least
PictureMap = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""uint8 H×W×3 pictures to the same number of the same size; at most a batch of them."""
Cut = Callable[[np.ndarray], np.ndarray]
"""What is in a box to the picture that the map takes."""
Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The mapped picture, and what was in the box, to what is put there."""


def spread(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A network's image at the size of its box.

    Args:
        picture: uint8 h×w×3.
        size: (height, width) of the box.

    Returns:
        uint8 of that size; each side is repeated pixels where it grows, bicubic with antialiasing where it
        shrinks.
    """
    picture = resize(picture, (min(picture.shape[0], size[0]), min(picture.shape[1], size[1])))
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
            counts = np.diff(np.append(firsts, large)).reshape([-1 if axis == at else 1 for at in range(3)])
            means = np.add.reduceat(region.astype(np.float64), firsts, axis=axis) / counts
            region = np.round(means).astype(np.uint8)
    return resize(region, size)


def _sources(large: int, small: int) -> np.ndarray:
    """For each of ``large`` pixels, which of ``small`` ones it repeats; each is repeated once at least."""
    return np.arange(large) * small // large


def protect_regions(
    frames: Sequence[Frame],
    mapper: PictureMap,
    size: tuple[int, int] | None,
    batch_size: int,
    *,
    conventional: bool,
) -> None:
    """Replace what is in the boxes of frames by what the anonymizer makes of it, in place.

    All boxes are cut from the raw frame; where they overlap, later ones lie on top. So the upper box is
    whole, and recovery takes from the lower one what can be seen of it.

    Args:
        frames: with their boxes.
        mapper: the anonymizer; the batches are always the same boxes, whoever calls.
        size: (height, width) of the network; None: a conventional operator, which takes each box as it is.
        batch_size: of the mapper.
        conventional: whether the anonymizer is an operator, not a trained network.

    Raises:
        UserError: when too little of a box would change, naming it.
    """

    def cut(region: np.ndarray) -> np.ndarray:
        return _whole_person(region) if size is None else resize(region, size)

    def fit(picture: np.ndarray, raw: np.ndarray) -> np.ndarray:
        height, width = raw.shape[:2]
        protected = picture[:height, :width] if size is None else spread(picture, (height, width))
        shown = cut(raw) if size is None else None
        check_changed(raw, protected, conventional=conventional, shown=shown)
        return protected

    # an operator takes boxes as they are, and the memory holds few of the largest
    _replace(frames, mapper, 1 if size is None else batch_size, cut, fit)


def recover_regions(
    frames: Sequence[Frame], mapper: PictureMap, size: tuple[int, int], batch_size: int
) -> None:
    """Undo :func:`protect_regions`, in place, as far as the recovery decoder can."""

    def cut(protected: np.ndarray) -> np.ndarray:
        return gather(protected, size)

    def fit(picture: np.ndarray, protected: np.ndarray) -> np.ndarray:
        height, width = protected.shape[:2]
        return resize(picture, (height, width))

    _replace(frames, mapper, batch_size, cut, fit)


def region(pixels: np.ndarray, box: Box) -> np.ndarray:
    """The part of a frame that a box covers; a view."""
    left, top, right, bottom = box
    return pixels[top:bottom, left:right]


def _whole_person(region: np.ndarray) -> np.ndarray:
    """A region, its last row repeated until it is as high as a person of its width, and SMALLEST at least.

    Blur and pixelation scale with the height: of a box that the frame's edge cuts to a few rows, or of a tiny
    one, they would leave what is there.
    """
    height, width = region.shape[:2]
    return np.pad(region, ((0, max(0, 2 * width - height, SMALLEST - height)), (0, 0), (0, 0)), mode="edge")


def _replace(frames: Sequence[Frame], mapper: PictureMap, batch_size: int, cut: Cut, fit: Fit) -> None:
    """Send what is in the boxes of frames through a map, and put it back, in place."""
    places = [(frame, frame.pixels, box) for frame in frames for box in frame.boxes]
    for frame in frames:
        frame.pixels = frame.pixels.copy()  # boxes are cut from the frame as it was
    for start in range(0, len(places), batch_size):
        batch = [(frame, region(whole, box), box) for frame, whole, box in places[start : start + batch_size]]
        mapped = mapper([cut(before) for _, before, _ in batch])
        for (frame, before, box), picture in zip(batch, mapped, strict=True):
            with named(f"frame {frame.number}, box {', '.join(map(str, box))}"):
                region(frame.pixels, box)[:] = fit(picture, before)
