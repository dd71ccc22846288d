"""One picture through all methods: desensitized, protected, recovered, each measured against the raw one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.image_maps import ImageMap
from ..collection.compare import compare
from ..collection.floor import check_changed
from ..collection.guard import WHOLE, hold
from ..core.errors import UserError
from ..core.images import to_pictures
from ..core.pictures import resize
from ..core.privacy import NOT_PRIVATE, WHY
from ..desensitize.noise_stream import KEY_BITS
from ..evaluation.similarity import SMALLEST_SIDE
from ..model.storage import ImageStorage
from .methods import Method

LARGEST_SIDE = 512  # pixels: a larger picture is made smaller first, where no network has a size of its own
DESENSITIZED, PROTECTED, RECOVERED = "desensitized", "protected", "recovered"


class Stage(NamedTuple):
    """What a picture has become.

    Attributes:
        name: "desensitized", "protected" or "recovered".
        picture: uint8 H×W×3.
        psnr: against the raw picture, dB; None: no pixel differs.
        ssim: likewise, at most 1; None: the picture is too small for it.
    """

    name: str
    picture: np.ndarray
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Tried:
    """What a method makes of a picture.

    Attributes:
        method: its name.
        learned: whether it is a trained network.
        raw: the picture in the size in which the method sees it, uint8 H×W×3.
        stages: in the order in which they are made; empty where the method refuses the picture.
        notes: sentences about it.
    """

    method: str
    learned: bool
    raw: np.ndarray
    stages: Sequence[Stage] = ()
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str) -> Stage | None:
        """The stage of a name, where there is one."""
        return next((stage for stage in self.stages if stage.name == name), None)


def try_methods(
    picture: np.ndarray, methods: Sequence[Method], recovery: ImageMap | None = None
) -> list[Tried]:
    """Put a picture through every method, as ``anonymize`` would.

    All see it in one size, so that figures can be compared: that of the first network, else its own, made
    smaller to fit 512 pixels. A network of another size sees it in that one.

    Args:
        picture: uint8 H×W×3, RGB, of any size.
        methods: of :func:`.methods.load_methods`.
        recovery: the decoder of a key; it recovers what its own anonymizer has made, and nothing else.
    """
    size = next((each.image_map.size for each in methods if each.image_map.size), _fitting(picture))
    return [_tried(resize(picture, method.image_map.size or size), method, recovery) for method in methods]


def _fitting(picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _tried(raw: np.ndarray, method: Method, recovery: ImageMap | None) -> Tried:
    found = Tried(method.name, method.learned, raw)
    if method.image_map.private is False:
        found.notes.append(f"This model is {NOT_PRIVATE}: {WHY}.")
    try:
        made = (_learned if method.learned else _conventional)(raw, method.image_map, found.notes)
        check_changed(raw, made[-1][1], conventional=not method.learned)
    except UserError as error:
        found.notes.append(f"This picture would be refused: {error}.")
        return found
    if recovery is not None and method.learned:
        if recovery.fingerprint == method.image_map.fingerprint:
            levels = recovery.levels(_batch(made[-1][1], recovery))
            made.append((RECOVERED, to_pictures(levels)[0]))
        else:
            found.notes.append("The open key belongs to another anonymizer, and recovers nothing here.")
    stages = [_measured(name, each, raw) for name, each in made]
    return Tried(method.name, method.learned, raw, stages, found.notes)


def _measured(name: str, picture: np.ndarray, raw: np.ndarray) -> Stage:
    figures = compare(picture, raw)
    return Stage(name, picture, figures["PSNR"], figures["SSIM"])


def _conventional(raw: np.ndarray, image_map: ImageMap, notes: list[str]) -> list[tuple[str, np.ndarray]]:
    """An operator's image is what is stored: there is no other protected one, and no key."""
    return [(DESENSITIZED, to_pictures(image_map(_batch(raw, image_map)))[0])]


def _learned(raw: np.ndarray, image_map: ImageMap, notes: list[str]) -> list[tuple[str, np.ndarray]]:
    """The desensitized image that the network was trained with, and its own, held to the thresholds."""
    constraint, storage = image_map.constraint, ImageStorage("png")
    assert constraint is not None  # load_anonymizer gives every network one
    if min(raw.shape[:2]) < SMALLEST_SIDE:
        raise UserError(f"the network's images have less than {SMALLEST_SIDE} pixels on a side")
    desensitizer, images = constraint.desensitizer(), _batch(raw, image_map)
    desensitizer.refuse_unlabelled("a picture on a page")
    drawn = image_map.is_random or desensitizer.is_seeded
    seeds = [secrets.randbits(KEY_BITS)] if drawn else None
    protected, desensitized = image_map.levels_and_desensitized(images, desensitizer, seeds)
    held = hold(images, protected, desensitized, storage, constraint.thresholds)
    kept = int(held.kept[0])
    if kept < WHOLE:
        notes.append(
            f"The network's image showed too much. The guard kept {kept} % of it; the rest is the "
            "desensitized image."
        )
    return [
        (DESENSITIZED, to_pictures(desensitized)[0]),
        (PROTECTED, to_pictures(storage(held.images))[0]),
    ]


def _batch(picture: np.ndarray, image_map: ImageMap) -> Tensor:
    """1×3×H×W float32, 0–255, where the network is."""
    images = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    return images.to(image_map.device, torch.float32)
