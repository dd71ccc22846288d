"""Where people are: as the project Regions tells it, a little wider, and never guessed.

A new person needs surroundings and an outline. Where nothing tells it, the part of the crop would be a
rectangle without surroundings, so such an image is refused.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from person_regions import PersonRegions
from person_regions.parts import part_of_crop
from person_regions.sources import CROP

from fastreid_privacy import UserError
from fastreid_privacy.data.synthetic.plan import SyntheticOptions
from fastreid_privacy.desensitize import Region
from fastreid_privacy.desensitize.desensitizer import REGIONS_KEY as KEY

GROWN = 0.01
"""Of the image's height, one pixel at least: how much wider a region is than what tells it. Pixels that the
person fills by less than half are in no mask, and have the colours of the clothes."""


class PersonMasks(PersonRegions):
    """Finds a part of the person in image files, as :class:`person_regions.PersonRegions`, a little wider.

    Of rendered images that show nobody, the part of the crop is taken; other images of which nothing tells
    where the person is are refused.
    """

    def __init__(self, part: str, file: str = ""):
        super().__init__(part, file)
        self.about = {**self.about, "grown": f"{GROWN:g}"}

    def __call__(self, path: Path, name: str | None, size: tuple[int, int] | None) -> Region:
        """The part of the person in one image: see :class:`fastreid_privacy.desensitize.RegionFinder`."""
        found = super().__call__(path, name, size)
        return Region(grown(found.mask), found.source)

    def untold(self, path: Path, size: tuple[int, int]) -> Region:
        """What is taken where nothing tells.

        Raises:
            UserError: for other images than rendered ones that show nobody.
        """
        if SyntheticOptions.of_image(path) is None:
            raise UserError(
                f"nothing tells where the {self.part.replace('_', ' ')} is in it, and a new one needs its "
                f"outline: {KEY} names a folder of masks, a COCO file or a MOT file"
            )
        return Region(part_of_crop(self.part, size), CROP)


def grown(mask: np.ndarray) -> np.ndarray:
    """A region with a rim of :data:`GROWN` around it: H×W bool."""
    side = 1 + 2 * max(1, round(GROWN * len(mask)))
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
