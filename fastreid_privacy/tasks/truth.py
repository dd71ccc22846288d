"""What is true of the images: of rendered people by their renderer, of others by files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..attack.subjects import Subject, Subjects
from ..core.errors import UserError
from ..data.synthetic.plan import SyntheticOptions
from ..data.synthetic.truth import JOINTS, PersonTruth, rendered_truth
from .files import Pose, read_attributes, read_keypoints, read_masks

OPTIONS = {"segmentation": "masks", "keypoints": "keypoints", "attributes": "attributes"}


@dataclass(frozen=True)
class Truth:
    """What is true of some images, by their name; pixels are those of images of one size.

    Attributes:
        size: (height, width).
        masks: H×W bool, where the person is.
        joint_names: what the K joints are called.
        poses: where the joints are.
        attributes: by name of the attribute, its kind; what is not known is left out.
        missing: by task, why there is nothing.
    """

    size: tuple[int, int]
    masks: Mapping[str, np.ndarray]
    joint_names: tuple[str, ...]
    poses: Mapping[str, Pose]
    attributes: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]


def read_truth(
    subjects: Subjects,
    source: str,
    masks: str | Path | None = None,
    keypoints: str | Path | None = None,
    attributes: str | Path | None = None,
) -> Truth:
    """What is true of the images of an attack, brought to its size.

    Rendered people bring everything with them, if their images are in the folder that the renderer wrote;
    files go before it. A part that is nowhere is left out: ``missing`` says so.

    Args:
        subjects: the images; known and measured people both need some truth.
        source: what the user named as raw images, for messages.
        masks: folder with a mask for each image: :func:`fastreid_privacy.tasks.files.read_masks`.
        keypoints: a file: :func:`fastreid_privacy.tasks.files.read_keypoints`.
        attributes: a file: :func:`fastreid_privacy.tasks.files.read_attributes`.

    Raises:
        UserError: when a file is not as it should be, or has truth for the known or the measured people
            alone.
    """
    every = sorted({each.name: each for each in (*subjects.known, *people(subjects))}.values(), key=_by_name)
    named = dict(zip(OPTIONS, (masks, keypoints, attributes), strict=True))
    rendered = _rendered(every) if None in named.values() else {}
    size = subjects.size
    found_masks = {name: truth.mask for name, truth in rendered.items()}
    poses = {name: Pose(truth.joints, truth.visibility, truth.height) for name, truth in rendered.items()}
    sizes = {name: mask.shape for name, mask in found_masks.items()}
    kinds: Mapping[str, Mapping[str, str]] = {name: truth.attributes for name, truth in rendered.items()}
    joint_names: tuple[str, ...] = JOINTS
    if masks is not None:
        found_masks = read_masks(masks, every)
    if keypoints is not None:
        joint_names, poses, sizes = read_keypoints(keypoints, every)
    if attributes is not None:
        kinds = read_attributes(attributes, every)
    parts: dict[str, Mapping] = {"segmentation": found_masks, "keypoints": poses, "attributes": kinds}
    missing = {}
    for task, part in parts.items():
        if not part:
            missing[task] = f"{source} brings no truth for it, and no file of {OPTIONS[task]} is named"
            continue
        for who, asked in (("known", subjects.known), ("measured", people(subjects))):
            if not any(each.name in part for each in asked):
                raise UserError(
                    f"{named[task] or source}: none of the {len(asked)} {who} images has truth for "
                    f"{task}: some are needed to learn from, and others to measure on"
                )
    return Truth(
        size,
        {name: _scaled_mask(mask, size) for name, mask in found_masks.items()},
        joint_names,
        {name: pose.scaled(sizes[name], size) for name, pose in poses.items()},
        kinds,
        missing,
    )


def people(subjects: Subjects) -> list[Subject]:
    """The measured images that show somebody: distractors are cut badly, or show nobody."""
    return [each for each in subjects.measured if each.pid > 0]


def _rendered(subjects: Sequence[Subject]) -> dict[str, PersonTruth]:
    """The truth of those images that lie in a folder of the renderer."""
    sets: dict[SyntheticOptions, dict[str, list[str]]] = {}
    for each in subjects:
        if image := SyntheticOptions.of_image(each.raw):
            options, name = image
            sets.setdefault(options, {}).setdefault(name, []).append(each.name)
    found = {}
    for options, names in sets.items():
        for name, truth in rendered_truth(options, names):
            if truth is not None:
                found.update(dict.fromkeys(names[name], truth))
    return found


def _scaled_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape == tuple(size):
        return mask
    larger = size[0] > mask.shape[0]
    how = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
    return cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=how) > 0.5


def _by_name(subject: Subject) -> str:
    return subject.name
