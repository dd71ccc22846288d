"""Pictures to learn from: any data set that has masks, or photographs with instance masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from person_regions import PersonRegions
from person_regions.files import stem
from person_regions.rendered import truth_of_image
from person_regions.sources import CROP, name_of

from fastreid_privacy import UserError
from fastreid_privacy.attack.subjects import Subject
from fastreid_privacy.core.errors import brief, named
from fastreid_privacy.core.files import read_regular
from fastreid_privacy.core.folders import images_below
from fastreid_privacy.core.pictures import LARGEST_FILE, opened, read_picture
from fastreid_privacy.data.synthetic.truth import JOINTS
from fastreid_privacy.tasks.files import Pose, read_keypoints

from .samples import Picture

MASK_ENDING = "_mask"  # which Penn-Fudan puts behind the name of an image
SMALLEST = 8  # pixels, of an instance's sides: what is smaller is nobody to learn from


def dataset_pictures(
    files: Sequence[Path], regions: PersonRegions, keypoints: str | Path = ""
) -> tuple[tuple[str, ...], Iterator[Picture]]:
    """The images of a data set that show somebody; rendered ones that show nobody are left out.

    Args:
        files: the raw images.
        regions: tells where the part is.
        keypoints: a file of COCO keypoints; "": rendered people bring theirs, of others nothing is known.

    Returns:
        The names of the joints, and the pictures.

    Raises:
        UserError: when a file is not as it should be; while the pictures are read, naming the image.
    """
    if keypoints:
        subjects = [Subject(stem(name_of(file)), 1, 0, file, file) for file in files]
        joints, poses, _ = read_keypoints(keypoints, subjects)
        known = {each.raw: poses.get(each.name) for each in subjects}
    else:
        joints = JOINTS if any(truth_of_image(file) for file in files[:1]) else ()
        known = {}
    return joints, _pictures(files, regions, known, rendered=not keypoints and bool(joints))


def _pictures(
    files: Sequence[Path], regions: PersonRegions, known: dict[Path, Pose | None], *, rendered: bool
) -> Iterator[Picture]:
    for file in files:
        with named(file):
            region = regions(file, None, None)
            pixels = read_picture(file)
        if region.source == CROP:
            continue
        truth = truth_of_image(file) if rendered else None
        pose = Pose(truth.joints, truth.visibility, truth.height) if truth else known.get(file)
        yield Picture(pixels, [region.mask], pose)


def instance_pictures(pictures: str | Path, masks: str | Path) -> Iterator[Picture]:
    """Photographs with instance masks, as Penn-Fudan has them: 0 is nobody, 1, 2, … are the people.

    Args:
        pictures: folder of the photographs.
        masks: folder of their masks, of the same relative names with any ending, or with ``_mask`` behind.

    Raises:
        UserError: naming the folder or the file: a mask without a picture, of another size, or none of
            whole numbers from 0.
    """
    found = {
        stem(path): Path(pictures) / path for path in images_below(pictures, f"pictures {pictures}").paths
    }
    for path in images_below(masks, f"instances {masks}").paths:
        mask_file, name = Path(masks) / path, stem(path)
        file = found.get(name) or found.get(name.removesuffix(MASK_ENDING))
        if file is None:
            raise UserError(
                f"{mask_file} has no picture in {pictures}: a mask has the name of its picture, and may have "
                f"{MASK_ENDING} behind it"
            )
        yield _of_instances(file, mask_file)


def _of_instances(file: Path, mask_file: Path) -> Picture:
    with named(file):
        pixels = read_picture(file)
    with named(mask_file):
        numbers = read_numbers(mask_file)
    if numbers.shape != pixels.shape[:2]:
        raise UserError(
            f"{mask_file} is {numbers.shape[0]}×{numbers.shape[1]} (height × width), and its picture {file} "
            f"is {pixels.shape[0]}×{pixels.shape[1]}: a mask has the size of its picture"
        )
    people = (numbers == number for number in np.unique(numbers) if number)
    large = [mask for mask in people if min(mask.any(0).sum(), mask.any(1).sum()) >= SMALLEST]
    return Picture(pixels, large, None)


def read_numbers(file: Path) -> np.ndarray:
    """The numbers of a mask's pixels, H×W: its levels, or the entries of its palette.

    Raises:
        UserError: the reason, when it is no picture of one number for each pixel.
    """
    read_regular(file, LARGEST_FILE)  # says what is wrong with the file
    try:
        with opened(file) as picture:
            if picture.mode not in ("1", "L", "P", "I", "I;16"):
                raise UserError(
                    f"it is of the mode {picture.mode}, and an instance mask has one number for each pixel: "
                    "0 for nobody, and 1, 2, … for the people"
                )
            return np.array(picture).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"it cannot be read as a mask: {brief(error)}") from None
