"""Regions of a COCO file: outlines or boxes of people, or of their parts."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from fastreid_privacy import UserError
from fastreid_privacy.core.errors import brief, some_of
from fastreid_privacy.core.files import read_file
from fastreid_privacy.core.json_text import parse_json

from .files import KEY, stem
from .parts import PARTS, Box, box_of_mask, filled, part_of_box, part_of_mask

PERSON = "person"
Size = tuple[int, int]  # height, width


class CocoFile:
    """Annotations of a COCO file.

    Those of a category that is called as the part (``head``) are the part. Of each ``person`` in whom none of
    these lies, the part is taken as of a mask, or of a box where there is no ``segmentation``. So all people
    of an image count.

    Args:
        path: of the file.

    Attributes:
        about: for the manifest: the kind, and SHA-256 of the file.

    Raises:
        UserError: when it is no such file.
    """

    def __init__(self, path: Path):
        self.path = path
        content = read_file(path)
        self.about = {"file": "coco", "sha256": hashlib.sha256(content).hexdigest()}
        self.sizes: dict[str, tuple[Any, Any]] = {}
        self.found: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        try:
            given = parse_json(content)
            if not isinstance(given, dict):
                raise ValueError('it must begin with {"images": [')
            self.categories = {each["id"]: _word(each["name"]) for each in given["categories"]}
            names = {}
            for image in given["images"]:
                names[image["id"]] = name = stem(image["file_name"])
                if name in self.sizes:
                    raise ValueError(f"it has the image {name} twice")
                self.sizes[name] = image.get("height"), image.get("width")
            for annotation in given["annotations"]:
                kind = self.categories[annotation["category_id"]]
                self.found[names[annotation["image_id"]]].append((kind, annotation))
        except KeyError as error:
            raise UserError(f"{KEY} {path} is no COCO file: {error} is missing or unknown") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{KEY} {path} is no COCO file: {brief(error)}") from None

    def __call__(self, part: str, name: str, size: Size) -> tuple[np.ndarray, str]:
        """The part of an image, H×W bool, and the word for the manifest: "outline" or "box".

        Raises:
            UserError: the reason, without the image's name and path.
        """
        name = stem(name)
        if not {part, PERSON} & set(self.categories.values()):
            known = some_of(sorted(set(self.categories.values()))) or "none"
            raise UserError(f"{KEY} {self.path} has neither the category {part} nor {PERSON}: it has {known}")
        if name not in self.sizes:
            raise UserError(
                f"{KEY} {self.path} does not have it: a file_name is the path of its image, with any ending"
            )
        height, width = self.sizes[name]
        if (height, width) != (None, None) and (height, width) != size:
            raise UserError(
                f"{KEY} {self.path} has it as {height}×{width} (height × width), but it is "
                f"{size[0]}×{size[1]}: the file is of other images"
            )
        own = self._shapes(part, name, size)
        people = self._shapes(PERSON, name, size)
        told = {_owner(shape, people, part) for shape in own}
        without = [each for number, each in enumerate(people) if number not in told]
        parts = [_part("full_body", shape, size) for shape in own]
        parts += [_part(part, shape, size) for shape in without]
        if not parts:
            raise UserError(f"{KEY} {self.path} marks neither a {part} nor a {PERSON} in it")
        outlined = all(shape.mask is not None for shape in own + without)
        return np.any(parts, axis=0), "outline" if outlined else "box"

    def _shapes(self, wanted: str, name: str, size: Size) -> list[_Shape]:
        """An image's annotations of one category."""
        try:
            return [_shape(each, size) for kind, each in self.found[name] if kind == wanted]
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise UserError(f"its {wanted} in {KEY} {self.path}: {brief(error)}") from None


class _Shape(NamedTuple):
    """An annotation: its rectangle, which may reach out of the image, and its outline if it has one."""

    box: Box
    mask: np.ndarray | None


def _part(part: str, shape: _Shape, size: Size) -> np.ndarray:
    """The part of an annotation that is in the image, which may be nothing of somebody at its edge."""
    if shape.mask is None:
        return part_of_box(part, shape.box, size)
    return part_of_mask(part, shape.mask, shape.box)


def _owner(shape: _Shape, people: Sequence[_Shape], part: str) -> int | None:
    """Whose part an annotation is, so that nobody else goes without one: the number of the person.

    Of those in whose rectangle its centre lies, it is the one whose part is expected the nearest.
    """
    x, y = _centre("full_body", shape.box)
    near = {
        number: math.dist((x, y), _centre(part, person.box))
        for number, person in enumerate(people)
        if person.box[0] <= x <= person.box[2] and person.box[1] <= y <= person.box[3]
    }
    return min(near, key=near.__getitem__, default=None)


def _centre(part: str, box: Box) -> tuple[float, float]:
    left, top, right, bottom = box
    down, across, high, wide = PARTS[part]
    return left + (across + wide / 2) * (right - left), top + (down + high / 2) * (bottom - top)


def _shape(annotation: Mapping[str, Any], size: Size) -> _Shape:
    """An annotation, of which something is in the image.

    Raises:
        ValueError: saying what is wrong with it; also TypeError and KeyError.
    """
    shape = _read(annotation, size)
    if not (filled(shape.box, size) if shape.mask is None else shape.mask).any():
        raise ValueError(f"it lies outside of the image, which is {size[0]}×{size[1]} (height × width)")
    return shape


def _read(annotation: Mapping[str, Any], size: Size) -> _Shape:
    """The ``segmentation`` of an annotation, else its ``bbox``.

    Raises:
        ValueError: saying what is wrong with it; also TypeError and KeyError.
    """
    given = annotation.get("segmentation")
    if isinstance(given, Mapping):
        return _of_runs(given, size)
    if given:
        return _of_polygons(given, size)
    left, top, width, height = (float(value) for value in annotation["bbox"])
    if not np.isfinite((left, top, width, height)).all() or min(width, height) <= 0:
        raise ValueError("a bbox has four numbers, x, y, width and height, and sides above 0")
    return _Shape((left, top, left + width, top + height), None)


def _of_polygons(polygons: Sequence[Sequence[float]], size: Size) -> _Shape:
    """The inside of polygons x, y, x, y, …; pixels that a side touches are inside."""
    mask, corners = np.zeros(size, np.uint8), []
    for polygon in polygons:
        points = np.array(polygon, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon has at least three pairs of numbers")
        if np.abs(points).max() > 1e6:
            raise ValueError("a polygon lies far outside of the image")
        corners.append(np.rint(points.reshape(-1, 2) - 0.5).astype(np.int32))
        cv2.fillPoly(mask, corners[-1:], 1)
    (left, top), (right, bottom) = (at(np.concatenate(corners), axis=0).tolist() for at in (np.min, np.max))
    return _Shape((left, top, right + 1, bottom + 1), mask.astype(bool))


def _of_runs(runs: Mapping[str, Any], size: Size) -> _Shape:
    """A mask from the lengths of its runs, outside first, down one column after the other."""
    if tuple(runs["size"]) != size:
        raise ValueError(f"its runs are of an image of {runs['size']}, and this one is {list(size)}")
    if isinstance(runs["counts"], str):
        raise ValueError("its runs are compressed, which is not read: save lists of numbers, or polygons")
    counts = [int(count) for count in runs["counts"]]
    if min(counts, default=-1) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError("its runs do not fill the image")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask = inside.reshape(size[1], size[0]).T.copy()
    return _Shape(box_of_mask(mask) if mask.any() else (0, 0, 0, 0), mask)


def _word(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
