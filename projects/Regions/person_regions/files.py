"""Regions that a user gives: a folder of masks, or the boxes of a MOT file."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from fastreid_privacy import UserError
from fastreid_privacy.core.errors import brief, named
from fastreid_privacy.core.files import read_regular
from fastreid_privacy.core.folders import images_below
from fastreid_privacy.core.pictures import LARGEST_FILE, opened, read_picture
from fastreid_privacy.desensitize.desensitizer import REGIONS_KEY as KEY
from fastreid_privacy.video.boxes import MotBoxes

from .parts import filled, part_of_box, part_of_mask

HALF = 127.5  # of the levels of a mask
RIM = 8  # pixels from white, a block of JPEG, within which grey may lie
AREA = 4  # side of a square of grey, in pixels, that no rim has
MASK_MODES = ("1", "L", "RGB")  # Pillow's, of black and white pictures of 8 bits


class MaskFolder:
    """A mask of the person for each image: a picture of the same relative name and any ending.

    White is the person, black the rest.

    Args:
        path: of the folder.

    Attributes:
        about: for the manifest: the kind, and SHA-256 of all masks with their names.

    Raises:
        UserError: when it is no folder, holds no picture, or two of one name.
    """

    def __init__(self, path: Path):
        self.path = path
        self.masks: dict[str, Path] = {}
        digest = hashlib.sha256()
        for relative in images_below(path, f"{KEY} {path}").paths:
            name, file = stem(relative), path / relative
            if name in self.masks:
                raise UserError(f"{KEY} {path} has two masks of the name {name}: remove one")
            self.masks[name] = file
            with named(f"{KEY}: {file}"):
                content = read_regular(file, LARGEST_FILE)
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        self.about = {"file": "masks", "sha256": digest.hexdigest()}

    def __call__(self, part: str, name: str, size: tuple[int, int]) -> tuple[np.ndarray, str]:
        """The part of an image, H×W bool, and the word for the manifest.

        Args:
            part: of :data:`.parts.PARTS`.
            name: of the image.
            size: (height, width) of the image.

        Raises:
            UserError: the reason, without the image's name and path, and without what is made of them.
        """
        file = self.masks.get(stem(name))
        if file is None:
            raise UserError(
                f"{KEY} {self.path} has no mask of it: a mask has the name of its image, with its folders "
                "and any ending"
            )
        try:
            mask = _black_and_white(read_regular(file, LARGEST_FILE))
        except UserError as error:
            raise UserError(f"its mask in {KEY} {self.path}: {brief(error)}") from None
        if mask.shape != size:
            raise UserError(
                f"its mask in {KEY} {self.path} is {_size(mask.shape)}, and it is {_size(size)}: a mask has "
                "the size of its raw image"
            )
        return part_of_mask(part, mask), "mask"


def _black_and_white(content: bytes) -> np.ndarray:
    """H×W bool: where a mask is white.

    Raises:
        UserError: when it is no picture, or none of black and white with 8 bits.
    """
    mode = _mode(content)
    if mode in ("P", "PA"):
        raise UserError("it has a palette, whose entries are numbers of classes: save it in black and white")
    if mode.startswith("I") or mode == "F":
        raise UserError(f"it has more than 8 bits ({mode}): save it in black and white, with 8 bits")
    if mode and mode not in MASK_MODES:
        raise UserError(f"it is of the mode {mode}: save it in black and white, without transparency")
    pixels = read_picture(content)
    if (pixels != pixels[..., :1]).any():
        raise UserError("it is coloured: save it in black and white")
    levels = pixels[..., 0]
    if 0 < levels.max() <= HALF:
        raise UserError(
            f"it has no value above half, its largest is {levels.max()} of 255: the person has to be white"
        )
    if not levels.any():
        raise UserError("it is black, so that nothing would be hidden: the person has to be white")
    white = levels > HALF
    if _people_lost(levels, white):
        raise UserError(
            "it has dark grey areas, which may be people by numbers of classes: save it in black and white, "
            "where white is the person"
        )
    return white


def _people_lost(levels: np.ndarray, white: np.ndarray) -> bool:
    """Whether what is neither black nor white is more than the rim of something white, as JPEG has it."""
    grey = ((levels > 0) & ~white).astype(np.uint8)
    near = cv2.dilate(white.astype(np.uint8), np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8))
    square = cv2.erode(grey, np.ones((AREA, AREA), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return bool(grey[near == 0].any() or square.any())


def _mode(content: bytes) -> str:
    """Pillow's mode of a picture; "" where it is none, which reading it says better."""
    try:
        with opened(io.BytesIO(content)) as picture:
            return picture.mode
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


class MotFile:
    """The boxes of people in frames of a video, which are images of one folder called by their numbers.

    Args:
        path: of the file: :class:`fastreid_privacy.video.boxes.MotBoxes`; boxes are in pixels.

    Attributes:
        about: for the manifest: the kind, and SHA-256 of the file.

    Raises:
        UserError: when it is no such file, or its boxes are no pixels.
    """

    def __init__(self, path: Path):
        self.path = path
        self.boxes = MotBoxes(path, option=KEY)
        edges = [edge for lines in self.boxes.of_frame.values() for line in lines for edge in line.edges]
        if max(map(abs, edges)) <= 1.5:
            raise UserError(f"{KEY} {path}: all its boxes would lie within one pixel; give them in pixels")
        self.about = {"file": "mot", "sha256": self.boxes.about["boxes_sha256"]}

    def __call__(self, part: str, name: str, size: tuple[int, int]) -> tuple[np.ndarray, str]:
        """As of :class:`MaskFolder`, of all boxes of the frame."""
        if not re.fullmatch(r"[0-9]+", stem(name)):
            raise UserError(
                f"{KEY} {self.path} has boxes of frames, and its name is not that of one: frames lie in one "
                "folder and are called by their numbers, as 000001.jpg"
            )
        frame = int(stem(name))
        if frame not in self.boxes.of_frame:
            raise UserError(f"{KEY} {self.path} has no box of this frame, so that nothing would be hidden")
        # the package's boxes are cut to the frame, and the part is one of the whole box
        lines = (line.edges for line in self.boxes.of_frame[frame])
        boxes = [(left - 1, top - 1, right, bottom) for left, top, right, bottom in lines]
        outside = sum(not filled(box, size).any() for box in boxes)
        if outside:
            raise UserError(
                f"{outside} of the boxes of this frame in {KEY} {self.path} lie outside of it; it is "
                f"{_size(size)}: are they of another size?"
            )
        return np.any([part_of_box(part, box, size) for box in boxes], axis=0), "box"


def stem(path: str) -> str:
    """A relative path without its ending."""
    whole = PurePosixPath(path)
    return str(whole.with_suffix("") if whole.name else whole)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]} (height × width)"
