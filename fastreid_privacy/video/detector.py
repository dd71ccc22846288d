"""Where people are in the frames of a video: a torchvision detector with weights that the user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision

from ..compat.checkpoints import load_safely
from ..core.errors import UserError, brief
from ..core.files import file_hash
from .boxes import Detector, whole_pixels
from .people import Box

PERSON = 1  # its class in COCO, which torchvision's detectors are trained on
DEFAULT_MODEL = "fasterrcnn_resnet50_fpn_v2"


def detector_names() -> list[str]:
    """The names of torchvision's detection models."""
    return torchvision.models.list_models(module=torchvision.models.detection)


class PersonDetector(Detector):
    """People found by a torchvision detector. Whom it misses stays as they are in the protected video.

    Args:
        path: a file of the model's weights, as torchvision publishes them; it is read without running code,
            and never downloaded.
        model: torchvision's name of the model.
        min_score: boxes with a lower score do not count.
        device: to run on.

    Raises:
        UserError: for an unknown model, and a file that does not hold its weights.
    """

    def __init__(
        self, path: str | Path, model: str = DEFAULT_MODEL, min_score: float = 0.5, device: str = "cpu"
    ):
        if model not in detector_names():
            raise UserError(
                f"--detector-model {model} is not known to torchvision {torchvision.__version__}; known: "
                f"{', '.join(detector_names())}"
            )
        if not 0 <= min_score <= 1:
            raise UserError(f"--min-score is {min_score}; a score lies between 0 and 1")
        if not Path(path).is_file():
            raise UserError(
                f"--detector {path} does not exist; download the weights of {model} from torchvision's "
                "list and name the file"
            )
        self.network = (
            torchvision.models.get_model(model, weights=None, weights_backbone=None)
            .requires_grad_(False)
            .eval()
            .to(device)
        )
        try:
            self.network.load_state_dict(load_safely(path))
        except Exception as error:  # a damaged file can end in any exception of zipfile, pickle and torch
            raise UserError(
                f"--detector {path} does not hold the weights of {model} ({brief(error)}); "
                "name its model with --detector-model"
            ) from None
        self.min_score, self.device, self.name = min_score, device, model
        self.about = {"boxes": model, "boxes_sha256": file_hash(Path(path)), "min_score": min_score}

    @torch.no_grad()
    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        image = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1).float() / 255
        found = self.network([image])[0]
        people = (found["labels"] == PERSON) & (found["scores"] >= self.min_score)
        order = found["scores"][people].argsort(stable=True)
        height, width = pixels.shape[:2]
        edges = found["boxes"][people][order].tolist()
        boxes = (whole_pixels(left, top, right, bottom, width, height) for left, top, right, bottom in edges)
        return [box for box in boxes if box]
