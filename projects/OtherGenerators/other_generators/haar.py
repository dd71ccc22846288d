"""The Haar wavelet transform of images: half the size, four times the channels, nothing lost."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

BANDS = 4
"""Bands of an image: mean of 2×2 pixels, and what differs across columns, across rows and diagonally."""


def to_bands(images: Tensor) -> Tensor:
    """Images N×C×H×W with even sides → their bands, N×4C×H/2×W/2: C channels of each band.

    The transform is orthonormal: squares sum to the same, and images in [−1, 1] have bands in [−2, 2].
    Additions alone, which autocast leaves in the precision of the images.

    Example:
        >>> to_bands(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).flatten().tolist()
        [5.0, -1.0, -2.0, 0.0]
    """
    corners = [images[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return torch.cat(_mixed(corners), dim=1)


def from_bands(bands: Tensor) -> Tensor:
    """The images of :func:`to_bands`: N×4C×h×w → N×C×2h×2w, exact but for rounding."""
    corners = _mixed(list(bands.chunk(BANDS, dim=1)))  # the transform is its own inverse
    return pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2), 2)


def _mixed(four: list[Tensor]) -> list[Tensor]:
    """Sums and differences of four tensors, halved."""
    a, b, c, d = four
    return [(a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
