"""Where people are in the frames of a video: a detector as an ONNX graph, from any library."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..checkpoints.onnx_runtime import open_session
from ..core.errors import UserError, brief
from ..core.files import read_file
from ..core.images import LARGEST
from ..core.pictures import resize
from .boxes import Detector, whole_pixels
from .people import Box

PERSON, FIRST_CLASS = 1, 0  # a person among COCO's labels, and where classes are counted without a background
BORDER = 114  # grey level beside a frame of another shape, as most detectors learned it


class OnnxDetector(Detector):
    """People found by an ONNX graph. Whom it misses stays as they are in the protected video.

    The graph takes one picture, 1×3×H×W float32 RGB in [0, 1], H×W fixed; a frame is scaled to fit and stands
    at its top left. It gives, in pixels of that picture, either

    - boxes N×4 (left, top, right, bottom), labels N (whole numbers, 1 is a person) and scores N in any order,
      as torchvision's detectors, or
    - rows N×6 of left, top, right, bottom, score, class (0 is a person), as YOLO exported with its end;

    a first side of 1 may stand before.

    Args:
        path: of the file.
        min_score: boxes with a lower score do not count.
        device: as of :class:`fastreid_privacy.checkpoints.onnx_runtime.OnnxNetwork`.

    Raises:
        UserError: for a file that is no such graph.
    """

    def __init__(self, path: str | Path, min_score: float = 0.5, device: str = "cpu"):
        content = read_file(path)
        self.path, self.min_score, self.name = path, min_score, str(path)
        self.session = open_session(content, path, device)
        self.input = self.session.get_inputs()[0]
        self.size = tuple(self.input.shape[2:])
        if self.size[0] * self.size[1] > LARGEST:
            raise UserError(f"{path} takes {self.size[1]:,}×{self.size[0]:,} pixels, more than {LARGEST:,}")
        self(0, np.zeros((*self.size, 3), np.uint8))
        sha256 = hashlib.sha256(content).hexdigest()
        self.about = {"boxes": "onnx", "boxes_sha256": sha256, "min_score": min_score}

    def __call__(self, number: int, pixels: np.ndarray) -> list[Box]:
        height, width = pixels.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        small = resize(pixels, (max(1, round(scale * height)), max(1, round(scale * width))))
        picture = np.full((*self.size, 3), BORDER, np.uint8)
        picture[: small.shape[0], : small.shape[1]] = small
        edges, scores = self._people(picture)
        across, down = width / small.shape[1], height / small.shape[0]
        boxes = (
            whole_pixels(left * across, top * down, right * across, bottom * down, width, height)
            for left, top, right, bottom in edges[np.argsort(scores, kind="stable")].tolist()
        )
        return [box for box in boxes if box]

    def _people(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edges N×4 and scores N of the people in a picture of the graph's size."""
        images = np.ascontiguousarray(picture.transpose(2, 0, 1)[None]).astype(np.float32) / 255
        try:
            results = self.session.run(None, {self.input.name: images})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise UserError(f"{self.path} is damaged or no detector ({brief(error)})") from None
        results = [np.asarray(each) for each in results]
        results = [each[0] if each.ndim > 1 and each.shape[0] == 1 else each for each in results]
        kinds = {_kind(each): each for each in results}
        if len(results) == 1 and "rows" in kinds:
            rows = kinds["rows"]
            edges, scores, person = rows[:, :4], rows[:, 4], rows[:, 5] == FIRST_CLASS
        elif {"boxes", "labels", "scores"} == set(kinds) and len({len(each) for each in results}) == 1:
            edges, scores, person = kinds["boxes"], kinds["scores"], kinds["labels"] == PERSON
        else:
            shapes = ", ".join(f"{each.dtype} {'×'.join(map(str, each.shape))}" for each in results)
            raise UserError(
                f"{self.path} is no detector: it must give boxes N×4, labels N and scores N, or rows N×6 of "
                f"left, top, right, bottom, score, class; it gives {shapes}"
            )
        chosen = person & (scores >= self.min_score) & np.isfinite(edges).all(axis=1)
        return edges[chosen].astype(float), scores[chosen]


def _kind(result: np.ndarray) -> str:
    """What a result of a graph is, by its shape and its numbers."""
    if result.ndim == 2 and result.shape[1] in (4, 6):
        return "boxes" if result.shape[1] == 4 else "rows"
    if result.ndim == 1:
        return "labels" if np.issubdtype(result.dtype, np.integer) else "scores"
    return "unknown"
