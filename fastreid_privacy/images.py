"""The two ranges of pixel values: 0–255 in files, storage and Re-ID, [−1, 1] in the image networks, and as pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LARGEST = 100_000_000
"""Pixels of an image; beyond them a small damaged or hostile file could fill the memory."""


def to_unit(images: Tensor) -> Tensor:
    """0–255 → [−1, 1]."""
    return images / 127.5 - 1


def to_levels(images: Tensor) -> Tensor:
    """[−1, 1] → 0–255."""
    return (images + 1) * 127.5


def to_pictures(images: Tensor) -> np.ndarray:
    """N×3×H×W images, 0–255, as a file keeps them: uint8 N×H×W×3 on the CPU."""
    return images.detach().float().round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
