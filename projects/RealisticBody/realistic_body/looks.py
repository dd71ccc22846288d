"""Histograms of what is filled in: as it comes, equalized, or matched to the surroundings.

A new person may be too bright or too dull for the light of the picture. The first two change the levels
afterwards; the third looks for another z, so that the network itself makes somebody of such levels. The
surroundings are what is compared with, never the raw person: their histogram would tell the colours of their
clothes.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from fastreid_privacy.core.extras import exposure
from fastreid_privacy.core.images import to_pictures

NONE, EQUALIZE, MATCH, OPTIMIZE = "none", "equalize", "match", "optimize"
LOOKS = (NONE, EQUALIZE, MATCH, OPTIMIZE)
BINS = 16  # of a soft histogram
STEPS, RATE = 20, 0.1  # of Adam on z
NEAR = 0.02  # weight of |z − z₀|²: how much the new person may become another


def with_look(look: str, filled: Tensor, around: Tensor, regions: Tensor) -> Tensor:
    """Windows with the levels of their regions changed.

    Args:
        look: "equalize" or "match"; anything else leaves them as they are.
        filled: N×3×h×w, RGB, 0–255.
        around: the same, with the surroundings outside of the regions.
        regions: N×1×h×w, 0 or 1. Windows without surroundings stay as they are under "match".

    Returns:
        The same shape; whole numbers where something was changed.
    """
    if look not in (EQUALIZE, MATCH):
        return filled
    change = _equalized if look == EQUALIZE else _matched
    pictures, others = to_pictures(filled), to_pictures(around)
    for picture, other, region in zip(pictures, others, regions[:, 0].cpu().numpy() > 0, strict=True):
        picture[region] = change(picture[region], other[~region])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(filled)


def _equalized(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """P×3 uint8 with the histogram of its lightness (CIELAB) made flat."""
    lab = cv2.cvtColor(inside[None], cv2.COLOR_RGB2LAB)
    lab[..., 0] = np.rint(255 * exposure.equalize_hist(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0]


def _matched(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """P×3 uint8 with the histograms of Q×3, channel by channel."""
    if not len(outside):
        return inside
    # as floats: of uint8 it makes uint8 itself, and cuts what lies between two levels
    levels = exposure.match_histograms(
        *(each[None].astype(float) for each in (inside, outside)), channel_axis=-1
    )
    return np.rint(levels)[0].astype(np.uint8)


@torch.enable_grad()
def optimized(make: Callable[[Tensor], Tensor], latents: Tensor, around: Tensor, regions: Tensor) -> Tensor:
    """Latents whose people have levels like their surroundings.

    Adam makes the distance between the soft histograms of each channel smaller, and keeps z near where it
    began, so that people stay as different as they were drawn.

    Args:
        make: N×Z to N×3×h×w, 0–255.
        latents: N×Z, where it begins; no gradient goes there.
        around, regions: as of :func:`with_look`; windows without surroundings keep their latents.

    Returns:
        N×Z.
    """
    begun = latents.detach()
    changed = begun.clone().requires_grad_(True)
    aim = soft_histograms(around, 1 - regions)
    counted = (regions.flatten(1).mean(1) < 1).float()
    optimizer = torch.optim.Adam([changed], RATE)
    for _ in range(STEPS):
        off = (soft_histograms(make(changed), regions) - aim).abs().sum((1, 2))
        loss = (counted * (off + NEAR * (changed - begun).square().sum(1))).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.where(counted[:, None] > 0, changed.detach(), begun)


def soft_histograms(images: Tensor, regions: Tensor) -> Tensor:
    """The share of pixels inside of regions near each of :data:`BINS` levels, cumulated.

    Every pixel counts for the two nearest levels, the more the nearer, so that there is a gradient.

    Args:
        images: N×3×h×w, 0–255.
        regions: N×1×h×w, 0 or 1.

    Returns:
        N×3×BINS, rising to 1; zeros where the region is empty.
    """
    levels = torch.linspace(0, 255, BINS, device=images.device)
    step = 255 / (BINS - 1)
    shares = []
    for level in levels:
        near = (1 - (images - level).abs() / step).clamp(min=0) * regions
        shares.append(near.sum((2, 3)))
    count = regions.sum((1, 2, 3))[:, None, None].clamp(min=1)
    return torch.stack(shares, dim=2).cumsum(2) / count
