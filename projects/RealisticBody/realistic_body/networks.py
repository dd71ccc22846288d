"""The networks: what fills a person in, what finds their joints, and what only training needs.

The U-Net (:mod:`.generator`) sees what is around the region, the region, and a map for each joint; the latent
z tells who is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_privacy.core.images import to_levels, to_unit
from fastreid_privacy.tasks.networks import Maps

from .generator import GROUPS, StyledUNet
from .windows import ROOM

SPREAD = 0.03  # of the height: standard deviation of a joint in its map
SMALLEST, LARGEST = 16, 512  # sides of a network's images
MOST_WIDTH, MOST_LATENT, MOST_JOINTS = 256, 256, 64


@dataclass(frozen=True)
class Shape:
    """What a body network is, beside its weights.

    Attributes:
        part: "full_body" or "head": what it fills.
        size: (height, width) of its images; each halves 4 times at least.
        width: channels of the U-Net at the full size, a multiple of 4.
        latent: how many numbers z has.
        joints: their names, in the order of the maps; none: it knows no joints.

    Raises:
        ValueError: saying what is wrong.
    """

    part: str
    size: tuple[int, int]
    width: int
    latent: int
    joints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.part not in ROOM:
            raise ValueError(f"the part is {self.part!r}; it is {' or '.join(ROOM)}")
        sides = list(self.size)
        whole = len(sides) == 2 and all(type(side) is int and side % SMALLEST == 0 for side in sides)
        if not whole or not all(SMALLEST <= side <= LARGEST for side in sides):
            raise ValueError(
                f"the size is {sides}; it is a height and a width, multiples of {SMALLEST} up to {LARGEST}"
            )
        for name, most in (("width", MOST_WIDTH), ("latent", MOST_LATENT)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"the {name} is {value!r}; it is a whole number from 1 to {most}")
        if self.width % GROUPS:
            raise ValueError(f"the width is {self.width}; it is a multiple of {GROUPS}")
        names = self.joints
        if len(names) > MOST_JOINTS or len(set(names)) < len(names) or not all(type(x) is str for x in names):
            raise ValueError(f"the joints must be different words, {MOST_JOINTS} at most")

    def described(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "size": list(self.size), "joints": list(self.joints)}


class BodyNetwork(nn.Module):
    """Fills the region of a person in: what a file of this project holds.

    Args:
        shape: what it is.

    Attributes:
        pose: the network that finds joints; None where it knows none.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.generator = StyledUNet(3 + 1 + len(shape.joints), shape.latent, shape.width)
        self.pose = Maps(len(shape.joints)) if shape.joints else None

    def forward(self, around: Tensor, regions: Tensor, joints: Tensor, latent: Tensor) -> Tensor:
        """Fill people in.

        Args:
            around: N×3×h×w, RGB, 0–255; what it has inside of the regions is not looked at.
            regions: N×1×h×w, 0 or 1.
            joints: N×K×h×w, 0 to 1: :func:`joint_maps`.
            latent: N×Z.

        Returns:
            N×3×h×w, 0–255: ``around``, and inside of the regions the new people.
        """
        made = self.generator(condition(around, regions, joints), latent)
        return torch.where(regions > 0, to_levels(made), around)

    @torch.no_grad()
    def found_joints(self, raw: Tensor) -> Tensor:
        """The maps of the joints that are found in raw windows: N×3×h×w, 0–255 → N×K×h×w, 0 to 1.

        Of the raw pixels a place for each joint goes on, and nothing else.
        """
        if self.pose is None:
            return raw.new_zeros(len(raw), 0, *raw.shape[2:])
        places = self.pose(raw).flatten(2).argmax(2)
        width = raw.shape[3]
        return joint_maps(torch.stack([places % width, places // width], dim=2), self.shape.size)


def condition(around: Tensor, regions: Tensor, joints: Tensor) -> Tensor:
    """What generator and discriminator are told: N×(4+K)×h×w in [−1, 1]; arguments as of the network."""
    return torch.cat([to_unit(around) * (1 - regions), regions, joints], dim=1)


def joint_maps(points: Tensor, size: Sequence[int], known: Tensor | None = None) -> Tensor:
    """A small Gaussian at the place of each joint, 1 in its middle.

    Args:
        points: N×K×2, x and y in pixels.
        size: (height, width).
        known: N×K, 0 or 1; the map of an unknown joint is empty. None: all are known.

    Returns:
        N×K×height×width, 0 to 1.
    """
    across, down = (
        torch.exp(
            -((torch.arange(side, device=points.device) - points[..., axis, None].float()) ** 2) / spread
        )
        for axis, side in ((0, size[1]), (1, size[0]))
        for spread in [2 * (SPREAD * size[0]) ** 2]
    )
    maps = down[..., :, None] * across[..., None, :]
    return maps if known is None else maps * known[..., None, None]
