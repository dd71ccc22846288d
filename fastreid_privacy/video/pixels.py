"""Frames of libav as upright RGB pictures, and pictures as a codec stores them, in the colours of players."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image

from ..core.extras import av
from ..core.pictures import over_white

# Numbers of ITU-T H.273, which files and libav use alike.
UNKNOWN = 2  # matrix, primaries and transfer
BT709, BT601 = 1, 6  # matrix
LIMITED = 1  # range: luma from 16 to 235


def guessed_matrix(width: int, height: int) -> int:
    """The matrix between RGB and YUV that players take where a file names none: that of its television."""
    return BT709 if width >= 1280 or height > 576 else BT601


def upright(frame: av.VideoFrame) -> np.ndarray:
    """A frame as players show it: its own matrix and range, transparent pixels over white, turned upright.

    Returns:
        uint8 H×W×3, RGB.
    """
    matrix = None  # the frame's own
    if frame.colorspace == UNKNOWN and not frame.format.is_rgb:
        matrix = _swscale(guessed_matrix(frame.width, frame.height))
    if any(component.is_alpha for component in frame.format.components):
        pixels = over_white(
            Image.fromarray(frame.to_ndarray(format="rgba", src_colorspace=matrix, threads=1))
        )
    else:
        pixels = frame.to_ndarray(format="rgb24", src_colorspace=matrix, threads=1)
    transposed, to_left, to_top = _turns(frame)
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if to_top else 1, :: -1 if to_left else 1])


def lies_on_its_side(frame: av.VideoFrame) -> bool:
    """Whether the rows of an upright frame are the columns of the stored one."""
    return _turns(frame)[0]


def _turns(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether players swap rows and columns of a frame, then mirror it to the left, and to the top.

    The display matrix sends a pixel (x, y) to (a·x + c·y, b·x + d·y). At an odd angle the nearest of the
    eight orientations is taken.
    """
    sides = cast("dict[str, bytes]", frame.side_data)  # PyAV's own types know only some of the keys
    if "DISPLAYMATRIX" not in sides:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(sides["DISPLAYMATRIX"]), np.int32)[:5].tolist()
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if transposed else (False, a < 0, d < 0)


def stored(pixels: np.ndarray, kind: str, matrix: int | None = None) -> av.VideoFrame:
    """A picture as a codec takes it.

    Args:
        pixels: uint8 H×W×3, RGB.
        kind: libav's pixel format: "bgr0", "yuv420p".
        matrix: of YUV, which gets limited range; None: RGB.
    """
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    if matrix is None:
        return picture.reformat(format=kind, threads=1)
    return picture.reformat(format=kind, dst_colorspace=_swscale(matrix), dst_color_range=LIMITED, threads=1)


def _swscale(matrix: int) -> int:
    """libav's scaler has a number of its own for BT.601."""
    return int(av.video.reformatter.Colorspace.ITU601) if matrix == BT601 else matrix
