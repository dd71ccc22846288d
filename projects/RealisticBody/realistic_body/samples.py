"""What is learned from: windows around people of raw images, with their regions and joints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastreid_privacy import UserError
from fastreid_privacy.core.images import to_bytes
from fastreid_privacy.tasks.files import Pose

from .windows import ROOM, Window, seen, windows_of

SHOWN = 0.5  # of the windows: a joint that fewer of them show is none of the network's


class Picture(NamedTuple):
    """A raw image to learn from.

    Attributes:
        pixels: uint8 H×W×3, RGB.
        regions: H×W bool each, of one person each; a region of several people is taken apart.
        pose: of the one person; None: not known.
    """

    pixels: np.ndarray
    regions: Sequence[np.ndarray]
    pose: Pose | None


@dataclass(frozen=True)
class Samples:
    """Windows at the network's size.

    Attributes:
        raw: uint8 N×3×h×w.
        around: uint8 N×3×h×w; of no meaning inside of the regions.
        regions: bool N×1×h×w.
        points: float32 N×K×2, x and y of the joints in pixels.
        visibility: uint8 N×K, as COCO counts: 0 not labelled or outside of the window.
        joints: K names.
    """

    raw: Tensor
    around: Tensor
    regions: Tensor
    points: Tensor
    visibility: Tensor
    joints: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.raw)

    def mirrored(self) -> Samples:
        """Left and right exchanged, of the joints' names, too."""
        order = [self.joints.index(other_side(name)) for name in self.joints]
        points = self.points.clone()
        points[..., 0] = self.raw.shape[3] - 1 - points[..., 0]
        flipped = (images.flip(3) for images in (self.raw, self.around, self.regions))
        return Samples(*flipped, points[:, order], self.visibility[:, order], self.joints)

    def chosen(self, indices: Tensor) -> Samples:
        """Some of them."""
        parts = (self.raw, self.around, self.regions, self.points, self.visibility)
        return Samples(*(part[indices] for part in parts), self.joints)

    @staticmethod
    def together(parts: Sequence[Samples]) -> Samples:
        """All of several."""
        fields = ("raw", "around", "regions", "points", "visibility")
        joined = (torch.cat([getattr(part, field) for part in parts]) for field in fields)
        return Samples(*joined, parts[0].joints)


def other_side(joint: str) -> str:
    """The joint that a mirror shows in this one's place."""
    if joint.startswith("left_"):
        return joint.replace("left_", "right_", 1)
    return joint.replace("right_", "left_", 1) if joint.startswith("right_") else joint


def samples_of(
    pictures: Iterable[Picture], joints: tuple[str, ...], part: str, size: tuple[int, int]
) -> Samples:
    """The windows of pictures.

    Args:
        pictures: at least one with somebody in it.
        joints: names of the joints of their poses; none: nothing is known of joints.
        part: of :data:`.windows.ROOM`.
        size: (height, width) of the network's images.

    Returns:
        The windows, with those joints that at least half of them show, and their partners on the other side.

    Raises:
        UserError: when nobody is in any picture.
    """
    assert part in ROOM
    rows = [row for picture in pictures for row in _windows(picture, len(joints), part, size)]
    if not rows:
        raise UserError("no image that is to be learned from has a region of a person")
    raw, around, regions, points, visibility = map(torch.cat, zip(*rows, strict=True))
    shown = (visibility > 0).float().mean(0) >= SHOWN
    names = {name for name, often in zip(joints, shown.tolist(), strict=True) if often}
    names &= {other_side(name) for name in names}
    taken = [index for index, name in enumerate(joints) if name in names]
    kept = tuple(joints[index] for index in taken)
    return Samples(raw, around, regions, points[:, taken], visibility[:, taken], kept)


def _windows(picture: Picture, joints: int, part: str, size: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
    """Rows of :class:`Samples` of one picture."""
    image = torch.from_numpy(picture.pixels).permute(2, 0, 1).float()
    windows = [window for region in picture.regions for window in windows_of(region, size, part)]
    for number, window in enumerate(windows):
        found = seen(image, [window], size)
        pose = picture.pose if number == 0 else None  # of the largest person, or piece of them
        points, visibility = _joints(pose, joints, window, size)
        yield to_bytes(found.raw), to_bytes(found.around), found.regions > 0, points[None], visibility[None]


def _joints(pose: Pose | None, count: int, window: Window, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """K×2 in pixels of the window at the network's size, and K."""
    if pose is None:
        return torch.zeros(count, 2), torch.zeros(count, dtype=torch.uint8)
    start = np.array([window.columns.start, window.rows.start], np.float32)
    moved = Pose(pose.points - start, pose.visibility, pose.height).scaled(window.size, size)
    inside = ((moved.points >= -0.5) & (moved.points < np.array(size[::-1]) - 0.5)).all(1)
    visibility = np.where(inside, moved.visibility, 0).astype(np.uint8)
    return torch.from_numpy(moved.points.astype(np.float32)), torch.from_numpy(visibility)
