"""The fading of images into noise under the constraint of features (arXiv 2408.05543).

Each image moves towards an image of noise η as far as the features of a frozen Re-ID model f allow::

    min ‖x' − η‖²   subject to   mean over the features of (f(x') − f(x))² ≤ ε

by two operations that take turns: where the constraint is met, the next share of the pixels is replaced by
those of η; where it is not, x' takes a step against the gradient of the constraint. In the end no pixel of
the raw image is left: what the iterations did not reach is replaced too, whatever becomes of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastreid_privacy.desensitize.noise_stream import standard_normal

MEAN, STD = 127.5, 64.0  # of the noise, in levels
TINY = 1e-20  # in place of a slope of nothing
MOMENTUM = 0.8  # of the steps against the gradient

Features = Callable[[Tensor], Tensor]
"""N×3×H×W float32, RGB 0–255, to N×D, with a gradient."""


def noise_and_order(shape: Sequence[int], seeds: Sequence[int] | Tensor | None) -> tuple[Tensor, Tensor]:
    """The image of noise, and the order in which it replaces the pixels.

    Args:
        shape: (N, 3, H, W) of the images.
        seeds: one whole number of at most 256 bits per image, which alone tells its noise; None: torch's
            default generator.

    Returns:
        N×3×H×W float32, whole numbers 0–255; N×1×H×W, the place of each pixel in the order, from 0 to 1.
    """
    count, channels, height, width = shape
    pixels = height * width
    wanted = (count, (channels + 1) * pixels)
    if seeds is None:
        drawn = torch.randn(wanted)
    else:
        values = [torch.from_numpy(standard_normal(int(seed), wanted[1])) for seed in seeds]
        drawn = torch.stack(values) if values else torch.empty(wanted)
    noise = (drawn[:, :-pixels] * STD + MEAN).round().clamp(0, 255)
    order = drawn[:, -pixels:].argsort(dim=1).argsort(dim=1) / pixels
    return noise.view(count, channels, height, width), order.view(count, 1, height, width)


@torch.inference_mode(False)  # under it enable_grad does nothing
@torch.no_grad()
def fade(
    images: Tensor,
    noise: Tensor,
    order: Tensor,
    features: Features,
    *,
    mse: float,
    iterations: int,
    share: float,
) -> Tensor:
    """Images as near to noise as the constraint lets them come.

    What is looked at, and given back, has whole levels, as a file of 8 bits keeps them.

    Args:
        images: N×3×H×W, RGB 0–255.
        noise, order: of :func:`noise_and_order`.
        features: of the frozen model.
        mse: ε, the most that a feature may differ by, squared, on average.
        iterations: how often the features of all images are looked at.
        share: of the pixels, replaced at a time.

    Returns:
        N×3×H×W float32, whole numbers 0–255: of each image the last that met the constraint; the pixels that
        were not replaced in it are noise.
    """
    images, noise, order = images.clone(), noise.clone(), order.clone()  # a gradient may need them
    kept = images.float().round().clamp(0, 255)
    if not len(kept):
        return kept
    wanted = features(kept)
    moving, speed = kept.clone(), torch.zeros_like(kept)
    # of the pixels, replaced so far: in what is looked at, and in what is kept; 1 more with each round
    replaced = torch.zeros(len(kept), 1, 1, 1, device=kept.device)
    reached = replaced.clone()
    for _ in range(iterations):
        looked_at = moving.round().requires_grad_()
        with torch.enable_grad():
            distance = (features(looked_at) - wanted).square().mean(dim=1)
            (slope,) = torch.autograd.grad(distance.sum(), looked_at)
        distance = distance.detach()[:, None, None, None]
        met = distance <= mse
        kept, reached = torch.where(met, looked_at.detach(), kept), torch.where(met, replaced, reached)
        # as far as the slope says that the distance ends (Polyak), and on with the speed of the steps before
        step = slope * distance / slope.square().sum((1, 2, 3), keepdim=True).clamp_min(TINY)
        speed = torch.where(met, torch.zeros_like(speed), MOMENTUM * speed + step)
        next_ones = (order - replaced) % 1 < share
        moving = torch.where(met, torch.where(next_ones, noise, moving), (moving - speed).clamp(0, 255))
        replaced = replaced + share * met
    return torch.where(order < reached, kept, noise)


def feature_distance(images: Tensor, others: Tensor, features: Features) -> Tensor:
    """The mean squared difference of the features of pairs of images: N."""
    with torch.no_grad():
        return (features(images.float()) - features(others.float())).square().mean(dim=1)
