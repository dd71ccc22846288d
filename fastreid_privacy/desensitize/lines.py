"""The Gaussian blur of lines of pixels: rows or columns, of any length, with any sigma, in bounded memory.

A line is mirrored without repeating its edge pixels, as often as the kernel asks for; so it repeats with a
period of twice its length less two, and the kernel can be folded onto one period.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

LONGEST_BY_MATRIX = 1024  # pixels of a line; a matrix has the square of it
VALUES = 1 << 22  # that are transformed at a time
FLAT = 16  # periods of a line: with a larger sigma all its pixels have one colour, to 0.01 levels


def blur_rows_and_columns(images: Tensor, sigma: float) -> Tensor:
    """Blur the columns and then the rows of images.

    Args:
        images: N×C×H×W, float32.
        sigma: standard deviation in pixels, above 0.
    """
    height, width = images.shape[2:]
    # Matrix products where lines are short, because cuDNN convolutions run in TF32 by default.
    if height <= LONGEST_BY_MATRIX:
        images = blur_matrix(height, float(sigma)).to(images.device) @ images
    else:
        images = _by_transform(images.transpose(2, 3), sigma).transpose(2, 3)
    if width <= LONGEST_BY_MATRIX:
        return images @ blur_matrix(width, float(sigma)).to(images.device).T
    return _by_transform(images, sigma)


def folded_kernel(period: int, sigma: float) -> np.ndarray:
    """The Gaussian, cut off at 4 sigma (radius ``int(4 * sigma + 0.5)``) and folded onto one period.

    Returns:
        float64: the weight of the pixel that lies 0, 1, … further along the mirrored line; the sum is 1.
    """
    if sigma > FLAT * period:
        return np.full(period, 1 / period)
    radius = int(4 * sigma + 0.5)
    folded, total = np.zeros(period), 0.0
    for start in range(-radius, radius + 1, period):
        offsets = np.arange(start, min(start + period, radius + 1))
        weights = np.exp(-0.5 * (offsets / sigma) ** 2)
        folded[offsets % period] += weights
        total += weights.sum()
    return folded / total


def _period(side: int) -> int:
    """Of a mirrored line; a single pixel only meets itself."""
    return max(2 * side - 2, 1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # or a matrix made under it would be kept, through which no gradient goes
def blur_matrix(side: int, sigma: float) -> Tensor:
    """The side×side matrix that blurs a column of pixels: row i holds the weights of output pixel i."""
    period = _period(side)
    kernel, pixels = folded_kernel(period, sigma), np.arange(side)
    matrix = kernel[(pixels - pixels[:, None]) % period]
    inner = pixels[1:-1]  # each of them is in the line and in its mirror image
    matrix[:, 1:-1] += kernel[(-inner - pixels[:, None]) % period]
    return torch.from_numpy(matrix).float()


def _by_transform(images: Tensor, sigma: float) -> Tensor:
    """Blur the rows of N×C×H×W images by the Fourier transform, some rows at a time."""
    side = images.shape[3]
    period = _period(side)
    kernel = torch.from_numpy(folded_kernel(period, sigma)).to(images.device)
    response = torch.fft.rfft(kernel).real.float()  # the kernel is symmetric
    blurred = torch.empty_like(images)
    some = max(1, VALUES // period)
    for lines, target in zip(images.flatten(0, 1), blurred.flatten(0, 1), strict=True):
        for start in range(0, len(lines), some):
            part = lines[start : start + some]
            mirrored = torch.cat([part, part[:, 1:-1].flip(1)], dim=1)
            frequencies = torch.fft.rfft(mirrored) * response
            target[start : start + some] = torch.fft.irfft(frequencies, n=period)[:, :side]
    return blurred
