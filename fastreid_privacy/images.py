"""The two ranges of pixel values: 0–255 in files, storage and Re-ID, [−1, 1] in the image networks."""

from __future__ import annotations

from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """0–255 → [−1, 1]."""
    return images / 127.5 - 1


def to_levels(images: Tensor) -> Tensor:
    """[−1, 1] → 0–255."""
    return (images + 1) * 127.5
