"""The conditional PatchGAN of pix2pix, which judges every 70×70 patch of an image for itself (eqs. 1–6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from .initialization import initialize
from .registry import DISCRIMINATOR_REGISTRY

MAX_WIDENING = 8
MAX_WIDTH = 512  # a file's config may ask for all memory


@DISCRIMINATOR_REGISTRY.register()
class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator: (condition, image), N×3×H×W in [−1, 1] → N×1×h×w logits, positive for "real".

    ``layers`` 4×4 convolutions of stride 2, then two of stride 1, with BatchNorm except on the first and the
    last and LeakyReLU(0.2) between them. With 3 layers a logit sees 70×70 pixels, h is H // 8 − 2 and w is
    W // 8 − 2.

    Args:
        in_channels: Channels of condition and image together.
        width: Channels of the first layer; layer i has ``width * min(2**i, 8)``.
        layers: Number of convolutions of stride 2.

    Raises:
        UserError: (from ``forward``) The images are too small for a single logit.

    Reference: Isola et al., CVPR 2017, section 3.2.2 and appendix 6.1.

    Example:
        >>> image = torch.zeros(2, 3, 128, 64)
        >>> PatchDiscriminator(width=8)(image, image).shape
        torch.Size([2, 1, 14, 6])
    """

    def __init__(self, in_channels: int = 6, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.min_side = 3 * 2**layers
        channels = [width * min(2**level, MAX_WIDENING) for level in range(layers + 1)]
        stages: list[nn.Module] = [
            nn.Conv2d(in_channels, channels[0], kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            before, after = channels[level - 1], channels[level]
            stages += [
                nn.Conv2d(before, after, kernel_size=4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        stages.append(nn.Conv2d(channels[layers], 1, kernel_size=4, stride=1, padding=1))
        self.stages = nn.Sequential(*stages)
        self.apply(initialize)

    @classmethod
    def from_options(cls, options: Any) -> PatchDiscriminator:
        """Build from a config node with ``WIDTH``.

        Raises:
            UserError: ``WIDTH`` is out of bounds.
        """
        if not 1 <= options.WIDTH <= MAX_WIDTH:
            raise UserError(
                f"PRIVACY.DISCRIMINATOR.WIDTH is {options.WIDTH}; it lies between 1 and {MAX_WIDTH}"
            )
        return cls(width=options.WIDTH)

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        """Judge images given the images they were made from: two N×3×H×W in [−1, 1] → N×1×h×w logits."""
        height, width = image.shape[-2:]
        if min(height, width) < self.min_side:
            raise UserError(
                f"images of {height}×{width} are too small for the discriminator: both sides of "
                f"INPUT.SIZE_TRAIN must be at least {self.min_side} pixels"
            )
        return self.stages(torch.cat([condition, image], dim=1))
