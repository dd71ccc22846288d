"""What is true of a rendered image: where the person is, where their joints are, what they wear.

Nothing of this is stored. The name of a data set's folder tells its options, and they tell the images: the
same plan is drawn again. So the truth cannot differ from the images, data sets that were rendered earlier
have it too, and no second folder has to be kept whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .body import Joint, Skeleton
from .camera import Stage
from .identity import LOWER_PALETTE, UPPER_PALETTE, Colour, Identity
from .person import PARTS, Drawing
from .plan import Planned, SyntheticOptions, planned_images

SIDES = {"left": 1, "right": -1}  # of the person
JOINTS = (
    "head",
    "neck",
    *(
        f"{side}_{joint}"
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in SIDES
    ),
)
"""The middle of the head, the neck, and twelve joints by COCO's names: left is the person's left."""
OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2  # as COCO counts: not labelled, labelled and hidden, visible
FAR = 0.03  # body heights: joints this much behind the middle are behind the torso
UPPER_COLOURS, LOWER_COLOURS = ("dark", "light", "grey", "blue", "red"), ("dark", "blue")  # of the palettes


@dataclass(frozen=True)
class PersonTruth:
    """The person of one image.

    Attributes:
        mask: H×W bool: the person, with clothes and bag, fills more than half of the pixel. Their shadow is
            not they, nor is what stands before them.
        joints: 14×2 float32, x and y of :data:`JOINTS` in pixels; centres of pixels are whole numbers.
        visibility: 14 uint8: VISIBLE; HIDDEN by something or by another part of the body; OUTSIDE the image.
        height: of the standing person, pixels.
        attributes: category by attribute: :func:`attributes_of`.
    """

    mask: np.ndarray
    joints: np.ndarray
    visibility: np.ndarray
    height: float
    attributes: dict[str, str]


def rendered_truth(
    options: SyntheticOptions, names: Collection[str]
) -> Iterator[tuple[str, PersonTruth | None]]:
    """The truth of some images of a data set.

    Args:
        options: of the data set.
        names: of the images, inside the data set's folder; the others are not drawn.

    Returns:
        (name, truth) of each that the data set has; None: nobody is in the image.
    """
    for shot in planned_images(options):
        if shot.name in names:
            yield shot.name, truth_of_planned(shot)


def truth_of_planned(shot: Planned) -> PersonTruth | None:
    """The truth of an image that is planned, which draws it: once, for that uses its generator up.

    Returns:
        None: nobody is in the image.
    """
    stage = shot.camera.stage(shot.rng, shot.person, shot.track, shot.missed_by)
    return None if shot.person is None else truth_of(stage, shot.person, shot.camera.scale)


def truth_of(stage: Stage, person: Identity, scale: int) -> PersonTruth:
    """The truth of what is before a camera.

    Args:
        stage: with a person.
        person: who it is.
        scale: how much larger than the image the stage is.
    """
    drawing = stage.drawing
    assert drawing is not None
    seen = (drawing.part_at > 0) & ~stage.covered
    height, width = (side // scale for side in seen.shape)
    share = cv2.resize(seen.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    points = joints_of(drawing.bones)
    joints = (np.array([(point.x, point.y) for point in points]) + 0.5) / scale - 0.5
    visibility = [
        _visibility(name, point, drawing, stage.covered) for name, point in zip(JOINTS, points, strict=True)
    ]
    return PersonTruth(
        share > 0.5,
        joints.astype(np.float32),
        np.array(visibility, np.uint8),
        drawing.pose.height / scale,
        attributes_of(person),
    )


def joints_of(bones: Skeleton) -> list[Joint]:
    """The points of :data:`JOINTS` on the canvas."""
    points = {"head": bones.point(0.012, 0, 0.928), "neck": bones.point(0, 0, 0.84)}
    for side, sign in SIDES.items():
        for limb, names in (
            (bones.arms, ("shoulder", "elbow", "wrist")),
            (bones.legs, ("hip", "knee", "ankle")),
        ):
            points.update({f"{side}_{name}": point for name, point in zip(names, limb[sign], strict=True)})
    return [points[name] for name in JOINTS]


def attributes_of(person: Identity) -> dict[str, str]:
    """What is defined for everybody and has few kinds, by name."""
    upper, lower = ([colour for colour, _ in palette] for palette in (UPPER_PALETTE, LOWER_PALETTE))
    return {
        "upper_colour": UPPER_COLOURS[_nearest(person.upper, upper)],
        "lower_colour": LOWER_COLOURS[_nearest(person.lower, lower)],
        "upper_pattern": person.upper_pattern.kind,
        "upper_cut": person.upper_cut,
        "lower_cut": person.lower_cut,
        "bag": person.bag,
        "hair": person.hair,
        "hat": person.hat,
    }


def _nearest(colour: Colour, palette: list[Colour]) -> int:
    """Garments are a little lighter or darker than their entry of the palette."""
    return int(np.square(np.array(palette) - colour).sum(1).argmin())


def _visibility(name: str, point: Joint, drawing: Drawing, covered: np.ndarray) -> int:
    x, y = round(point.x), round(point.y)
    if not (0 <= y < covered.shape[0] and 0 <= x < covered.shape[1]):
        return OUTSIDE
    if covered[y, x]:
        return HIDDEN
    return VISIBLE if PARTS[drawing.part_at[y, x]] in _showing(name, point.depth) else HIDDEN


def _showing(name: str, depth: float) -> set[str]:
    """The parts of the body that show a joint to who sees them."""
    if name in ("head", "neck"):
        return {"head", "torso"}
    side, joint = name.split("_")
    own = f"{side} {'arm' if joint in ('shoulder', 'elbow', 'wrist') else 'leg'}"
    # clothes of the torso show what is in them, but not what is on its far side
    return {own, "torso"} if joint in ("shoulder", "hip", "knee") and depth > -FAR else {own}
