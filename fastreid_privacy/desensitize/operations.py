"""Blur, pixelation, noise and mask as pure functions on batches.

Every function takes N×3×H×W RGB images of 0–255 on any device, works in float32 there, also under autocast,
and returns what it was given: uint8 (rounded, halves to the even level) for uint8, float32 (not rounded) for
any float type.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.images import to_bytes
from .lines import blur_rows_and_columns
from .noise_stream import standard_normal

MID_GREY = 127.5


def _on_batches(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function of float32 images take float or uint8, run outside autocast, and return that kind."""

    @wraps(function)
    def wrapper(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise ValueError(f"images must be N×3×H×W, not {'×'.join(map(str, images.shape))}")
        if not (images.is_floating_point() or images.dtype == torch.uint8):
            raise ValueError(f"images must be float or uint8, not {images.dtype}")
        with torch.autocast(images.device.type, enabled=False):
            result = function(images.float(), *args, **kwargs)
        return result if images.is_floating_point() else to_bytes(result)

    return wrapper


@_on_batches
def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian.

    The kernel is separable, cut off at 4 sigma (radius ``int(4 * sigma + 0.5)``) and renormalized. Borders
    are mirrored without repeating the edge pixel (OpenCV's BORDER_REFLECT_101, scipy's "mirror"), as often as
    the radius asks for, so that any sigma works on any size. Memory and work are bounded (:mod:`.lines`).

    Args:
        images: N×3×H×W RGB, 0–255, float or uint8.
        sigma: Standard deviation in pixels; the paper's blur is 12 at a height of 256.

    Returns:
        The blurred images, same shape and kind.

    Raises:
        ValueError: Wrong images, or ``sigma`` is not positive.

    Example:
        >>> gaussian_blur(torch.full((1, 3, 8, 4), 50, dtype=torch.uint8), sigma=3.0).unique().tolist()
        [50]
    """
    check_sigma(sigma)
    return blur_rows_and_columns(images, sigma)


@_on_batches
def pixelate(images: Tensor, block: int, reduce: str = "mean") -> Tensor:
    """Give every block of pixels one colour.

    Blocks are laid from the top left corner; the last row and column of blocks are smaller where ``block``
    does not divide the size.

    Args:
        images: N×3×H×W RGB, 0–255, float or uint8.
        block: Side of a block in pixels; the paper's pixelation is 24 at a height of 256.
        reduce: "mean" of the block, or its top-left pixel, "corner", as the paper's reference implementation
            does.

    Returns:
        The pixelated images, same shape and kind.

    Raises:
        ValueError: Wrong images, ``block`` is no whole number of at least 1, or ``reduce`` is unknown.

    Example:
        >>> ramp = torch.arange(3.0).expand(1, 3, 1, 3)
        >>> pixelate(ramp, 2)[0, 0, 0].tolist(), pixelate(ramp, 2, reduce="corner")[0, 0, 0].tolist()
        ([0.5, 0.5, 2.0], [0.0, 0.0, 2.0])
    """
    check_block(block)
    check_reduce(reduce)
    height, width = images.shape[2:]
    block = int(min(block, max(height, width)))
    if reduce == "corner":
        colours = images[:, :, ::block, ::block]
    else:
        # ceil_mode keeps the ragged last blocks, and divides each by the pixels that it has.
        colours = nn.functional.avg_pool2d(images, (min(block, height), min(block, width)), ceil_mode=True)
    rows, columns = (torch.arange(side, device=images.device) // block for side in (height, width))
    return colours[:, :, rows][..., columns]


@_on_batches
def gaussian_noise(images: Tensor, std: float, seeds: Sequence[int] | Tensor | None = None) -> Tensor:
    """Add Gaussian noise, independent for every pixel and channel, and clip to 0–255.

    Args:
        images: N×3×H×W RGB, 0–255, float or uint8.
        std: Standard deviation as a fraction of the value range: 0.5, the paper's, is 127.5 levels.
        seeds: One whole number per image, of at most 256 bits. The noise of an image then depends on its seed
            and its size only, not on its batch or device, and comes from a cryptographic stream
            (:mod:`.noise_stream`): a secret seed of 128 bits or more keeps the noise secret. None draws from
            the default generator of the images' device, which keeps no secret.

    Returns:
        The noisy images, same shape and kind.

    Raises:
        ValueError: Wrong images, ``std`` is negative, or there is not one such seed per image.

    Example:
        >>> grey = torch.full((2, 3, 8, 4), 127.5)
        >>> alone = gaussian_noise(grey[:1], 0.1, seeds=[7])
        >>> together = gaussian_noise(grey, 0.1, seeds=[3, 7])
        >>> bool((alone[0] == together[1]).all())
        True
    """
    check_std(std)
    if seeds is None:
        noise = torch.randn_like(images)
    else:
        seeds = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
        if len(seeds) != len(images):
            raise ValueError(f"{len(images)} images need as many seeds, not {len(seeds)}")
        noise = torch.empty(images.shape)
        for image_noise, seed in zip(noise, seeds, strict=True):
            values = standard_normal(operator.index(seed), image_noise.numel())
            image_noise[:] = torch.from_numpy(values).view(image_noise.shape)
        noise = noise.to(images.device)
    return (images + noise * (std * 255)).clamp(0, 255)


@_on_batches
def mask_out(images: Tensor, region: Sequence[float] | None = None) -> Tensor:
    """Cover a rectangle, or the whole image, with mid grey: 127.5, which is 128 in uint8.

    Mid grey is 0 in the networks' range of [−1, 1], and the level from which the expected error to an unknown
    image is smallest.

    Args:
        images: N×3×H×W RGB, 0–255, float or uint8.
        region: (top, left, height, width) as fractions of the image's sides; every pixel that the rectangle
            touches is covered. None covers everything.

    Returns:
        The masked images, same shape and kind.

    Raises:
        ValueError: Wrong images, or ``region`` is not a rectangle inside the image.

    Example:
        >>> mask_out(torch.zeros(1, 3, 2, 2), region=(0, 0, 0.5, 1))[0, 0].tolist()
        [[127.5, 127.5], [0.0, 0.0]]
    """
    check_region(region)
    top, left, height, width = (0, 0, 1, 1) if region is None else region
    rows, columns = _span(top, height, images.shape[2]), _span(left, width, images.shape[3])
    masked = images.clone()
    masked[:, :, rows, columns] = MID_GREY
    return masked


def _span(start: float, length: float, side: int) -> slice:
    """The pixels of a side that an interval in fractions touches, at least one.

    1e-6 pixels forgive sums such as 0.1 + 0.2.
    """
    first = min(int(start * side + 1e-6), side - 1)
    last = int(np.ceil((start + length) * side - 1e-6))
    return slice(first, max(last, first + 1))


def check_sigma(sigma: float) -> None:
    """Refuse a blur that is none."""
    if not 0 < sigma < float("inf"):
        raise ValueError(f"the blur's sigma must be positive, not {sigma}")


def check_block(block: int) -> None:
    """Refuse a block that is no whole number of pixels."""
    if block < 1 or block != int(block):
        raise ValueError(f"the pixelation's block must be a whole number of at least 1, not {block}")


def check_reduce(reduce: str) -> None:
    """Refuse an unknown way to colour a block."""
    if reduce not in ("mean", "corner"):
        raise ValueError(f"the pixelation's reduce must be mean or corner, not {reduce!r}")


def check_std(std: float) -> None:
    """Refuse a negative or endless noise."""
    if not 0 <= std < float("inf"):
        raise ValueError(f"the noise's std must be 0 or positive, not {std}")


def check_region(region: Sequence[float] | None) -> None:
    """Refuse a rectangle that does not lie inside the image."""
    if region is None:
        return

    def fits(start: float, length: float) -> bool:
        return start >= 0 and length > 0 and start + length <= 1 + 1e-9

    if len(region) != 4 or not all(map(fits, region[:2], region[2:])):
        raise ValueError(
            "the mask's region must be (top, left, height, width) in fractions of the image, not "
            f"{tuple(region)}"
        )
