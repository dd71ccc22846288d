"""Where the joints are: a walking skeleton in space, and its picture under a slightly raised camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .identity import Identity


@dataclass(frozen=True)
class Pose:
    """How somebody stands in the crop; lengths in pixels of the canvas, angles in radians.

    ``azimuth`` 0 faces the camera, π/2 walks to the right, π shows the back. ``phase`` runs over a stride of
    two steps (0–2π). ``feet`` is the ground point between the feet, ``height`` the body height. ``pitch``
    moves what is nearer downwards and ``taper`` widens the head end, both as a camera above head height does.
    """

    azimuth: float
    phase: float
    feet: tuple[float, float]
    height: float
    pitch: float = 0.15
    taper: float = 0.1
    sway: float = 0.0


@dataclass(frozen=True)
class Joint:
    """A point on the canvas (pixels) and its depth (body heights, larger is nearer)."""

    x: float
    y: float
    depth: float


class Skeleton:
    """Joints of a walking person.

    Args:
        person: whose build it is.
        pose: where and how they walk.
    """

    def __init__(self, person: Identity, pose: Pose) -> None:
        self.person, self.pose = person, pose
        self._sin, self._cos = math.sin(pose.azimuth), math.cos(pose.azimuth)
        self._lift = 0.0
        self.hip_height = person.leg_length
        self.shoulder_height = 0.815
        legs = {side: self._leg(side) for side in (1, -1)}
        # the lower foot stands on the ground, whatever the phase
        self._lift = 0.035 - min(leg[2][2] for leg in legs.values())
        self.legs = {side: [self.point(*joint) for joint in leg] for side, leg in legs.items()}
        self.toes = {
            side: self.point(leg[2][0] + 0.075, leg[2][1], leg[2][2] - 0.025) for side, leg in legs.items()
        }
        self.heels = {
            side: self.point(leg[2][0] - 0.02, leg[2][1], leg[2][2] - 0.02) for side, leg in legs.items()
        }
        self.arms = {side: [self.point(*joint) for joint in self._arm(side)] for side in (1, -1)}

    def point(self, forward: float, left: float, up: float) -> Joint:
        """The picture of a point of the body frame (body heights)."""
        pose = self.pose
        up += self._lift
        depth = forward * self._cos - left * self._sin
        across = (forward * self._sin + left * self._cos) * (1 + pose.taper * (up - 0.5)) + pose.sway * up
        return Joint(
            pose.feet[0] + pose.height * across, pose.feet[1] - pose.height * (up - pose.pitch * depth), depth
        )

    def half_width(self, side: float, front: float) -> float:
        """Half the apparent width, in pixels, of an ellipse of these half axes, in body heights."""
        return self.pose.height * math.hypot(side * self._cos, front * self._sin)

    @property
    def facing(self) -> float:
        """1 towards the camera, −1 away from it."""
        return self._cos

    @property
    def turned(self) -> float:
        """1 to the right of the picture, −1 to the left."""
        return self._sin

    def _leg(self, side: int) -> list[tuple[float, float, float]]:
        person, phase = self.person, self.pose.phase + (0 if side > 0 else math.pi)
        swing = person.stride * math.sin(phase) + 0.04
        # the knee bends while the leg swings forward
        bend = 0.10 + 0.85 * person.stride / 0.45 * max(0.0, math.cos(phase)) ** 1.5
        thigh, calf = person.leg_length * 0.50, person.leg_length * 0.46
        hip = (0.0, side * 0.045 * person.breadth, self.hip_height)
        knee = (hip[0] + thigh * math.sin(swing), hip[1], hip[2] - thigh * math.cos(swing))
        ankle = (
            knee[0] + calf * math.sin(swing - bend),
            hip[1] * 0.9,
            knee[2] - calf * math.cos(swing - bend),
        )
        return [hip, knee, ankle]

    def _arm(self, side: int) -> list[tuple[float, float, float]]:
        person, phase = self.person, self.pose.phase + (math.pi if side > 0 else 0)
        swing = 0.75 * person.stride * math.sin(phase)
        shoulder = (0.0, side * person.shoulders * person.breadth, self.shoulder_height - 0.015)
        elbow = (
            shoulder[0] + 0.165 * math.sin(swing),
            shoulder[1] * 1.16,
            shoulder[2] - 0.165 * math.cos(swing),
        )
        flex = swing + 0.25 + 0.35 * max(0.0, math.sin(phase))
        hand = (elbow[0] + 0.15 * math.sin(flex), shoulder[1] * 1.10, elbow[2] - 0.15 * math.cos(flex))
        return [shoulder, elbow, hand]


_ARC = np.linspace(-math.pi / 2, math.pi / 2, 7)


def capsule(start: Joint, end: Joint, start_radius: float, end_radius: float) -> np.ndarray:
    """Outline of a limb with round ends.

    Returns:
        14×2 int32 pixel coordinates.
    """
    angle = math.atan2(end.y - start.y, end.x - start.x)
    far = np.stack([end.x + end_radius * np.cos(angle + _ARC), end.y + end_radius * np.sin(angle + _ARC)], 1)
    near = np.stack(
        [start.x - start_radius * np.cos(angle + _ARC), start.y - start_radius * np.sin(angle + _ARC)], 1
    )
    return np.rint(np.concatenate([far, near])).astype(np.int32)
