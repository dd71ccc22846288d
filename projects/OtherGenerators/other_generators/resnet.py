"""The ResNet generator of CycleGAN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastreid_privacy.networks import GENERATOR_REGISTRY, initialize, within_range

from .sizes import check_options, check_size

NAME = "ResNet generator"
STEP, SMALLEST = 4, 8  # the image is halved twice; then a reflected border needs two pixels
FEW_BLOCKS, MANY_BLOCKS, LARGE = 6, 9, 256  # residual blocks, where DEPTH is 0; pixels of a side


@GENERATOR_REGISTRY.register()
class ResNetGenerator(nn.Module):
    """ResNet generator: N×3×H×W in [−1, 1] → N×3×H×W in [−1, 1]; N×6×H×W by option.

    A 7×7 convolution, two 3×3 convolutions of stride 2, residual blocks of two 3×3 convolutions, two
    transposed convolutions of stride 2, and a 7×7 convolution with Tanh. Borders are reflected where nothing
    changes size; every convolution but the last is followed by InstanceNorm without weights. ReLU follows,
    but for the end of a residual block.

    Unlike the U-Net it has no skips: all detail goes through the residual blocks, at a quarter of the size.
    And it does not see brightness and contrast: the first norm makes an image and a darker copy of it equal.

    Args:
        width: Channels of the first layer; the residual blocks have four times as many.
        depth: Number of residual blocks, at least 1.
        in_channels: 3, or 6 for a raw image and a desensitized one. With 6, the output is the desensitized
            image, changed by what the network makes, within [−1, 1], as the U-Net's.

    Raises:
        UserError: (from ``forward``) The network cannot take the size of the images.

    Reference: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks,
    ICCV 2017, section 4 and appendix 7.2. Convolutions before a norm have no bias here, for the norm would
    take it out again.

    Example:
        >>> ResNetGenerator(width=4, depth=2)(torch.zeros(1, 3, 128, 64)).shape
        torch.Size([1, 3, 128, 64])
    """

    def __init__(self, width: int = 64, depth: int = MANY_BLOCKS, in_channels: int = 3) -> None:
        super().__init__()
        assert depth >= 1
        self.changes_second = in_channels == 6
        self.layers = nn.Sequential(
            _reflected(in_channels, width, 7),
            *_norm_and_relu(width),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False),
            *_norm_and_relu(2 * width),
            nn.Conv2d(2 * width, 4 * width, kernel_size=3, stride=2, padding=1, bias=False),
            *_norm_and_relu(4 * width),
            *(_ResidualBlock(4 * width) for _ in range(depth)),
            _doubled(4 * width, 2 * width),
            *_norm_and_relu(2 * width),
            _doubled(2 * width, width),
            *_norm_and_relu(width),
            _reflected(width, 3, 7, bias=True),
        )
        self.apply(initialize)

    @classmethod
    def from_options(cls, options: Any, size: tuple[int, int], in_channels: int = 3) -> ResNetGenerator:
        """Build from a config node with ``WIDTH`` and ``DEPTH`` (residual blocks).

        ``DEPTH`` 0 is CycleGAN's choice: 9 blocks where both sides are at least 256 pixels, else 6.

        Args:
            options: the node.
            size: (height, width) of the images, pixels.
            in_channels: 3, or 6 for a raw image and a desensitized one, of which the output is a change.

        Raises:
            UserError: The network cannot take the size, or the options are out of bounds.
        """
        check_options(NAME, options)
        check_size(NAME, size, STEP, SMALLEST)
        blocks = MANY_BLOCKS if min(size) >= LARGE else FEW_BLOCKS
        return cls(options.WIDTH, options.DEPTH or blocks, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images: N×C×H×W in [−1, 1] → N×3×H×W in [−1, 1]."""
        check_size(NAME, (images.shape[-2], images.shape[-1]), STEP, SMALLEST)
        made = torch.tanh(self.layers(images))
        return within_range(images[:, -made.shape[1] :] + made) if self.changes_second else made


class _ResidualBlock(nn.Module):
    """An image, and what two convolutions add to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _reflected(channels, channels, 3),
            *_norm_and_relu(channels),
            _reflected(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def _reflected(in_channels: int, out_channels: int, side: int, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size, beyond whose borders the image is reflected."""
    return nn.Conv2d(in_channels, out_channels, side, padding=side // 2, padding_mode="reflect", bias=bias)


def _doubled(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """A convolution that doubles the size."""
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False
    )


def _norm_and_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.ReLU()
