"""The conventional operators on a part of the person: blur, pixelate, noise, mask and inpaint.

Importing the package registers an operator for each of them and each part, as ``blur_head``.

    parts       the parts of a person, as fractions of where the person is
    sources     where the person is: a file of the user's, the renderer, the crop
    files       folders of masks, and MOT files
    coco        COCO files
    shapes      what their annotations mark
    rendered    what the renderer of SyntheticPedestrians knows
    operators   the operators
"""

from .operators import OPERATORS
from .parts import PARTS
from .sources import PersonRegions

__all__ = ["OPERATORS", "PARTS", "PersonRegions"]
