"""Pixel values: 0–255 in files, storage and Re-ID, [−1, 1] in the image networks; 8 bits; PNG."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

LARGEST = 100_000_000
"""Pixels of an image; beyond them a small damaged or hostile file could fill the memory."""
NORMALIZING = {"mean": (-1e6, 1e6), "std": (1e-6, 1e6)}
"""Lowest and highest numbers that a Re-ID model may prepare its images with: no level leaves float32."""


def to_unit(images: Tensor) -> Tensor:
    """0–255 → [−1, 1]."""
    return images / 127.5 - 1


def to_levels(images: Tensor) -> Tensor:
    """[−1, 1] → 0–255."""
    return (images + 1) * 127.5


def quantize(images: Tensor) -> Tensor:
    """The 8-bit levels of images: clamped to 0–255 and rounded, halves to the even level; NaN stays NaN.

    Args:
        images: Any shape and range.

    Returns:
        float32 of the same shape, whole numbers 0–255.
    """
    return images.detach().float().clamp(0, 255).round()


def to_bytes(images: Tensor) -> Tensor:
    """:func:`quantize` as uint8, on the same device."""
    return quantize(images).to(torch.uint8)


def to_pictures(images: Tensor) -> np.ndarray:
    """N×3×H×W images, 0–255, as a file keeps them: uint8 N×H×W×3 on the CPU."""
    return to_bytes(images).cpu().permute(0, 2, 3, 1).numpy()


def scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic with antialiasing: N×3×H×W, 0–255, to (height, width)."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)


def png_bytes(picture: np.ndarray | Image.Image, *, optimize: bool = False) -> bytes:
    """A picture as a PNG file that holds nothing but its pixels.

    Args:
        picture: uint8 H×W×3, RGB, or an image of Pillow.
        optimize: spend more time on a smaller file.
    """
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, format="PNG", optimize=optimize)
    return buffer.getvalue()
