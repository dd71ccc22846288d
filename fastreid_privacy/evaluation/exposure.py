"""Single images that show too much, though the set's mean keeps the thresholds.

An image's excess is how much more it shows of the raw picture than its desensitized image does: the
difference of their PSNR in dB, and of their SSIM. ε_psnr and ε_ssim (section 3.4) bound both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .image_quality import Shown

TWENTIETH = 20  # one of so many images may show more than the worst figures say


class Exposure:
    """The excess of every image, gathered batch by batch.

    Args:
        psnr: ε_psnr, dB.
        ssim: ε_ssim.
    """

    def __init__(self, psnr: float, ssim: float):
        self.limits = psnr, ssim
        self.excess: list[Tensor] = []  # n×2 each: dB of PSNR, and SSIM

    def update(self, protected: Shown, desensitized: Shown) -> None:
        """Add a batch: what its protected images show, and what its desensitized ones do."""
        excess = torch.stack([ours - theirs for ours, theirs in zip(protected, desensitized, strict=True)], 1)
        # both equal to the raw image: infinity minus infinity
        self.excess.append(excess.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf))

    def compute(self) -> dict[str, float | None]:
        """The figures over all images so far; {} where there were none.

        Returns:
            "beyond": percent of the images whose excess reaches ε_psnr or ε_ssim. "excess_PSNR" (dB) and
            "excess_SSIM": at most 5 % of the images have more; None of PSNR: protected images equal the raw
            ones.
        """
        return figures_of([self])


def figures_of(exposures: Sequence[Exposure]) -> dict[str, float | None]:
    """:meth:`Exposure.compute` of what several processes gathered, under the thresholds of the first."""
    gathered = [batch for each in exposures for batch in each.excess]
    if not gathered:
        return {}
    excess = torch.cat(gathered).numpy()
    beyond = (excess >= np.array(exposures[0].limits)).any(axis=1)
    psnr, ssim = np.sort(excess, axis=0)[-(len(excess) // TWENTIETH) - 1]
    return {
        "beyond": float(100 * beyond.mean()),
        "excess_PSNR": float(psnr) if math.isfinite(psnr) else None,
        "excess_SSIM": float(ssim),
    }
