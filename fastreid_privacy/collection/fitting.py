"""An original encoded anew, as good as the room for it allows."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from ..core.pictures import read_picture
from ..evaluation.image_quality import psnr_of_sum
from ..keys.envelope import Fitted, Original, packed

LONGEST_SIDE = 16383  # pixels, of WebP
PSNR_DIGITS = 2  # characters that "132.45" has more than "null", which stands there while sizes are tried


def fitted(name: str, raw: np.ndarray, room: int) -> Original | None:
    """A raw picture as a WebP file: without loss if that fits, else of the best quality that does.

    Args:
        name: of the raw file; the original's ends in .webp.
        raw: uint8 H×W×3, its pixels.
        room: bytes that it may have when it is packed.

    Returns:
        None where nothing fits.
    """
    if max(raw.shape[:2]) > LONGEST_SIDE:
        return None
    picture, stem = Image.fromarray(raw), name[: name.rindex(".")]

    def encoded(quality: int | None) -> Original:
        buffer = io.BytesIO()
        how = {"lossless": True} if quality is None else {"quality": quality, "method": 6}
        picture.save(buffer, format="WEBP", exact=True, **how)
        return Original(f"{stem}.webp", buffer.getvalue(), Fitted("webp", quality, None))

    def fits(original: Original) -> bool:
        return len(packed(original)) + PSNR_DIGITS <= room

    whole = encoded(None)
    if fits(whole):
        return whole
    best = _best(encoded, fits)
    return None if best is None else best._replace(fitted=_measured(best, raw))


def _best(encoded: Callable[[int], Original], fits: Callable[[Original], bool]) -> Original | None:
    """Of the highest quality, 0 to 100, that fits: files grow with it."""
    best, low, high = None, 0, 100
    while low <= high:
        quality = (low + high) // 2
        tried = encoded(quality)
        if fits(tried):
            best, low = tried, quality + 1
        else:
            high = quality - 1
    return best


def _measured(original: Original, raw: np.ndarray) -> Fitted:
    """How it was encoded, with the PSNR that was reached, in dB with two digits."""
    assert original.fitted is not None
    difference = np.subtract(read_picture(original.content), raw, dtype=np.int64)
    psnr = psnr_of_sum(float(np.square(difference).sum()), raw.size)
    return original.fitted._replace(psnr=None if psnr is None else round(psnr, 2))
