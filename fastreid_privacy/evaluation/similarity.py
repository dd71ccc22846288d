"""SSIM, the one of this project: of each image of a batch, by two passes of a one-dimensional window.

A Gaussian window of 11×11 is a column of 11 weights after a row of 11, which is a fifth of the work. SSIM
takes squares of means from means of squares: bfloat16, and the TF32 that matrix products and convolutions may
choose, would lose the digits that count. So it is made of sums of shifted float32 images alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST_SIDE = 11  # pixels, of the Gaussian window
SIGMA = 1.5  # pixels, of the Gaussian window
LUMINANCE, CONTRAST = 0.01, 0.03  # K1 and K2 of eq. 13: shares of the value range


class SimilarityTo:
    """SSIM of images to reference images, of which all is kept that further images need.

    Args:
        reference: N×3×H×W, H and W at least 11.
        data_range: of the values: 255 of images 0–255.

    Reference: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004,
    eq. 13, a mean over the channels and the windows around all pixels; the borders are mirrored.

    Example:
        >>> images = torch.arange(3 * 16 * 16.0).reshape(1, 3, 16, 16) % 256
        >>> SimilarityTo(images)(images).item()
        1.0
    """

    def __init__(self, reference: Tensor, data_range: float = 255.0):
        self.reference = reference.float()
        self.constants = (LUMINANCE * data_range) ** 2, (CONTRAST * data_range) ** 2
        self.mean = windowed(self.reference)
        self.variance = _variance(self.reference, self.mean)

    def of(self, rows: Tensor) -> SimilarityTo:
        """The same of some of the references.

        Args:
            rows: their places, whole numbers.
        """
        some = object.__new__(SimilarityTo)
        some.reference, some.constants = self.reference[rows], self.constants
        some.mean, some.variance = self.mean[rows], self.variance[rows]
        return some

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """SSIM of each image to its reference.

        Args:
            images: of the references' shape and range.

        Returns:
            N, float32, −1 to 1.
        """
        images = images.float()
        luminance, contrast = self.constants
        mean = windowed(images)
        means = mean * self.mean
        covariance = windowed(images * self.reference).sub_(means)
        variances = _variance(images, mean).add_(self.variance)
        above = means.mul_(2).add_(luminance).mul_(covariance.mul_(2).add_(contrast))
        below = mean.square_().add_(self.mean.square()).add_(luminance).mul_(variances.add_(contrast))
        return above.div_(below).flatten(1).mean(1)


def _variance(images: Tensor, mean: Tensor) -> Tensor:
    """In each window; rounding makes it no less than 0."""
    return windowed(images.square()).sub_(mean.square()).clamp_(min=0)


def windowed(images: Tensor) -> Tensor:
    """The weighted mean of the window around each pixel; beyond the borders the image is mirrored.

    Args:
        images: float32 N×C×H×W, H and W at least 11.

    Returns:
        float32, the same shape.
    """
    with torch.no_grad():
        images = pad(images, 4 * [SMALLEST_SIDE // 2], mode="reflect")
        for axis in (-1, -2):
            images = _along(images, axis)
    return images


def _along(images: Tensor, axis: int) -> Tensor:
    middle = SMALLEST_SIDE // 2
    weights = [math.exp(-((at - middle) ** 2) / (2 * SIGMA**2)) for at in range(SMALLEST_SIDE)]
    length, total = images.shape[axis] - 2 * middle, sum(weights)
    mean = images.narrow(axis, middle, length) * (weights[middle] / total)
    for at in range(middle):  # the weights are symmetric
        pair = images.narrow(axis, at, length) + images.narrow(axis, 2 * middle - at, length)
        mean.add_(pair, alpha=weights[at] / total)
    return mean
