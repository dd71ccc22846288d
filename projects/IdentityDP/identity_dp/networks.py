"""The networks: who is shown, how they are shown, and a picture of both.

:class:`IdentityEncoder` says who is shown, as a vector of length one. :class:`AttributeEncoder` says how:
pose, background and light, as a small map of a few channels. :class:`Decoder` draws the body of an identity
as the map has it. Images are N×3×H×W, RGB, in [−1, 1]; both sides are multiples of 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, normalize

from fastreid_privacy import UserError

STEP = 8  # pixels of the image for each place of the attribute code
SMALLEST, LARGEST = 16, 1024  # pixels of a side
STRIPES = 4  # bands of the body whose features are kept apart
SLOPE = 0.2  # of leaky ReLUs
BOUNDS = {"dimension": (2, 2048), "width": (4, 256), "code": (1, 64)}


@dataclass(frozen=True)
class Sizes:
    """How large images and networks are.

    Attributes:
        height, width_of_image: pixels of the images.
        dimension: d, numbers of the identity embedding.
        width: channels of the first layers.
        code: channels of the attribute code.
    """

    height: int
    width_of_image: int
    dimension: int = 64
    width: int = 12
    code: int = 8

    @property
    def image(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.height, self.width_of_image

    def check(self) -> None:
        """Refuse sizes that no network has.

        Raises:
            UserError: naming the size and what is allowed.
        """
        for side in self.image:
            if side % STEP or not SMALLEST <= side <= LARGEST:
                raise UserError(
                    f"identity_dp cannot have images of {self.height}×{self.width_of_image} (height × "
                    f"width): both sides must be multiples of {STEP} from {SMALLEST} to {LARGEST}"
                )
        for name, (least, most) in BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise UserError(
                    f"identity_dp: {name} is {getattr(self, name)}; it lies between {least} and {most}"
                )


class IdentityEncoder(nn.Module):
    """N×3×H×W in [−1, 1] → N×d, each of length one: the same for all images of a person, as far as learned.

    Args:
        width: channels of the first layer; half of it; each further stage has twice as many.
        dimension: d.
    """

    def __init__(self, width: int, dimension: int):
        super().__init__()
        channels = [2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [_normed(3, channels[0], stride=2)]
        for before, after in pairwise(channels):
            layers += [_normed(before, after, stride=2), _Residual(after)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((STRIPES, 1)), nn.Flatten())
        self.head = nn.Linear(STRIPES * channels[-1], dimension, bias=False)
        # centred, so that the embeddings of people lie all around the sphere and not to one side of it
        self.centred = nn.BatchNorm1d(dimension, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings."""
        return normalize(self.centred(self.head(self.layers(images))))


class AttributeEncoder(nn.Module):
    """N×3×H×W in [−1, 1] → N×C×H/8×W/8 in (−1, 1): the attribute code, which is meant to tell of nobody.

    Args:
        width: channels of the first layer.
        code: C.
    """

    def __init__(self, width: int, code: int):
        super().__init__()
        channels = [3, width, 2 * width, 4 * width]
        layers = [_grouped(before, after) for before, after in pairwise(channels)]
        last = nn.Conv2d(channels[-1], code, kernel_size=3, padding=1)
        self.layers = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """The codes."""
        return self.layers(images)


class Decoder(nn.Module):
    """An attribute code and an identity → the picture: N×C×h×w and N×d → N×3×8h×8w in [−1, 1].

    Args:
        width: channels of the last stage; each one before it has twice as many.
        code: C.
        dimension: d.
    """

    def __init__(self, width: int, code: int, dimension: int):
        super().__init__()
        channels = [4 * width, 4 * width, 2 * width, width]
        self.first = nn.Conv2d(code, channels[0], kernel_size=3, padding=1)
        pairs = pairwise([channels[0], *channels])
        self.stages = nn.ModuleList(_Modulated(before, after, dimension) for before, after in pairs)
        self.last = nn.Conv2d(channels[-1], 3, kernel_size=3, padding=1)

    def forward(self, code: Tensor, identity: Tensor) -> Tensor:
        """The pictures."""
        features = self.first(code)
        for number, stage in enumerate(self.stages):
            if number:
                features = interpolate(features, scale_factor=2, mode="nearest")
            features = stage(features, identity)
        return torch.tanh(self.last(features))


class IdentityNetworks(nn.Module):
    """The three networks of one model.

    Args:
        sizes: of the images and the networks.

    Raises:
        UserError: as :meth:`Sizes.check`.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        sizes.check()
        self.sizes = sizes
        self.identity = IdentityEncoder(sizes.width, sizes.dimension)
        self.attributes = AttributeEncoder(sizes.width, sizes.code)
        self.decoder = Decoder(sizes.width, sizes.code, sizes.dimension)


class _Modulated(nn.Module):
    """Two convolutions whose features the identity scales and shifts, channel by channel, and a way around.

    As adaptive instance normalisation (Huang and Belongie, 2017, eq. 8), over groups of channels: a group
    keeps how its channels differ, and so the light of the whole picture.
    """

    def __init__(self, before: int, after: int, dimension: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, after, kernel_size=3, padding=1) for channels in (before, after)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_groups(after), after, affine=False) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(dimension, 2 * after) for _ in range(2))
        self.around = nn.Conv2d(before, after, kernel_size=1) if before != after else nn.Identity()

    def forward(self, features: Tensor, identity: Tensor) -> Tensor:
        made = features
        for convolution, norm, style in zip(self.convolutions, self.norms, self.styles, strict=True):
            scale, shift = style(identity)[:, :, None, None].chunk(2, dim=1)
            made = leaky_relu(norm(convolution(made)) * (1 + scale) + shift, SLOPE)
        return self.around(features) + made


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            _normed(channels, channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return (features + self.layers(features)).relu()


def _normed(before: int, after: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _grouped(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_groups(after), after), nn.LeakyReLU(SLOPE))


def _groups(channels: int) -> int:
    return next(groups for groups in (4, 2, 1) if channels % groups == 0)
