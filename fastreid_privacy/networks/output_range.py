"""The range of what a generator makes, where no Tanh bounds it."""

from __future__ import annotations

from torch import Tensor


def within_range(images: Tensor) -> Tensor:
    """Images cut to [−1, 1], of any shape; the gradient passes straight through the cut.

    So a value beyond the range can still be pulled back.
    """
    return images + (images.clamp(-1, 1) - images).detach()
