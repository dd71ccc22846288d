"""Truth of a data set of one's own: a folder of masks, COCO keypoints, a table of attributes.

Images are known by their path without its ending, as below the folder of the raw images.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..attack.subjects import Subject
from ..core.errors import UserError, brief, some_of
from ..core.files import read_file
from ..core.folders import images_below
from ..core.json_text import parse_json
from ..core.pictures import opened, read_picture

logger = logging.getLogger(__name__)

HALF = 127.5  # of the levels of a mask
MOST_KINDS = 100  # of an attribute: more are no categories
LABELS = {"name", "pid"}


@dataclass(frozen=True)
class Pose:
    """The joints of one person.

    Attributes:
        points: K×2 float32, x and y in pixels; centres of pixels are whole numbers.
        visibility: K, as COCO counts: 0 not labelled, 1 hidden, 2 visible.
        height: of the person, pixels.
    """

    points: np.ndarray
    visibility: np.ndarray
    height: float

    def scaled(self, old: Sequence[int], new: Sequence[int]) -> Pose:
        """The pose in the image of another size; sizes are (height, width)."""
        down, across = new[0] / old[0], new[1] / old[1]
        points = (self.points + 0.5) * np.array([across, down], np.float32) - 0.5
        return Pose(points, self.visibility, self.height * down)


def read_masks(folder: str | Path, subjects: Sequence[Subject]) -> dict[str, np.ndarray]:
    """A mask for each image that has one in a folder, as a picture of the same relative name, any ending.

    Returns:
        H×W bool by name: brighter than half is the person.

    Raises:
        UserError: when it is no folder, no image has a mask there, or a mask cannot be read, has another size
            than its image, is transparent in places, or holds numbers of classes in place of black and white.
    """
    paths = {_stem(path): Path(folder) / path for path in images_below(folder, f"masks {folder}").paths}
    masks = {}
    for each in _matched(f"masks {folder}", paths, subjects):
        path = paths[each.name]
        mask, raw = (_picture(file).mean(2) for file in (path, each.raw))
        if not _is_opaque(path):
            raise UserError(
                f"{path} is transparent in places, which could be the person or the rest: save it without "
                "transparency, the person white and the rest black"
            )
        if mask.shape != raw.shape:
            raise UserError(
                f"{path} is {_size(mask.shape)}, and its image {each.raw} is {_size(raw.shape)}: a mask has "
                "the size of its raw image"
            )
        if 0 < mask.max() <= HALF:
            raise UserError(
                f"{path} has no value above half, its largest is {mask.max():.0f} of 255: the person has to "
                "be white and the rest black"
            )
        masks[each.name] = mask > HALF
    return masks


def read_keypoints(
    path: str | Path, subjects: Sequence[Subject]
) -> tuple[tuple[str, ...], dict[str, Pose], dict[str, tuple[int, int]]]:
    """COCO keypoints: ``images``, ``annotations``, and the category that names the ``keypoints``.

    A person is as tall as the ``bbox`` of the annotation says, or as the image, where it has none.

    Returns:
        the joints' names; by name of the image its pose, and its size (height, width).

    Raises:
        UserError: when the file cannot be read or is not of this kind, no image has keypoints in it, or one
            has several people, or a keypoint outside of it.
    """
    try:
        content = parse_json(read_file(path))
        joints, category = _category(content)
        names = {image["id"]: _stem(image["file_name"]) for image in content["images"]}
        given: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["category_id"] == category and any(annotation.get("keypoints") or []):
                given[names[annotation["image_id"]]].append(annotation)
    except KeyError as error:
        raise UserError(f"{path} is no file of COCO keypoints: {error} is missing or unknown") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no file of COCO keypoints: {brief(error)}") from None
    poses, sizes = {}, {}
    for each in _matched(f"keypoints {path}", given, subjects):
        height, width = _picture(each.raw).shape[:2]
        sizes[each.name] = height, width
        try:
            poses[each.name] = _pose(given[each.name], joints, (height, width))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: the keypoints of {each.name}: {brief(error)}") from None
    return joints, poses, sizes


def read_attributes(path: str | Path, subjects: Sequence[Subject]) -> dict[str, dict[str, str]]:
    """A table, CSV with a header: ``name`` of the image or ``pid`` of the person, and a column an attribute.

    An empty field says nothing of that attribute.

    Returns:
        the kind by attribute, by name of the image.

    Raises:
        UserError: when the file cannot be read or is no such table, no image has attributes in it, or a
            column has more than 100 kinds, so that it is no attribute.
    """
    label, rows = _rows(path)
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in rows.values():
        for attribute, kind in row.items():
            kinds[attribute].add(kind)
    for attribute, values in kinds.items():
        if len(values) > MOST_KINDS:
            raise UserError(
                f"{path}: the column {attribute} has {len(values)} different values, more than {MOST_KINDS}: "
                "attributes have a few kinds; make groups of them, or take the column out"
            )
    if label == "name":
        return {each.name: rows[each.name] for each in _matched(f"attributes {path}", rows, subjects)}
    found = {each.name: rows[str(each.pid)] for each in subjects if str(each.pid) in rows}
    if not found:
        raise UserError(
            f"attributes {path} names none of the people of the images: {some_of(list(rows))} and so on"
        )
    return found


def _rows(path: str | Path) -> tuple[str, dict[str, dict[str, str]]]:
    """What the table is sorted by, "name" or "pid", and what is known of each: fields that are not empty."""
    try:
        text = read_file(path).decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [word.strip() for word in next(lines, [])]
        labels = [word for word in header if word in LABELS]
        if len(labels) != 1 or len(header) < 2 or not all(header) or len(set(header)) < len(header):
            raise ValueError(
                "its first line must name the columns, each by another word: name or pid, then attributes; "
                f"it is {','.join(header)!r}"
            )
        found: dict[str, dict[str, str]] = {}
        for line in filter(None, lines):
            if len(line) != len(header):
                raise ValueError(
                    f"line {lines.line_num} has {len(line)} fields, and the first line {len(header)}"
                )
            row = dict(zip(header, map(str.strip, line), strict=True))
            given = row.pop(labels[0])
            key = _stem(given) if labels[0] == "name" else str(int(given))
            if key in found:
                raise ValueError(f"line {lines.line_num} names {given} again")
            found[key] = {attribute: kind for attribute, kind in row.items() if kind}
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        raise UserError(f"{path} is no table of attributes: {brief(error)}") from None
    return labels[0], {key: row for key, row in found.items() if row}


def _category(content: Any) -> tuple[tuple[str, ...], Any]:
    """The joints' names, and the number of the category that has them."""
    if not isinstance(content, dict):
        raise ValueError('it must begin with {"images": [')
    having = [each for each in content["categories"] if each.get("keypoints")]
    if len(having) != 1:
        raise ValueError(f"{len(having)} of its categories name keypoints; one has to, that of people")
    names = having[0]["keypoints"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("the names of the keypoints must be different words")
    return tuple(names), having[0]["id"]


def _pose(given: Sequence[Mapping[str, Any]], joints: Sequence[str], size: tuple[int, int]) -> Pose:
    """The pose of the one annotation of an image.

    Raises:
        ValueError: saying what is wrong with it.
        TypeError: the same.
    """
    if len(given) > 1:
        raise ValueError(f"{len(given)} people are annotated; leave the one that the image is of")
    values = np.array(given[0]["keypoints"], np.float32)
    if values.shape != (3 * len(joints),) or not np.isfinite(values).all():
        raise ValueError(f"they must be three numbers, x, y and visibility, for each of {len(joints)}")
    points, visibility = values.reshape(-1, 3)[:, :2], values.reshape(-1, 3)[:, 2]
    if not np.isin(visibility, (0, 1, 2)).all():
        raise ValueError("a visibility is 0 (not labelled), 1 (hidden) or 2 (visible)")
    height, width = size
    inside = (points >= -0.5).all(1) & (points <= (width, height)).all(1)
    for name, (x, y), good in zip(joints, points, inside | (visibility == 0), strict=True):
        if not good:
            raise ValueError(f"{name} at {x:g}, {y:g} lies outside of the image, which is {_size(size)}")
    box = np.array(given[0].get("bbox") or [0, 0, width, height], np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or box[3] <= 0:
        raise ValueError("a bbox has four numbers, x, y, width and height, and some height")
    return Pose(points.copy(), visibility.astype(np.uint8), float(box[3]))


def _matched(named: str, names: Iterable[str], subjects: Sequence[Subject]) -> list[Subject]:
    """The images that something is told of; it is said which names are of none.

    Raises:
        UserError: when there is no such image.
    """
    told = set(names)
    matched = [each for each in subjects if each.name in told]
    if not matched:
        raise UserError(
            f"{named} tells of {some_of(sorted(told), 2) or 'nothing'}, and the images are "
            f"{some_of([each.name for each in subjects], 2)}: names must be the same but for the ending"
        )
    others = sorted(told - {each.name for each in subjects})
    if others:
        logger.warning(
            "%s: passed over, for no image with a protected one has these names: %s", named, some_of(others)
        )
    return matched


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _picture(path: Path) -> np.ndarray:
    try:
        return read_picture(path)
    except UserError as error:
        raise UserError(f"{path}: {brief(error)}") from None


def _is_opaque(path: Path) -> bool:
    """Whether no pixel of a picture that can be read is transparent."""
    with opened(path) as file:
        return not file.has_transparency_data or file.convert("RGBA").getchannel("A").getextrema()[0] == 255


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}×{shape[1]} (height × width)"
