"""Whether a person detector still finds somebody where the person was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.models import detection

from fastreid_privacy import UserError
from fastreid_privacy.core.errors import brief
from fastreid_privacy.video.hog import HogDetector

Box = tuple[float, float, float, float]
"""(left, top, right, bottom), pixels."""
Detector = Callable[[np.ndarray], Sequence[Box]]
"""uint8 H×W×3, RGB, to the boxes of people."""

HEIGHT = 256  # pixels: smaller images are enlarged to it, for detectors find nobody in so few pixels
BORDER = 0.25  # of the height: the edge's pixels are repeated so far, for HOG wants room around people
OVERLAP = 0.5  # intersection over union from which a box is of the person
SURE = 0.5  # score from which a box of torchvision counts
PERSON = 1  # in COCO's numbering, which torchvision's detectors have


def hog_detector() -> Detector:
    """OpenCV's detector, which needs no weights."""
    hog = HogDetector()
    return lambda pixels: hog(0, pixels)


def torchvision_detector(name: str, weights: Path) -> Detector:
    """A detector of torchvision's.

    Args:
        name: one of ``torchvision.models.list_models(module=torchvision.models.detection)``.
        weights: file of its state dict, of COCO's 91 classes.

    Raises:
        UserError: when there is no such detector, or the file cannot be read or does not fit it.
    """
    known = detection.__dict__
    if name not in known or not name.islower() or not callable(known[name]):
        raise UserError(
            f"--detector {name} is none of torchvision's, as fasterrcnn_mobilenet_v3_large_fpn is"
        )
    network = known[name](weights=None, weights_backbone=None)
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # of torch, zipfile or pickle
        raise UserError(f"--detector-weights {weights} are no weights of {name}: {brief(error)}") from None
    network.eval()

    @torch.no_grad()
    def detector(pixels: np.ndarray) -> Sequence[Box]:
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
        found = network([image])[0]
        people = (found["labels"] == PERSON) & (found["scores"] >= SURE)
        return [tuple(box) for box in found["boxes"][people].tolist()]

    return detector


def finds(detector: Detector, pixels: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a detector finds somebody who fills the rectangle of a mask.

    Args:
        detector: sees the image enlarged, with a border around it.
        pixels: uint8 H×W×3, RGB.
        mask: H×W bool, where the person is.
    """
    scale = max(1.0, HEIGHT / len(pixels))
    border = round(BORDER * scale * len(pixels))
    large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, border, border, border, border, cv2.BORDER_REPLICATE)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    person = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    wanted = tuple(scale * edge + border for edge in person)
    return any(overlap(box, wanted) >= OVERLAP for box in detector(large))


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    across, down = (max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)
