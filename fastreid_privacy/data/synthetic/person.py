"""Drawing a person: parts from far to near on a layer of their own, with cloth, folds and light."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from .body import Joint, Pose, Skeleton, capsule
from .identity import Colour, Identity
from .layer import Layer
from .pattern import CLOTH_WIDTH, UNIT, cloth, folds, print_logo

PARTS = ("", "torso", "head", "bag", "left arm", "right arm", "left leg", "right leg")
"""What a person is painted of; the hair belongs to the head."""


def _toned(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255, channel * factor)) for channel in colour)
    return red, green, blue


class Drawing:
    """One person in one pose.

    Args:
        person: who.
        pose: how and where on the canvas.
        shape: height and width of the canvas, pixels.

    Attributes:
        bones: the joints, on the canvas.
        layer: the picture of the person, and where they are.
        part_at: H×W uint8; the place in :data:`PARTS` of the part that is seen, 0 where the person is not.
    """

    def __init__(self, person: Identity, pose: Pose, shape: tuple[int, int]) -> None:
        self.person, self.pose = person, pose
        self.bones = Skeleton(person, pose)
        self.layer = Layer(*shape)
        self.part_at = np.zeros(shape, np.uint8)
        self.size = pose.height
        self.collar = self.bones.point(0, 0, 0.845)
        self.belt = self.bones.point(0, 0, self.bones.hip_height + 0.02)
        self.upper = self._lay(cloth(person.upper, person.upper_pattern), self.collar)
        self.lower = self._lay(cloth(person.lower, person.lower_pattern), self.belt)
        self.upper_far, self.lower_far = (
            cv2.convertScaleAbs(image, alpha=0.8) for image in (self.upper, self.lower)
        )

    def _lay(self, fabric: np.ndarray, origin: Joint) -> np.ndarray:
        """The cloth hung from ``origin`` as the body turns; H×W×3 uint8 of the canvas' size."""
        scale = self.size / UNIT
        # a turned torso shows less of its width
        squeeze = 0.72 + 0.28 * abs(self.bones.facing)
        skew = self.pose.sway
        matrix = np.array(
            [
                [scale * squeeze, -skew * scale, origin.x - scale * squeeze * CLOTH_WIDTH * UNIT / 2],
                [0, scale, origin.y],
            ]
        )
        height, width = self.layer.mask.shape
        return cv2.warpAffine(
            fabric, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def draw(self) -> Layer:
        """Paint all parts, the far ones first."""
        parts: list[tuple[float, str, Callable[[], None]]] = []
        for side, name in ((1, "left"), (-1, "right")):
            parts.append((-2 + self.bones.legs[side][2].depth, f"{name} leg", partial(self._leg, side)))
            depth = self.bones.arms[side][0].depth
            parts.append((depth if abs(depth) > 0.02 else 0.02, f"{name} arm", partial(self._arm, side)))
        parts.append((0.0, "torso", self._torso))
        parts.append((0.001, "head", self._head))
        if self.person.hair in ("long", "ponytail"):
            parts.append((-0.1 * self.bones.facing, "head", self._long_hair))
        arm = self.bones.arms[1 if self.person.bag_left else -1][0].depth
        bags: dict[str, tuple[float, str, Callable[[], None]]] = {
            "backpack": (-0.12 * self.bones.facing, "bag", self._backpack),
            "shoulder": (arm - 0.001, "bag", self._shoulder_bag),
            "hand": (arm - 0.002, "bag", self._hand_bag),
        }
        if self.person.bag in bags:
            parts.append(bags[self.person.bag])
        for _, name, paint in sorted(parts, key=lambda part: part[0]):
            self.layer.mask[:] = 0
            paint()
            self.part_at[self.layer.mask > 0] = PARTS.index(name)
        self.layer.mask[:] = np.where(self.part_at > 0, 255, 0)
        return self.layer

    def _leg(self, side: int) -> None:
        person, size, layer = self.person, self.size, self.layer
        hip, knee, ankle = self.bones.legs[side]
        far = self.bones.point(0, side, 0).depth < -0.3
        cloth_image = self.lower_far if far else self.lower
        skin = _toned(person.skin, 0.8 if far else 0.95)
        edge = _toned(person.lower, 0.62)
        wide = person.breadth * size
        bare = person.lower_cut != "trousers"
        if bare:
            layer.fill(capsule(knee, ankle, 0.030 * wide, 0.020 * wide), skin)
        else:
            layer.fill(capsule(knee, ankle, 0.038 * wide, 0.028 * wide), cloth_image, edge)
        layer.fill(capsule(hip, knee, 0.056 * wide, 0.040 * wide), cloth_image, edge)
        toe, heel = self.bones.toes[side], self.bones.heels[side]
        layer.fill(
            capsule(heel, toe, 0.024 * size, 0.018 * size),
            _toned(person.shoes, 0.85 if far else 1.0),
            _toned(person.shoes, 0.5),
        )

    def _torso(self) -> None:
        person, size, bones, layer = self.person, self.size, self.bones, self.layer
        broad = person.breadth
        edge = _toned(person.upper, 0.6)
        if person.lower_cut == "skirt":
            self._ring([(0.56, 0.085, 0.075), (0.34, 0.115, 0.12)], self.lower, _toned(person.lower, 0.6))
        hem = {"coat": bones.hip_height - 0.16, "jacket": bones.hip_height - 0.02}.get(
            person.upper_cut, bones.hip_height + 0.005
        )
        flare = 0.095 if person.upper_cut == "coat" else 0.08
        rings = [
            (0.85, 0.04, 0.04),
            (0.822, person.shoulders * 0.93, 0.055),
            (0.70, 0.093, 0.07),
            (0.60, 0.08, 0.065),
            (hem, flare, 0.078),
        ]
        self._ring([(up, side * broad, front * broad) for up, side, front in rings], self.upper, edge)
        if person.upper_cut in ("jacket", "coat") and bones.facing > 0.2:
            top, bottom = bones.point(0.06, 0, 0.83), bones.point(0.07, 0, hem + 0.02)
            layer.fill(
                capsule(top, bottom, 0.028 * size * bones.facing, 0.034 * size * bones.facing),
                person.inner,
                edge,
            )
        on_show = bones.facing > 0.3 or (person.logo.on_back and bones.facing < -0.3)
        if person.logo.kind != "none" and on_show:
            left = person.logo.across * 0.06 * broad
            place = bones.point(math.copysign(0.05, bones.facing), left, 0.735)
            print_logo(
                layer.image, person.logo, (place.x, place.y), person.logo.size * size, abs(bones.facing)
            )

    def _ring(self, sections: list[tuple[float, float, float]], paint: np.ndarray, edge: Colour) -> None:
        """Fill the outline through cross sections: height, half widths from the front and from the side."""
        left, right = [], []
        for up, side, front in sections:
            middle = self.bones.point(0, 0, up)
            half = self.bones.half_width(side, front) * (1 + self.pose.taper * (up - 0.5))
            left.append((middle.x - half, middle.y))
            right.append((middle.x + half, middle.y))
        self.layer.fill(np.rint(np.array(left + right[::-1])).astype(np.int32), paint, edge)

    def _arm(self, side: int) -> None:
        person, size, layer = self.person, self.size, self.layer
        shoulder, elbow, hand = self.bones.arms[side]
        far = shoulder.depth < -0.03
        skin = _toned(person.skin, 0.8 if far else 1.0)
        cloth_image = self.upper_far if far else self.upper
        edge = _toned(person.upper, 0.55)
        wide = size * (0.6 + 0.4 * person.breadth)
        layer.ellipse(hand.x, hand.y, 0.020 * size, 0.024 * size, skin)
        if person.upper_cut == "t-shirt":
            layer.fill(capsule(elbow, hand, 0.022 * wide, 0.017 * wide), skin)
            layer.fill(capsule(shoulder, elbow, 0.026 * wide, 0.022 * wide), skin)
            middle = Joint(
                (shoulder.x * 0.4 + elbow.x * 0.6), (shoulder.y * 0.4 + elbow.y * 0.6), shoulder.depth
            )
            layer.fill(capsule(shoulder, middle, 0.036 * wide, 0.034 * wide), cloth_image, edge)
        else:
            layer.fill(capsule(elbow, hand, 0.029 * wide, 0.023 * wide), cloth_image, edge)
            layer.fill(capsule(shoulder, elbow, 0.037 * wide, 0.030 * wide), cloth_image, edge)

    def _head(self) -> None:
        person, bones, layer = self.person, self.bones, self.layer
        size = self.size * person.head
        facing, turned = bones.facing, bones.turned
        head = bones.point(0.012, 0, 0.928)
        half_width, half_height = (0.046 + 0.008 * abs(turned)) * size, 0.064 * size
        layer.fill(
            capsule(bones.point(0, 0, 0.84), head, 0.030 * size, 0.026 * size), _toned(person.skin, 0.82)
        )
        hair = person.skin if person.hair == "bald" else person.hair_colour
        grown = {"curly": 1.28, "bald": 1.0}.get(person.hair, 1.08)
        layer.ellipse(head.x, head.y - 0.006 * size, half_width * grown, half_height * min(grown, 1.14), hair)
        if facing > -0.6:
            shown = half_width * (0.60 + 0.34 * max(facing, 0) + 0.30 * min(facing, 0))
            middle = head.x + turned * half_width * 0.36
            layer.ellipse(middle, head.y + 0.012 * size, shown, half_height * 0.84, person.skin)
            if person.beard:
                layer.ellipse(
                    middle,
                    head.y + 0.034 * size,
                    shown * 0.85,
                    half_height * 0.45,
                    _toned(person.hair_colour, 1.1),
                )
            if facing > 0.1:
                spread, eyes = shown * 0.46, head.y - 0.004 * size
                for side in (-1, 1):
                    place = middle + side * spread + turned * 0.006 * size
                    layer.ellipse(place, eyes, 0.008 * size, 0.006 * size, (40, 30, 30))
                    if person.glasses:
                        layer.ellipse(place, eyes, 0.017 * size, 0.013 * size, (30, 30, 34))
                layer.ellipse(
                    middle + turned * 0.006 * size,
                    head.y + 0.037 * size,
                    0.014 * size,
                    0.004 * size,
                    (140, 70, 66),
                )
        if person.hair == "bun":
            layer.ellipse(
                head.x - turned * 0.04 * size, head.y - 0.07 * size, 0.026 * size, 0.026 * size, hair
            )
        if person.hat != "none":
            layer.ellipse(
                head.x,
                head.y - 0.014 * size,
                half_width * 1.16,
                half_height * 1.02,
                person.hat_colour,
                180,
                360,
            )
            if person.hat == "cap" and facing > -0.5:
                brim = _toned(person.hat_colour, 0.7)
                layer.ellipse(
                    head.x + turned * half_width, head.y - 0.014 * size, half_width * 0.9, 0.011 * size, brim
                )

    def _long_hair(self) -> None:
        person, bones, size = self.person, self.bones, self.size
        if person.hair == "ponytail":
            top, bottom = bones.point(-0.06, 0, 0.94), bones.point(-0.075, 0, 0.80)
            self.layer.fill(capsule(top, bottom, 0.02 * size, 0.016 * size), person.hair_colour)
        else:
            top, bottom = bones.point(-0.015, 0, 0.92), bones.point(-0.035, 0, 0.80)
            self.layer.fill(capsule(top, bottom, 0.052 * size, 0.060 * size), person.hair_colour)

    def _backpack(self) -> None:
        person, bones, size, layer = self.person, self.bones, self.size, self.layer
        dark = _toned(person.bag_colour, 0.6)
        half = bones.half_width(0.082, 0.05)
        top, bottom = bones.point(-0.10, 0, 0.80), bones.point(-0.11, 0, 0.61)
        layer.fill(capsule(top, bottom, half, half * 1.05), person.bag_colour, dark)
        if bones.facing < 0.3:
            pocket = bones.point(-0.14, 0, 0.65)
            layer.ellipse(pocket.x, pocket.y, half * 0.7, 0.045 * size, dark)
        if bones.facing > 0.1:
            for side in (-1, 1):
                self._strap(
                    bones.point(0.03, side * 0.065, 0.835), bones.point(0.07, side * 0.075, 0.66), dark
                )

    def _strap(self, start: Joint, end: Joint, colour: Colour) -> None:
        ends = (round(start.x), round(start.y)), (round(end.x), round(end.y))
        cv2.line(self.layer.image, *ends, colour, max(2, round(0.016 * self.size)))

    def _shoulder_bag(self) -> None:
        person, bones, size = self.person, self.bones, self.size
        side = 1 if person.bag_left else -1
        out = side * (person.shoulders * person.breadth + 0.015)
        dark = _toned(person.bag_colour, 0.6)
        across = bones.point(math.copysign(0.06, bones.facing), -side * 0.06, 0.835)
        bag = bones.point(0, out, 0.50)
        self._strap(across, bones.point(0, out, 0.55), dark)
        half_width, half_height = bones.half_width(0.05, 0.085), 0.055 * size
        corners = [(-1, -0.8), (1, -0.8), (1.1, 1), (-1.1, 1)]
        outline = np.rint(
            np.array([(bag.x + half_width * x, bag.y + half_height * y) for x, y in corners])
        ).astype(np.int32)
        self.layer.fill(outline, person.bag_colour, dark)

    def _hand_bag(self) -> None:
        person, bones, size = self.person, self.bones, self.size
        hand = bones.arms[1 if person.bag_left else -1][2]
        dark = _toned(person.bag_colour, 0.6)
        half_width, half_height = bones.half_width(0.035, 0.08), 0.06 * size
        top = hand.y + 0.03 * size
        corners = [(-0.9, 0), (0.9, 0), (1, 2), (-1, 2)]
        outline = np.rint(
            np.array([(hand.x + half_width * x, top + half_height * y) for x, y in corners])
        ).astype(np.int32)
        self.layer.fill(outline, person.bag_colour, dark)
        handle = max(2, round(half_width * 0.5)), max(2, round(0.03 * size))
        cv2.ellipse(self.layer.image, (round(hand.x), round(top)), handle, 0, 180, 360, dark, 2)


def draw_person(
    canvas: np.ndarray, person: Identity, pose: Pose, light: float, fold_at: tuple[int, int]
) -> Drawing:
    """Draw a person with their shadow on a canvas, in place.

    Args:
        canvas: H×W×3 RGB uint8, 0–255.
        person: who.
        pose: how and where.
        light: where light comes from, −1 (left) to 1 (right).
        fold_at: row and column, each 0–199, where the map of folds is cropped.

    Returns:
        the person as drawn, without shadow and light.
    """
    height, width = canvas.shape[:2]
    shadow = np.full((height, width), 255, np.uint8)
    x, y = pose.feet
    beside, axes = (
        round(x - light * 0.10 * pose.height),
        (round(0.20 * pose.height), round(0.035 * pose.height)),
    )
    cv2.ellipse(shadow, (beside, round(y)), axes, 0, 0, 360, 150, -1)
    top = max(0, min(height, round(y - 0.12 * pose.height)))
    if top < height:
        soft = cv2.blur(shadow[top:], (9, 9))
        canvas[top:] = cv2.multiply(canvas[top:], cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    drawing = Drawing(person, pose, (height, width))
    layer = drawing.draw()
    row, column = fold_at
    texture = folds(height + 200, width + 200)[row : row + height, column : column + width]
    lit = cv2.multiply(layer.image, texture, scale=1 / 128)
    reach = 0.22 * pose.height
    ramp = np.clip(1 + 0.22 * light * (np.arange(width) - x) / reach, 0.72, 1.28)
    ramp_image = np.broadcast_to(np.rint(128 * ramp).astype(np.uint8)[None, :, None], lit.shape)
    lit = cv2.multiply(lit, np.ascontiguousarray(ramp_image), scale=1 / 128)
    cv2.copyTo(lit, layer.mask, canvas)
    return drawing
