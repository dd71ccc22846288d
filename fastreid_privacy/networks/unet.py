"""The pix2pix U-Net: anonymizer and recovery decoder (sections 3.1, 3.2 and 4.2).

Every down layer halves the image, every up layer doubles it and sees, besides the layer below, the features
of the same size from the way down. Those skips are what lets an anonymized image carry the detail that
recovery needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from .initialization import initialize
from .output_range import within_range
from .registry import GENERATOR_REGISTRY

MIN_DEPTH, MAX_DEPTH = 2, 16  # 16 halvings: sides of 65,536 pixels
MAX_WIDTH = 512  # 3 thousand million weights; a file's config may ask for all memory
MAX_WIDENING = 8


def halvings(height: int, width: int) -> int:
    """How often both sides of an image halve evenly, down to a side of 1.

    Example:
        >>> halvings(256, 128), halvings(128, 64), halvings(200, 100)
        (7, 6, 2)
    """
    count = 0
    while height > 1 and width > 1 and height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count


def check_size(height: int, width: int, depth: int) -> None:
    """Make sure that a U-Net of a depth can take images of a size.

    Raises:
        UserError: A side is no multiple of 2^depth; the message names the nearest sizes that are.
    """
    step = 2**depth
    if height % step == 0 and width % step == 0 and height and width:
        return
    smaller = "×".join(str(max(side // step, 1) * step) for side in (height, width))
    larger = "×".join(str(max(-(-side // step), 1) * step) for side in (height, width))
    fitting = halvings(height, width)
    shallower = ""
    if fitting >= MIN_DEPTH:
        shallower = f", or set PRIVACY.ANONYMIZER.DEPTH and PRIVACY.RECOVERY.DEPTH to at most {fitting}"
    raise UserError(
        f"images of {height}×{width} cannot be halved {depth} times by the U-Net: set INPUT.SIZE_TRAIN and "
        f"INPUT.SIZE_TEST to {' or '.join(dict.fromkeys([smaller, larger]))}{shallower}"
    )


@GENERATOR_REGISTRY.register()
class UNetGenerator(nn.Module):
    """U-Net generator: N×3×H×W in [−1, 1] → N×3×H×W in [−1, 1]; other channels by option.

    4×4 convolutions of stride 2 with BatchNorm, LeakyReLU(0.2) on the way down and ReLU on the way up, Tanh
    at the end; no dropout. The first and the innermost down layer have no norm: the first sees the image
    itself, and the innermost may be a single value per image, which a norm over a batch of one would erase.

    Args:
        width: Channels of the first layer; layer i has ``width * min(2**i, 8)``.
        depth: How often the image is halved; both sides must be multiples of 2^depth.
        in_channels: Channels of the input image.
        out_channels: Channels of the output image.
        changes_second: Whether the output is the last ``out_channels`` of the input, changed by what the
            network makes, within [−1, 1]. A new network changes little: an anonymizer that sees noisy images
            begins with these, and need not learn first to copy noise through its layers.

    Raises:
        UserError: ``depth`` is under 2, or (from ``forward``) the image does not fit it.

    Reference: Isola et al., CVPR 2017, appendix 6.1; depth 7 at 256×128 as the paper's section 4.2 follows
    it.

    Example:
        >>> UNetGenerator(width=8, depth=6)(torch.zeros(1, 3, 128, 64)).shape
        torch.Size([1, 3, 128, 64])
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 7,
        in_channels: int = 3,
        out_channels: int = 3,
        changes_second: bool = False,
    ) -> None:
        super().__init__()
        if depth < MIN_DEPTH:
            raise UserError(
                f"the U-Net's depth is {depth}: PRIVACY.ANONYMIZER.DEPTH and PRIVACY.RECOVERY.DEPTH must "
                f"be 0 (as often as both sides halve) or at least {MIN_DEPTH}"
            )
        self.depth, self.changes_second = depth, changes_second
        channels = [width * min(2**level, MAX_WIDENING) for level in range(depth)]
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in range(depth):
            first, innermost = level == 0, level == depth - 1
            below = channels[level]
            above = in_channels if first else channels[level - 1]
            self.down.append(_layer(nn.Conv2d, above, below, norm=not (first or innermost)))
            # An up layer sees the layer below it and the skip of the same size; the innermost has none below.
            arriving, leaving = below if innermost else 2 * below, out_channels if first else above
            self.up.append(_layer(nn.ConvTranspose2d, arriving, leaving, norm=not first))
        self.apply(initialize)

    @classmethod
    def from_options(cls, options: Any, size: tuple[int, int], in_channels: int = 3) -> UNetGenerator:
        """Build from a config node with ``WIDTH`` and ``DEPTH`` (0: as often as both sides halve).

        Args:
            options: the node.
            size: (height, width) of the images, pixels.
            in_channels: 3, or 6 for a raw image and a desensitized one, of which the output is a change.

        Raises:
            UserError: The network cannot take the size, or the options are out of bounds.
        """
        height, width = size
        depth = options.DEPTH or max(halvings(height, width), MIN_DEPTH)
        if depth > MAX_DEPTH or not 1 <= options.WIDTH <= MAX_WIDTH:
            raise UserError(
                f"the U-Net's depth is {depth} and its width {options.WIDTH}: PRIVACY.ANONYMIZER and "
                f"PRIVACY.RECOVERY take a DEPTH of at most {MAX_DEPTH} and a WIDTH from 1 to {MAX_WIDTH}"
            )
        if depth >= MIN_DEPTH:
            check_size(height, width, depth)
        return cls(options.WIDTH, depth, in_channels, changes_second=in_channels == 6)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images: N×C×H×W in [−1, 1] → N×C'×H×W in [−1, 1]."""
        check_size(images.shape[-2], images.shape[-1], self.depth)
        skips = [self.down[0](images)]
        for layer in self.down[1:]:
            skips.append(layer(nn.functional.leaky_relu(skips[-1], 0.2)))
        features = skips.pop()
        for layer in reversed(self.up[1:]):
            features = torch.cat([skips.pop(), layer(nn.functional.relu(features))], dim=1)
        made = torch.tanh(self.up[0](nn.functional.relu(features)))
        if not self.changes_second:
            return made
        return within_range(images[:, -made.shape[1] :] + made)


def _layer(convolution: type[nn.Module], in_channels: int, out_channels: int, norm: bool) -> nn.Sequential:
    """A 4×4 convolution of stride 2; its bias is left out where a norm would take it out again."""
    layers = [convolution(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=not norm)]
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels)) if norm else nn.Sequential(*layers)
