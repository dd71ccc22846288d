"""The guard: no protected image shows more of the raw one than its desensitized image, but for ε.

A trained anonymizer meets the thresholds of the upgrade rule on average, and single images may show more. An
image that does is blended towards the desensitized one: as much of the anonymizer's image is kept as the
thresholds allow, in whole percents, measured as the file stores it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.images import quantize
from ..evaluation.image_quality import Shown, shown_by
from ..evaluation.similarity import SimilarityTo
from ..model.storage import ImageStorage
from ..model.supervision import Thresholds

WHOLE = 100  # percent
STEP = 10  # percent, of the search from the top


class Held(NamedTuple):
    """Images that hold the thresholds, each by itself.

    Attributes:
        images: N×3×H×W, whole levels 0–255, to be stored.
        kept: N whole percents: how much of the anonymizer's image is in them.
        before: what the anonymizer's images show.
        after: what these show.
    """

    images: Tensor
    kept: Tensor
    before: Shown
    after: Shown


@torch.no_grad()
def hold(
    raw: Tensor, protected: Tensor, desensitized: Tensor, storage: ImageStorage, thresholds: Thresholds
) -> Held:
    """Blend each protected image that shows too much towards its desensitized one.

    The share is looked for from the top in steps of ten percents, then halved between the first that holds
    and the one above: a share that holds in between two steps that do not is passed over. The desensitized
    image itself always counts as one that holds.

    Args:
        raw: N×3×H×W, 0–255, H and W at least 11.
        protected: of the anonymizer; rounded to 8 bits first, as the desensitized ones.
        desensitized: those that the anonymizer's images are held against.
        storage: the files' format; what counts is what it keeps.
        thresholds: ε_psnr in dB and ε_ssim.
    """
    ours, theirs, likeness = quantize(protected), quantize(desensitized), SimilarityTo(raw)

    def shown(rows: Tensor, images: Tensor) -> Shown:
        return shown_by(storage(images), likeness.of(rows))[0]

    def blended(rows: Tensor, percent: Tensor) -> Tensor:
        share = percent.view(-1, 1, 1, 1)
        return quantize((ours[rows] * share + theirs[rows] * (WHOLE - share)) / WHOLE)

    every = torch.arange(len(raw), device=raw.device)
    allowed = shown(every, theirs)
    before = shown(every, ours)
    kept, after = torch.full_like(every, WHOLE), Shown(before.psnr.clone(), before.ssim.clone())

    def holds(rows: Tensor, found: Shown) -> Tensor:
        limit = allowed.of(rows)
        return (found.psnr < limit.psnr + thresholds.psnr) & (found.ssim < limit.ssim + thresholds.ssim)

    def tried(rows: Tensor, percent: Tensor) -> Tensor:
        """Keep so much of these images where that holds; which of them do."""
        found = shown(rows, blended(rows, percent))
        held = holds(rows, found)
        kept[rows[held]] = percent[held]
        after.put(rows[held], found.of(held))
        return held

    beyond = every[~holds(every, before)]
    kept[beyond] = 0
    after.put(beyond, allowed.of(beyond))
    above = torch.full_like(kept, STEP)  # the least share that is known not to hold
    left = beyond
    for percent in range(WHOLE - STEP, 0, -STEP):
        if not len(left):
            break
        held = tried(left, torch.full_like(left, percent))
        above[left[held]] = percent + STEP
        left = left[~held]
    while len(open_ := beyond[above[beyond] - kept[beyond] > 1]):
        middle = (above[open_] + kept[open_]) // 2
        held = tried(open_, middle)
        above[open_[~held]] = middle[~held]
    images = ours
    images[beyond] = blended(beyond, kept[beyond])
    return Held(images, kept, before, after)


class Guard:
    """Holds images to thresholds, and counts what that did, for the end of a run; for several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blended: list[tuple[float, float, float, float]] = []

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        """In another process it counts anew."""
        return Guard, ()

    def count(self, held: Held, wanted: Sequence[int]) -> None:
        """Note the images that were blended.

        Args:
            held: of a batch.
            wanted: places of the batch that have an image.
        """
        kept = held.kept.tolist()
        rows = [place for place in wanted if kept[place] < WHOLE]
        figures = torch.stack([*held.before, *held.after], dim=1)[rows].tolist()
        with self.lock:
            self.blended += [(before, ssim, after, other) for before, ssim, after, other in figures]

    def take(self) -> list[tuple[float, float, float, float]]:
        """The figures that were noted, which are given away: another guard counts them."""
        with self.lock:
            taken, self.blended = self.blended, []
        return taken

    def told(self, kept: Sequence[float]) -> str:
        """What the guard did, in a line.

        Args:
            kept: of all images, or boxes, that are there: the share of the anonymizer's image.
        """
        blended = [share for share in kept if share < 1]
        text = f"guard: {len(blended):,} of {len(kept):,} images showed more than the thresholds allow"
        if not blended:
            return text
        mean = sum(blended) / len(blended)
        text += (
            f", and were blended towards their desensitized images: {mean:.0%} of the anonymizer's image is "
            f"kept on average, {min(blended):.0%} at least"
        )
        if self.blended:
            psnr, ssim, psnr_now, ssim_now = (
                sum(column) / len(column) for column in zip(*self.blended, strict=True)
            )
            some = "" if len(self.blended) == len(blended) else f" (of the {len(self.blended):,} of this run)"
            text += f"; mean PSNR {psnr:.2f} → {psnr_now:.2f} dB, SSIM {ssim:.3f} → {ssim_now:.3f}{some}"
        return text
