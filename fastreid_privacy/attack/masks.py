"""How an image and a mask make a protected image, and how a known mask is taken off: tensors in, tensors out.

Masks are looked for as sums that are clipped, sums modulo 256 and exclusive ors of stored 8-bit values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SQUARES = (3, 7, 15)  # sides, in which pixels around a cut one are sought


@dataclass(frozen=True)
class Combination:
    """How an image and a mask make a protected image.

    Attributes:
        mask: protected and raw images, int32 N×3×H×W, 0–255, to their masks.
        undo: protected images and masks to raw images.
        common: protected images and their masks to the mask that they share, 3×H×W.
        difference: two images to what differs between them, the same of raw as of protected ones where the
            mask is.
        clips: whether values at 0 and 255 may have been cut, and tell a bound only.
    """

    mask: Callable[[Tensor, Tensor], Tensor]
    undo: Callable[[Tensor, Tensor], Tensor]
    common: Callable[[Tensor, Tensor], Tensor]
    difference: Callable[[Tensor, Tensor], Tensor]
    clips: bool = False


def _most_common(_: Tensor, masks: Tensor) -> Tensor:
    return masks.mode(dim=0).values


def _middle(protected: Tensor, masks: Tensor) -> Tensor:
    """The median of the values that were not clipped; of all, where every one was."""
    kept = masks.double().masked_fill((protected == 0) | (protected == 255), torch.nan)
    middle = kept.nanmedian(dim=0).values
    return torch.where(middle.isnan(), masks.double().median(dim=0).values, middle).round().int()


COMBINATIONS = {
    "sum, clipped": Combination(
        lambda protected, raw: protected - raw,
        lambda protected, mask: (protected - mask).clamp(0, 255),
        _middle,
        lambda one, other: one - other,
        clips=True,
    ),
    "sum modulo 256": Combination(
        lambda protected, raw: (protected - raw) % 256,
        lambda protected, mask: (protected - mask) % 256,
        _most_common,
        lambda one, other: (one - other + 128) % 256 - 128,
    ),
    "exclusive or": Combination(
        lambda protected, raw: protected ^ raw,
        lambda protected, mask: protected ^ mask,
        _most_common,
        lambda one, other: one ^ other,
    ),
}


def take_off(combination: Combination, seen: Tensor, masks: Tensor, known: Tensor | None = None) -> Tensor:
    """Undo masks; what was cut comes from around it, within its bound.

    Args:
        combination: how they were put on.
        seen: protected images, int32 N×3×H×W, 0–255.
        masks: N×3×H×W, or 3×H×W for all.
        known: bool N×3×H×W, where the masks are known; None: everywhere.

    Returns:
        float32 N×3×H×W.
    """
    undone = combination.undo(seen, masks).float()
    if not combination.clips:
        return undone
    known = torch.ones_like(seen, dtype=torch.bool) if known is None else known
    found = known & inside(seen)
    around = _from_around(undone, found)
    around = torch.where(known & (seen == 255), around.maximum(undone), around)
    around = torch.where(known & (seen == 0), around.minimum(undone), around)
    return torch.where(found, undone, around)


def inside(levels: Tensor) -> Tensor:
    """Where a value was not cut."""
    return (levels > 0) & (levels < 255)


def _from_around(images: Tensor, found: Tensor) -> Tensor:
    """The mean of the found pixels around each, of ever larger squares; mid grey where there are none."""
    filled, open_ = torch.full_like(images, 128), torch.ones_like(found)
    for side in SQUARES:
        count = avg_pool2d(found.float(), side, stride=1, padding=side // 2)
        mean = avg_pool2d(images * found, side, stride=1, padding=side // 2) / count.clamp(min=1e-6)
        here = open_ & (count > 0)
        filled, open_ = torch.where(here, mean.round(), filled), open_ & ~here
    return filled
