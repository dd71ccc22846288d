"""Regions of a COCO file: outlines or boxes of people, or of their parts."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_privacy import UserError
from fastreid_privacy.core.errors import brief, some_of
from fastreid_privacy.core.files import read_file
from fastreid_privacy.core.json_text import parse_json
from fastreid_privacy.desensitize.desensitizer import REGIONS_KEY as KEY

from .files import stem
from .parts import PARTS, Box, part_of_box, part_of_mask
from .shapes import Shape, Size, numbers_of, read_shape

PERSON = "person"


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
            self.categories: dict[Any, str] = {}
            for category in _rows(given, "categories"):
                number = _new_id(category, self.categories, "categories")
                self.categories[number] = _word(_text(category, "name", "categories"))
            names: dict[Any, str] = {}
            for image in _rows(given, "images"):
                number = _new_id(image, names, "images")
                names[number] = name = stem(_text(image, "file_name", "images"))
                if name in self.sizes:
                    raise ValueError(f"it has the image {name} twice")
                self.sizes[name] = image.get("height"), image.get("width")
            for annotation in _rows(given, "annotations"):
                kind = self.categories[_known(annotation, "category_id", self.categories)]
                self.found[names[_known(annotation, "image_id", names)]].append((kind, annotation))
        except ValueError as error:
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
        sides = self.sizes[name]
        if sides != (None, None):
            if numbers_of(sides) is None:
                raise UserError(
                    f"{KEY} {self.path} has to tell both its height and its width, as numbers, or none"
                )
            if sides != size:
                raise UserError(
                    f"{KEY} {self.path} has it as {sides[0]}×{sides[1]} (height × width), but it is "
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

    def _shapes(self, wanted: str, name: str, size: Size) -> list[Shape]:
        """An image's annotations of one category."""
        try:
            return [read_shape(each, size) for kind, each in self.found[name] if kind == wanted]
        except ValueError as error:
            raise UserError(f"its {wanted} in {KEY} {self.path}: {brief(error)}") from None


def _part(part: str, shape: Shape, size: Size) -> np.ndarray:
    """The part of an annotation that is in the image, which may be nothing of somebody at its edge."""
    if shape.mask is None:
        return part_of_box(part, shape.box, size)
    return part_of_mask(part, shape.mask, shape.box)


def _owner(shape: Shape, people: Sequence[Shape], part: str) -> int | None:
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


def _rows(given: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The lists of which a COCO file consists."""
    rows = given.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f'its "{key}" is missing or unknown: it is a list of {{…}}')
    return rows


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(row.get(key), str):
        raise ValueError(f'each of its "{where}" needs "{key}", a text')
    return row[key]


def _new_id(row: Mapping[str, Any], known: Mapping[Any, Any], where: str) -> Any:
    """The id of an image or a category, which nothing before it has."""
    number = row.get("id")
    if not isinstance(number, int | str):
        raise ValueError(f'each of its "{where}" needs "id", a whole number or a text')
    if number in known:
        raise ValueError(f'two of its "{where}" have the id {number}')
    return number


def _known(annotation: Mapping[str, Any], key: str, known: Mapping[Any, Any]) -> Any:
    """The id that an annotation names."""
    number = annotation.get(key)
    if not isinstance(number, int | str) or number not in known:
        raise ValueError(f"an annotation's {key} {number} is missing or unknown")
    return number


def _word(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
