"""Small networks that a CPU trains in a minute; they take images of any size, 0–255.

Groups of channels are normed within each image, not over a batch: a network that learned from protected
images then does not carry their mean and contrast along to raw ones. The first layer has no norm, or nothing
would know how bright an image is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from ..core.images import to_unit

WIDTHS = (8, 16, 32, 64)  # channels at 1/2, 1/4, 1/8 and 1/16 of the size
GROUPS = 4
STRIPES = 4  # a person from head to foot


class Encoder(nn.Module):
    """N×3×H×W, 0–255 → features at 1/2, 1/4, 1/8 and 1/16 of the size, rounded up to multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(_layer(above, width, stride=2, norm=above != 3), _layer(width, width))
            for above, width in zip((3, *WIDTHS), WIDTHS, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features, the largest first."""
        step = 2 ** len(WIDTHS)
        height, width = images.shape[2:]
        features = pad(to_unit(images), (0, -width % step, 0, -height % step), mode="replicate")
        found = []
        for level in self.levels:
            features = level(features)
            found.append(features)
        return found


class Maps(nn.Module):
    """A U-Net: N×3×H×W, 0–255 → N×C×H×W of any value.

    Args:
        count: C, how many maps.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.up = nn.ModuleList(
            _layer(below + width, width) for below, width in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.grow = nn.Sequential(
            nn.Conv2d(WIDTHS[0], 4 * WIDTHS[0], kernel_size=1), nn.PixelShuffle(2), nn.ReLU()
        )
        self.head = nn.Conv2d(WIDTHS[0] + 3, count, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """The maps, one value for each pixel."""
        *skips, features = self.encoder(images)
        for layer in self.up:
            features = layer(torch.cat([interpolate(features, scale_factor=2), skips.pop()], dim=1))
        height, width = images.shape[2:]
        return self.head(torch.cat([self.grow(features)[..., :height, :width], to_unit(images)], dim=1))


class Classifier(nn.Module):
    """N×3×H×W, 0–255 → for each attribute N×kinds, the larger the likelier.

    Args:
        kinds: how many each attribute has.
    """

    def __init__(self, kinds: list[int]) -> None:
        super().__init__()
        self.kinds = kinds
        self.encoder = Encoder()
        # from stripes: a shirt and a pair of trousers are told apart by where they are
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d((STRIPES, 1)), nn.Flatten())
        self.head = nn.Linear(STRIPES * WIDTHS[-1], sum(kinds))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The values of the kinds of each attribute."""
        return list(self.head(self.pool(self.encoder(images)[-1])).split(self.kinds, dim=1))


def _layer(above: int, width: int, stride: int = 1, norm: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(above, width, kernel_size=3, stride=stride, padding=1, bias=not norm)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, width) if norm else nn.Identity(), nn.ReLU())
