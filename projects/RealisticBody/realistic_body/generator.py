"""A U-Net whose way up is styled by a latent: each of its layers is normed, then scaled and shifted by z.

A z that is only laid beside the input is soon ignored by a U-Net, for the surroundings say more; here nothing
leaves a layer of the way up without it, as in DeepPrivacy2 and StyleGAN.

Reference: Huang and Belongie, Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization,
ICCV 2017, equation 8.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

WIDENING = (1, 2, 4, 4, 4)  # channels by level, times the width; level i has 1 / 2^i of the size
GROUPS = 4
STYLE = 64  # numbers between z and the layers


class StyledUNet(nn.Module):
    """Images with C channels and latents to images: N×C×h×w and N×Z to N×3×h×w in [−1, 1].

    3×3 convolutions, of stride 2 on the way down; both sides of the images are multiples of 16.

    Args:
        in_channels: C.
        latent: Z.
        width: channels at the full size.
    """

    def __init__(self, in_channels: int, latent: int, width: int):
        super().__init__()
        channels = [width * more for more in WIDENING]
        self.first = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(above, below, 3, stride=2, padding=1) for above, below in pairwise(channels)
        )
        self.style = nn.Sequential(nn.Linear(latent, STYLE), nn.LeakyReLU(0.2), nn.Linear(STYLE, STYLE))
        self.inner = _Styled(channels[-1], channels[-1])
        self.up = nn.ModuleList(
            _Styled(below + above, above)
            for above, below in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], 3, 3, padding=1)

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """The images that z makes of what is given."""
        skips = [leaky_relu(self.first(images), 0.2)]
        for layer in self.down:
            skips.append(leaky_relu(layer(skips[-1]), 0.2))
        style = self.style(latents)
        features = self.inner(skips.pop(), style)
        for layer in self.up:
            features = layer(torch.cat([interpolate(features, scale_factor=2), skips.pop()], dim=1), style)
        return torch.tanh(self.last(features))


class _Styled(nn.Module):
    """A 3×3 convolution, groups of its channels normed within each image, scaled and shifted by a style."""

    def __init__(self, above: int, width: int):
        super().__init__()
        self.convolution = nn.Conv2d(above, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width, affine=False)
        self.by_style = nn.Linear(STYLE, 2 * width)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.by_style(style)[..., None, None].chunk(2, dim=1)
        return leaky_relu(self.norm(self.convolution(features)) * (1 + scale) + shift, 0.2)
